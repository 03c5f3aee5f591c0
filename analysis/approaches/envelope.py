"""The envelope (approach 1): the sizes on the lower edge of the losses in (log C, log L).

Two readings of the same curves are given, because they differ by up to .1 in a: vertices of the lower convex
hull, and the lowest loss in each bin of log C. Neither has an interval: points on the edge are selected for
being low, and no resampling of them was found to cover the truth.

References: Hoffmann et al. 2022, arXiv:2203.15556, section 3.1; McLeish et al. 2025, arXiv:2502.06857.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.arrays import Array, Index
from analysis.intervals import LEVEL
from analysis.records.fit import EdgeRow, EnvelopeRecord
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.result import Fit, Frontier
from analysis.tables.table import LossTable, TableLike, as_table
from harness.records.errors import InputError

BINS_PER_DECADE = 20
SIEVE_BINS = 4096  # of log C, in which long curves are thinned before the hull is walked
MIN_SIZES = 3  # different sizes on the edge
SMOOTH_PER_DOUBLING = 4  # bins that a noisy training curve is averaged in
MIN_EVALUATIONS = 8  # a curve with fewer is read from the training loss
APART = 0.05  # difference in a from which hull and bins are said to disagree


def fit_envelope(
    table: TableLike,
    *,
    mapping: Mapping[str, str] | None = None,
    source: str = "end points",
    level: float = LEVEL,
) -> list[Fit]:
    """Regress log N on log C along the lower edge of the losses, read in two ways.

    Args:
        table: end points, or points of training curves (`curve_table`): a LossTable, or a frame or path that
            `load_table` reads.
        mapping: columns of a foreign table, as for `load_table`.
        source: what the rows are, in words.
        level: share that the result states; the envelope itself has no intervals.

    Returns:
        Two fits, of the lower convex hull and of the lowest loss in each bin of log C, with the parameters
        a, b and G. `envelope` has the points on the edge.

    Raises:
        InputError: fewer than three sizes on the edge.

    References: Hoffmann et al. 2022, arXiv:2203.15556, section 3.1.

    Examples:
        >>> import analysis as sl, numpy as np, pandas as pd
        >>> n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e6, 1e9, 30), np.geomspace(1e8, 1e11, 300)))
        >>> runs = pd.DataFrame({"N": n, "D": d, "loss": 1.7 + 400 * n**-0.34 + 410 * d**-0.28})
        >>> hull, bins = sl.fit_envelope(runs)
        >>> print(f"a = {hull.params['a']:.1f}")
        a = 0.5
    """
    start = time.perf_counter()
    table = as_table(table, mapping)
    table.require("the envelope", "ndc")
    if np.ptp(table.d) == 0:
        raise InputError(
            f"all rows have {table.d[0]:.3g} tokens, so C follows N and no size is best: add token counts",
            "approach",
        )
    x, y = np.log(table.c), np.log(table.loss)
    fits = [
        _fit(table, edge, method, source, level)
        for method, edge in (("hull", lower_hull(x, y)), ("bins", bin_minima(x, y)))
    ]
    seconds = time.perf_counter() - start
    warnings = _disagreement(fits)
    return [replace(fit, warnings=fit.warnings + warnings, seconds=seconds / len(fits)) for fit in fits]


def lower_hull(x: Array, y: Array) -> Index:
    """Return the vertices of the lower convex hull, left to right up to the lowest y (monotone chain)."""
    hull: list[int] = []
    for i in _possible_vertices(x, y):
        while len(hull) >= 2 and _not_convex(x, y, hull[-2], hull[-1], int(i)):
            hull.pop()
        hull.append(int(i))
    vertices = np.array(hull)
    return vertices[: int(np.argmin(y[vertices])) + 1]


def _possible_vertices(x: Array, y: Array) -> Index:
    """Return rows from left to right, without those that cannot be vertices of the hull.

    A point above a chord between two others is no vertex. The chords join the lowest point of each of
    SIEVE_BINS bins of x, so few of many rows remain.
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
    """Return the row of the lowest y in each bin of x."""
    bins = np.floor(x / np.log(10) * per_decade)
    rows = [np.flatnonzero(bins == each) for each in np.unique(bins)]
    return np.array([group[np.argmin(y[group])] for group in rows])


def _fit(table: LossTable, edge: Index, method: str, source: str, level: float) -> Fit:
    sizes = len(np.unique(table.n[edge]))
    if sizes < MIN_SIZES:
        raise InputError(
            f"expected at least {MIN_SIZES} sizes on the lower edge of the losses, got {sizes}: train more "
            "sizes at overlapping budgets, or use the parametric approach",
            "approach",
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
        estimates={"a": float(a), "b": float(b), "G": float(np.exp(log_g))},
        level=level,
        frontier=Frontier(a=float(a), b=float(b), g=float(np.exp(log_g))),
        largest_c=float(table.c.max()),
        warnings=table.warnings,
        excluded=table.excluded,
        read_as=table.read_as,
        envelope=EnvelopeRecord(source, method, _edge_rows(table, edge)),
    )


def _edge_rows(table: LossTable, edge: Index) -> tuple[EdgeRow, ...]:
    return tuple(
        EdgeRow(flops=float(table.c[i]), n=float(table.n[i]), d=float(table.d[i]), loss=float(table.loss[i]))
        for i in edge
    )


def _disagreement(fits: list[Fit]) -> tuple[FitWarning, ...]:
    hull, bins = (fit.estimates["a"] for fit in fits)
    if abs(hull - bins) <= APART:
        return ()
    text = f"the hull gives a = {hull:.3f} and bin minima of the same losses a = {bins:.3f}"
    return (FitWarning(WarningCode.METHODS_DISAGREE, text),)


def curve_table(curves: pd.DataFrame, points: pd.DataFrame, count: str) -> LossTable:
    """Return the uncooled trunks of the fitted runs as a table of losses along training.

    The losses are evaluation losses if a run has enough of them, else training losses averaged in bins of
    log C.

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
    """Return one run's curve with the columns run_id, n_tokens, flops and loss."""
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
