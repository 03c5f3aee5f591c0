"""The whole analysis of a sweep's tables: the content of fits.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.approaches.everything import fit_everything, frontier_flops
from analysis.approaches.one_axis import fit_other_axis, one_axis_verdict, shared_axis
from analysis.approaches.parametric import jackknife
from analysis.contest.adequacy import (
    CONTEST_RULE,
    Entrant,
    adequacy,
    candidates,
    contest,
    lack_of_fit_warning,
)
from analysis.contest.compare import disagreements
from analysis.forecast.prediction import calibrate, predict_interval, rollout_rows
from analysis.forecast.seal import score_forecast
from analysis.frontier import find_frontier
from analysis.laws import find_law
from analysis.learning_rate.schedules import compare_schedules
from analysis.learning_rate.study import learning_rate_study, rate_warnings, recipe_runs
from analysis.result import LEVEL, Fit, FitWarning, WarningCode, plain
from analysis.study.words import verdict
from analysis.tables.noise import noise_report
from analysis.tables.table import COUNTS, Excluded, LossTable, load_table
from analysis.uncertainty.profile import RESAMPLES, profile
from harness.records.errors import InputError

PRIMARY_COUNT = "n_params_matmul"  # what the FLOPs of a step see
BEYOND = 10.0  # the frontier is shown up to so many times the largest measured compute
CLOUD = ("alpha", "beta")  # bootstrap estimates kept for the report
CLOUD_POINTS, CLOUD_DIGITS = 200, 5
FRONTIER_KEYS = ("flops", "n_opt", "n_low", "n_high")
PROFILED = ("E", "alpha", "beta", "gamma")  # coefficients carry the units of N and D and say little alone
REASON = (
    "the law that the rule chose, fitted to every finished run; N counts the parameters that enter matrix "
    "products, because compute is spent on those"
)

Json = dict[str, Any]

# What fits.json holds where no law in N and D is fitted.
NO_LAW: Json = {
    "schema": 1,
    "primary": None,
    "fits": [],
    "recommended": None,
    "contest": [],
    "adequacy": {},
    "jackknife": {"a": [], "a_se": None},
    "rollout": [],
    "frontier": [],
    "frontier_by_count": [],
    "reference": [],
    "forecast": None,
}


def study_sweep(
    points: pd.DataFrame,
    curves: pd.DataFrame | None = None,
    forecast: Json | None = None,
    *,
    seed: int = 0,
    resamples: int = 500,
    level: float = LEVEL,
) -> Json:
    """Analyse a sweep: contest of laws, fits by every approach, frontier, noise, verdict in words.

    Fits take every finished point, held-out ones included. The contest of laws sees the fit cells only, as
    the sealed forecast did. No law is fitted to a learning-rate sweep; its rates are studied instead.

    Args:
        points: points.parquet of a sweep (`read_sweep(...).points`), columns in results/README.md.
        curves: its curves.parquet, for the envelope of the training curves.
        forecast: its forecast.json; the law that was sealed stays the primary one.
        seed: of everything random.
        resamples: bootstrap refits of the primary law.
        level: share of all intervals.

    Returns:
        The content of fits.json (keys in results/README.md); `verdict` is the text.

    Raises:
        InputError: no usable row. If a single approach lacks something, a warning says so instead.

    Examples:
        >>> import analysis as sl
        >>> found = sl.study_sweep(sl.read_sweep("results/lr").points)
        >>> print(found["verdict"].split(":")[0])
        Hidden rate
    """
    if (points.role == "lr").all():
        return _learning_rates(points, level)
    tables = {count: load_table(points, count=count) for count in COUNTS}
    table = tables[PRIMARY_COUNT]
    noise = noise_report(points.iloc[table.row])
    shared = shared_axis(table)
    if shared and not forecast:
        return _one_axis(tables, shared, noise, level, seed)
    entrants, warnings = _contest(table, seed)
    law = _primary_law(entrants, forecast)
    others = [candidate for candidate in candidates(table) if candidate != law]
    attempts = fit_everything(tables, points, curves, law, others, resamples, level, seed)
    fits = attempts.fits
    recommended = _position(fits, law)
    if recommended is not None:
        doubted = fits[recommended].with_warnings(*disagreements(fits, recommended))
        fits[recommended] = with_uncertainty(doubted, table, resamples, seed)
    tests, doubts = _adequacy(table, [fit for fit in fits if fit.approach == "parametric"], law, seed)
    chosen_warnings = () if recommended is None else fits[recommended].warnings
    reference, untuned = compare_schedules(points, noise["pooled_relative"])
    result: Json = {
        "schema": 1,
        "primary": {"law": law, "count": PRIMARY_COUNT, "rule": (forecast or {}).get("rule", CONTEST_RULE)},
        "fits": [fit.to_dict() for fit in fits],
        "recommended": recommended,
        "reason": REASON,
        "contest": [{**entrant.to_dict(), "chosen": entrant.law == law} for entrant in entrants],
        "adequacy": tests,
        "jackknife": {"a": [], "a_se": None} if recommended is None else jackknife(table, law, seed),
        "rollout": [row for entrant in entrants for row in rollout_rows(table, entrant.law, level)],
        "frontier": [] if recommended is None else _frontier(fits[recommended], table, level),
        "frontier_by_count": _frontier_by_count(fits, tables, law),
        "noise": noise,
        "reference": reference,
        "learning_rate": None,
        "forecast": _score(forecast, points),
        "warnings": _merged([*warnings, *doubts, *chosen_warnings, *attempts.warnings, *untuned]),
        "excluded": [row.to_dict() for row in table.excluded],
    }
    result = plain(result)
    return {**result, "verdict": verdict(result)}


def _learning_rates(points: pd.DataFrame, level: float) -> Json:
    """The content of fits.json for a sweep over learning rates: no law is fitted to it."""
    if not (points.status == "done").any():
        raise InputError(
            "no run of this learning-rate sweep finished, so no rate can be compared with another"
        )
    rates = learning_rate_study(points, level)
    lost = [(row, status) for row, status in enumerate(points.status) if status != "done"]
    result: Json = {
        **NO_LAW,
        "reason": "no law is fitted to runs whose learning rates differ",
        "noise": noise_report(recipe_runs(points)),
        "learning_rate": rates,
        "warnings": _merged(rate_warnings(rates)),
        "excluded": [Excluded(row, f"run {status}").to_dict() for row, status in lost],
        "verdict": rates["verdict"],
    }
    return dict(plain(result))


def _one_axis(tables: Mapping[str, LossTable], shared: str, noise: Json, level: float, seed: int) -> Json:
    """The content of fits.json where all runs have one size, or one token count."""
    fits, warning = fit_other_axis(tables, shared, level, seed)
    result: Json = {
        **NO_LAW,
        "fits": [fit.to_dict() for fit in fits],
        "reason": "no law in N and D is fitted to runs that have one of the two in common",
        "noise": noise,
        "learning_rate": None,
        "warnings": [warning.to_dict()],
        "excluded": [row.to_dict() for row in tables[PRIMARY_COUNT].excluded],
        "verdict": one_axis_verdict(fits, shared),
    }
    return dict(plain(result))


def _contest(table: LossTable, seed: int) -> tuple[list[Entrant], list[FitWarning]]:
    """Compare the laws on the cells that are not held out."""
    holdout = np.zeros(len(table), bool) if table.role is None else np.array(table.role) == "holdout"
    try:
        return contest(table.select(~holdout), seed=seed), []
    except InputError as error:
        return [], [FitWarning(WarningCode.FEW_SIZES, f"the laws cannot be compared: {error}")]


def _primary_law(entrants: Sequence[Entrant], forecast: Json | None) -> str:
    if forecast:
        return str(forecast["law"])
    return next((entrant.law for entrant in entrants if entrant.chosen), "chinchilla")


def _position(fits: Sequence[Fit], law: str) -> int | None:
    """Position of the primary law's fit under the primary count."""
    wanted = ("parametric", law, PRIMARY_COUNT)
    found = [i for i, fit in enumerate(fits) if (fit.approach, fit.law, fit.count) == wanted]
    return found[0] if found else None


def _adequacy(
    table: LossTable, fits: Sequence[Fit], primary: str, seed: int
) -> tuple[Json, list[FitWarning]]:
    """Tests of every fitted law under the primary count, and the warning of the primary one."""
    laws = [fit.law for fit in fits if fit.count == table.count]
    tests = {law: adequacy(table, law, seed) for law in laws}
    doubt = lack_of_fit_warning(tests[primary], primary) if primary in tests else None
    return tests, [doubt] if doubt else []


def _frontier(fit: Fit, table: LossTable, level: float) -> list[Json]:
    """The frontier under exact FLOPs; its losses carry the interval that one new run falls into."""
    flops = frontier_flops(table, BEYOND)
    rows = find_frontier(fit, table, flops, level=level).rows()
    n, d = (np.array([row[key] for row in rows]) for key in ("n_opt", "d_opt"))
    run = predict_interval(fit, calibrate(table, fit), n, d, flops, level)
    return [
        {**row, "loss_low": float(low), "loss_high": float(high)}
        for row, low, high in zip(rows, run.low, run.high, strict=True)
    ]


def _frontier_by_count(fits: Sequence[Fit], tables: Mapping[str, LossTable], law: str) -> list[Json]:
    """The best size at each budget under every way to count N, from the fits of the chosen law."""
    rows: list[Json] = []
    for fit in fits:
        if (fit.approach, fit.law) == ("parametric", law):
            table = tables[fit.count]
            found = find_frontier(fit, table, frontier_flops(table, BEYOND)).rows()
            rows += [{"count": fit.count, **{key: row[key] for key in FRONTIER_KEYS}} for row in found]
    return rows


def with_uncertainty(fit: Fit, table: LossTable, resamples: int, seed: int) -> Fit:
    """The fit with its bootstrap cloud, thinned, and the profiles of its parameters, for the report."""
    law, extra = find_law(fit.law), dict(fit.extra)
    if fit.samples is not None and set(CLOUD) <= set(law.params):
        rows = np.unique(np.linspace(0, len(fit.samples) - 1, CLOUD_POINTS).astype(int))
        columns = [law.params.index(name) for name in CLOUD]
        extra["cloud"] = fit.samples[rows][:, columns].round(CLOUD_DIGITS)
    if len(table) > len(law.params):
        names = [name for name in PROFILED if name in law.params and name not in law.fixed]
        draws = min(resamples, RESAMPLES)
        extra["profile"] = [
            profile(fit, table, name, level=None, resamples=draws, seed=seed).to_dict() for name in names
        ]
    return replace(fit, extra=extra)


def _score(forecast: Json | None, points: pd.DataFrame) -> Json | None:
    """The score of a sealed forecast; None while no held-out cell is finished."""
    if not forecast:
        return None
    found = score_forecast(forecast, points)
    return found if found["cells"] else None


def _merged(warnings: Sequence[FitWarning]) -> list[Json]:
    """Warnings without repetitions, in order."""
    return [warning.to_dict() for warning in dict.fromkeys(warnings)]
