"""The envelope (approach 1): the sizes on the lower edge of the losses in (log C, log L).

Two readings of the same curves are given, since they differ by up to .1 in a: vertices of the lower
convex hull, and the lowest loss in each bin of log C. Neither carries an interval: the points on the
edge are selected for being low, and no resampling of them was found to cover the truth.

References: Hoffmann et al. 2022, arXiv:2203.15556, section 3.1; McLeish et al. 2025, arXiv:2502.06857.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.arrays import Array, Index
from analysis.result import LEVEL, Exponents, Fit, FitWarning, WarningCode
from analysis.tables.table import LossTable
from harness.records.errors import InputError

BINS_PER_DECADE = 20
SIEVE_BINS = 4096  # of log C, in which long curves are thinned before the hull is walked
MIN_SIZES = 3  # different sizes on the edge
SMOOTH_PER_DOUBLING = 4  # bins that a noisy training curve is averaged in
MIN_EVALUATIONS = 8  # a curve with fewer is read from the training loss
APART = 0.05  # difference in a from which hull and bins are said to disagree


def fit_envelope(
    table: LossTable, source: str = "end points", level: float = LEVEL, **_resampling: int
) -> list[Fit]:
    """Regress log N on log C along the hull and along the bin minima; one fit each.

    `table` holds end points, or the points of training curves (`curve_table`); `source` names which.
    `resamples` and `seed`, which every approach is given, have no use here.

    The extra keys of the JSON: `method` (hull or bins), `source`, and `edge`, the points on the edge.

    Raises:
        InputError: fewer than three sizes on the edge.
    """
    start = time.perf_counter()
    x, y = np.log(table.c), np.log(table.loss)
    fits = [
        _fit(table, edge, method, source, level)
        for method, edge in (("hull", lower_hull(x, y)), ("bins", bin_minima(x, y)))
    ]
    seconds = time.perf_counter() - start
    warnings = _disagreement(fits)
    return [replace(fit, warnings=fit.warnings + warnings, seconds=seconds / len(fits)) for fit in fits]


def lower_hull(x: Array, y: Array) -> Index:
    """Vertices of the lower convex hull from left to right, up to the lowest y (monotone chain)."""
    hull: list[int] = []
    for i in _possible_vertices(x, y):
        while len(hull) >= 2 and _not_convex(x, y, hull[-2], hull[-1], int(i)):
            hull.pop()
        hull.append(int(i))
    vertices = np.array(hull)
    return vertices[: int(np.argmin(y[vertices])) + 1]


def _possible_vertices(x: Array, y: Array) -> Index:
    """Rows from left to right, without those above the chain through the lowest point of each of SIEVE_BINS.

    A point above a chord between two others is no vertex of the hull, so few of many rows remain.
    """
    rows = np.lexsort((y, x))
    if len(rows) <= SIEVE_BINS:
        return rows
    x, y = x[rows], y[rows]
    bins = np.floor(SIEVE_BINS * (x - x[0]) / (x[-1] - x[0] or 1.0))
    by_bin = np.lexsort((y, bins))
    lowest = by_bin[np.unique(bins[by_bin], return_index=True)[1]]
    return rows[y <= np.interp(x, x[lowest], y[lowest], left=np.inf, right=np.inf)]


def _not_convex(x: Array, y: Array, first: int, middle: int, last: int) -> bool:
    cross = (x[middle] - x[first]) * (y[last] - y[first]) - (y[middle] - y[first]) * (x[last] - x[first])
    return bool(cross <= 0)


def bin_minima(x: Array, y: Array, per_decade: int = BINS_PER_DECADE) -> Index:
    """The lowest y in each bin of x."""
    bins = np.floor(x / np.log(10) * per_decade)
    rows = [np.flatnonzero(bins == each) for each in np.unique(bins)]
    return np.array([group[np.argmin(y[group])] for group in rows])


def _fit(table: LossTable, edge: Index, method: str, source: str, level: float) -> Fit:
    sizes = len(np.unique(table.n[edge]))
    if sizes < MIN_SIZES:
        raise InputError(
            f"expected at least {MIN_SIZES} sizes on the lower edge of the losses, got {sizes}: train more "
            "sizes at overlapping budgets, or use --approach parametric"
        )
    x = np.log(table.c[edge] / 6)
    a, log_g = np.polyfit(x, np.log(table.n[edge]), 1)
    b = np.polyfit(x, np.log(table.d[edge]), 1)[0]
    return Fit(
        law="power_law",
        approach="envelope",
        estimator="lower convex hull"
        if method == "hull"
        else f"minima of {BINS_PER_DECADE} bins a decade of C",
        count=table.count,
        nobs=len(table),
        n_clusters=len(np.unique(table.cluster)),
        params={"a": float(a), "b": float(b), "G": float(np.exp(log_g))},
        level=level,
        frontier=Exponents(a=float(a), b=float(b), g=float(np.exp(log_g))),
        largest_c=float(table.c.max()),
        excluded=table.excluded,
        extra={"method": method, "source": source, "edge": _edge_rows(table, edge)},
    )


def _edge_rows(table: LossTable, edge: Index) -> list[dict[str, Any]]:
    return [
        {
            "flops": float(table.c[i]),
            "n": float(table.n[i]),
            "d": float(table.d[i]),
            "loss": float(table.loss[i]),
        }
        for i in edge
    ]


def _disagreement(fits: list[Fit]) -> tuple[FitWarning, ...]:
    hull, bins = (fit.params["a"] for fit in fits)
    if abs(hull - bins) <= APART:
        return ()
    text = f"the hull gives a = {hull:.3f} and bin minima of the same losses a = {bins:.3f}"
    return (FitWarning(WarningCode.METHODS_DISAGREE, text),)


def curve_table(curves: pd.DataFrame, points: pd.DataFrame, count: str) -> LossTable:
    """The uncooled trunks of the fitted runs as a table of losses along training.

    Evaluation losses where a run has enough of them, else training losses averaged in bins of log C.

    Raises:
        InputError: no trunk with a finished point has a curve.
    """
    fitted = points[points.role.isin(["fit", "holdout"]) & (points.status == "done")]
    sizes = fitted.groupby("run_id")[count].first()
    trunk = curves[curves.point_id.isna() & curves.run_id.isin(sizes.index)]
    pieces = [_smoothed(group) for _, group in trunk.groupby("run_id")]
    if not pieces:
        raise InputError("no trunk of a finished point has a curve: expected its run_id in the curves table")
    rows = pd.concat(pieces, ignore_index=True)
    n = sizes.loc[rows.run_id].to_numpy(float)
    return LossTable(
        n=n,
        d=rows.n_tokens.to_numpy(float),
        c=rows.flops.to_numpy(float),
        loss=rows.loss.to_numpy(float),
        loss_sem=None,
        weights=None,
        cluster=pd.factorize(rows.run_id)[0].astype(np.int64),
        seed=None,
        count=count,
        role=None,
        unique_d=None,
        row=np.arange(len(rows), dtype=np.int64),
    )


def _smoothed(curve: pd.DataFrame) -> pd.DataFrame:
    """One run's curve with the columns run_id, n_tokens, flops, loss."""
    evaluated = curve[curve.eval_loss.notna()]
    if len(evaluated) >= MIN_EVALUATIONS:
        kept = evaluated.assign(loss=evaluated.eval_loss)
    else:
        trained = curve[curve.train_loss.notna() & (curve.flops > 0)]
        bins = np.floor(np.log2(trained.flops.to_numpy(float)) * SMOOTH_PER_DOUBLING)
        kept = (
            trained.assign(loss=trained.train_loss)
            .groupby(bins)
            .agg({"run_id": "first", "n_tokens": "mean", "flops": "mean", "loss": "mean"})
        )
    kept = kept[["run_id", "n_tokens", "flops", "loss"]].reset_index(drop=True)
    return kept[np.isfinite(kept.loss.to_numpy(float)) & (kept.flops > 0)]
