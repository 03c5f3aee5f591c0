"""All approaches under all ways of counting N, as one list of fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.approaches.envelope import curve_table, fit_envelope
from analysis.approaches.isoflop import fit_isoflop
from analysis.approaches.kaplan import fit_kaplan
from analysis.approaches.parametric import fit_law
from analysis.approaches.slice_minimum import AKIMA_SIZES
from analysis.arrays import Array
from analysis.frontier import find_frontier, surface_of
from analysis.laws import family
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.result import Fit, Frontier
from analysis.tables.table import LossTable
from analysis.uncertainty.bootstrap import KINDS
from analysis.uncertainty.table_warnings import with_doubts
from harness.records.errors import InputError

FRONTIER_STEP = 0.5  # decades between the budgets of a frontier
LOSER_SHARE = 4  # laws that were not chosen are resampled so many times less often


Progress = Callable[[str], None]


def unheard(_: str) -> None:
    """Ignore progress: the default of `progress`."""


class Attempts:
    """Fits that succeeded, and a warning for each approach that the table does not allow.

    `progress` is told in words what is fitted next.
    """

    def __init__(self, progress: Progress = unheard) -> None:
        self.progress = progress
        self.fits: list[Fit] = []
        self.failed: list[tuple[str, WarningCode, str]] = []

    @property
    def warnings(self) -> list[FitWarning]:
        """A warning for each reason, with all approaches that failed for it."""
        by_reason: dict[tuple[WarningCode, str], list[str]] = {}
        for what, code, reason in self.failed:
            by_reason.setdefault((code, reason), []).append(what)
        return [
            FitWarning(code, f"{_together(whats)} is not possible: {reason}")
            for (code, reason), whats in by_reason.items()
        ]

    def add(
        self, what: str, code: WarningCode, make: Callable[..., Fit | list[Fit]], *args: Any, **options: Any
    ) -> list[Fit]:
        """Keep what `make(*args, **options)` returns; an InputError becomes a warning."""
        self.progress(what)
        try:
            made = make(*args, **options)
        except InputError as error:
            self.failed.append((what, code, str(error)))
            return []
        fits = made if isinstance(made, list) else [made]
        self.fits += fits
        return fits


def _together(whats: list[str]) -> str:
    """Return approaches as one subject; those that differ in the count of N alone name it once.

    >>> _together(["IsoFLOP with N = n_params", "IsoFLOP with N = n_params_body"])
    'IsoFLOP with N = n_params or N = n_params_body'
    """
    head, sign, _ = whats[0].partition("N = ")
    tails = [what.removeprefix(head) for what in whats]
    same = bool(sign) and all(what.startswith(head + sign) for what in whats)
    return head + " or ".join(tails) if same else " or ".join(whats)


def frontier_flops(table: LossTable, beyond: float = 1.0) -> Array:
    """Return round numbers of FLOPs from the smallest compute of the table to `beyond` times the largest."""
    first, last = np.log10(table.c.min()), np.log10(table.c.max() * beyond)
    steps = np.arange(np.ceil(first / FRONTIER_STEP), np.floor(last / FRONTIER_STEP) + 1)
    if len(steps) < 2:
        return np.geomspace(table.c.min(), table.c.max() * beyond, 3)
    return np.asarray(10 ** (FRONTIER_STEP * steps))


def fit_everything(
    tables: dict[str, LossTable],
    points: pd.DataFrame | None,
    curves: pd.DataFrame | None,
    law: str,
    others: list[str],
    resamples: int,
    level: float,
    seed: int,
    estimator: str = "huber",
    progress: Progress = unheard,
) -> Attempts:
    """Fit all approaches under all ways of counting N.

    Args:
        tables: {count: table}, the primary count first.
        points, curves: our own tables, for the envelope of the training curves; None without them.
        law: fitted under every count.
        others: laws fitted under the primary count only.
        resamples, level, seed, estimator: as for `fit_law`.
        progress: told in words what is fitted next.
    """
    attempts = Attempts(progress)
    primary = next(iter(tables))
    few, rivals = WarningCode.FEW_SIZES, (law, *others)
    for count, table in tables.items():
        chosen = attempts.add(
            f"the {family(law)} law with N = {count}",
            few,
            parametric,
            table,
            law,
            resamples,
            level,
            seed,
            estimator,
            rivals,
        )
        options: dict[str, Any] = {"resamples": resamples, "level": level, "seed": seed}
        two_axes = bool(chosen) and chosen[0].frontier.a is not None
        options["surface"] = surface_of(chosen[0], table) if two_axes else None
        _isoflop(attempts, table, options)
        what = f"the envelope with N = {count}"
        attempts.add(f"{what} over end points", few, fit_envelope, table, level=level)
        if points is not None and curves is not None and not curves.empty:
            attempts.add(f"{what} over training curves", few, _envelope, points, curves, count, level)
        axes = "ndc" if count == primary else "n"  # how N is counted matters for L(N) only
        what = f"a fit of Kaplan's laws with N = {count}"
        attempts.add(what, few, fit_kaplan, table, level=level, seed=seed, axes=axes)
    for other in others:
        what, draws = f"the {family(other)} law", resamples // LOSER_SHARE
        attempts.add(what, few, parametric, tables[primary], other, draws, level, seed, estimator, rivals)
    attempts.fits = [with_doubts(fit, tables[fit.count]) for fit in attempts.fits]
    return attempts


def parametric(
    table: LossTable,
    law: str,
    resamples: int,
    level: float,
    seed: int,
    estimator: str,
    rivals: Sequence[str],
) -> Fit:
    """Fit a law, with the exponents of its frontier under the table's own FLOPs as `frontier_exact`."""
    options: dict[str, Any] = {"estimator": estimator, "level": level, "seed": seed, "rivals": rivals}
    # A table too small to resample still has estimates.
    try:
        fit = fit_law(table, law, resamples=resamples, **options)
    except InputError:
        fit = fit_law(table, law, resamples=0, **options)
    if fit.frontier.a is None:
        return fit
    found = find_frontier(fit, table, frontier_flops(table))
    exact = Frontier(found.a, found.a_interval, found.b, found.b_interval)
    return replace(fit, frontier_exact=exact)


def _isoflop(attempts: Attempts, table: LossTable, options: dict[str, Any]) -> None:
    """Fit parabolas or cubics, and Akima as a second opinion if every budget has enough sizes for it.

    One run that is off can take the minimum from a curve, but not from Akima's interpolant.
    """
    few = WarningCode.FEW_BUDGETS
    made = attempts.add(f"IsoFLOP with N = {table.count}", few, fit_isoflop, table, **options)
    slices = made[0].isoflop if made else None
    if slices and slices.min_sizes < AKIMA_SIZES:
        return
    what = f"IsoFLOP by Akima interpolation with N = {table.count}"
    if not attempts.add(what, few, fit_isoflop, table, method="akima", **options) and not made:
        attempts.failed.pop()  # what the curve lacks stands for both


def _envelope(points: pd.DataFrame, curves: pd.DataFrame, count: str, level: float) -> list[Fit]:
    return fit_envelope(curve_table(curves, points, count), source="training curves", level=level)


APPROACHES = ("parametric", "isoflop", "envelope", "kaplan")


def fit_approach(
    table: LossTable,
    approach: str,
    law: str,
    estimator: str,
    *,
    level: float,
    resamples: int,
    seed: int,
    kind: str = KINDS[0],
) -> list[Fit]:
    """Return the fits of one approach, with the warnings of the table; options as in `fit_law`."""
    match approach:
        case "parametric":
            options: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed, "kind": kind}
            fits = [fit_law(table, law, estimator=estimator, **options)]
        case "isoflop":
            fits = [fit_isoflop(table, level=level, resamples=resamples, seed=seed)]
        case "envelope":
            fits = fit_envelope(table, level=level)
        case "kaplan":
            fits = fit_kaplan(table, level=level, seed=seed)
        case _:
            raise InputError(f"there is no approach {approach!r}: expected one of {', '.join(APPROACHES)}")
    return [with_doubts(fit, table) for fit in fits]
