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
from analysis.arrays import Array
from analysis.averaging.average import average_laws
from analysis.averaging.quantities import averaged_frontier, averaged_quantities
from analysis.compare.arms import compare_all
from analysis.compare.text import verdict as verdict_of
from analysis.contest.adequacy import CONTEST_RULE, Entrant, candidates, contest
from analysis.contest.objections import objection
from analysis.contest.recommended import disagreements
from analysis.contest.rollout import Rolled, cuts, rollout, rollout_rows, thinned
from analysis.forecast.series import Scored, quoted, score_all
from analysis.frontier import find_frontier
from analysis.intervals import LEVEL
from analysis.laws import find_law
from analysis.learning_rate.schedules import compare_schedules
from analysis.learning_rate.study import learning_rate_study, rate_warnings, recipe_runs
from analysis.records.averages import AveragedRecord
from analysis.records.fit import COUNTS, Excluded
from analysis.records.fits import (
    AdequacyRecord,
    CountedOptimum,
    JackknifeRecord,
    NoiseRecord,
    PrimaryRecord,
    StudyRecord,
)
from analysis.records.forecast import ForecastRecord, ScoreRecord
from analysis.records.frontier import FrontierRow
from analysis.records.sources import SourceRecord
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.result import Fit
from analysis.study.by_source import study_sources
from analysis.study.words import excluded_warning, verdict
from analysis.tables.seed_noise import noise_report
from analysis.tables.sweep import by_source
from analysis.tables.table import LossTable, load_table
from analysis.uncertainty.adequacy import adequacy, lack_of_fit_warning
from analysis.uncertainty.profile import RESAMPLES, profile
from harness.records.columns import ARM, ARM_ROLE
from harness.records.errors import InputError

PRIMARY_COUNT = "n_params_matmul"  # parameters that the FLOPs of a step depend on
BEYOND = 10.0  # budgets of the frontier reach this factor beyond the largest measured compute
CLOUD = ("alpha", "beta")  # parameters whose bootstrap estimates are kept for the report
CLOUD_POINTS, CLOUD_DIGITS = 200, 5
PROFILED = ("E", "alpha", "beta", "gamma")  # coefficients carry the units of N and D and say little alone
REASON = (
    "the law that the rule chose, fitted to every finished run; N counts the parameters that enter matrix "
    "products, because compute is spent on those"
)
MOST_LEFT_OUT = 30  # sizes of a table of other people, of which each is left out once
REASON_OF_TABLE = "the law that the rule chose, fitted to every row"


def study_sweep(
    points: pd.DataFrame,
    curves: pd.DataFrame | None = None,
    forecast: ForecastRecord | Sequence[ForecastRecord] | None = None,
    *,
    floor: float | None = None,
    evals: pd.DataFrame | None = None,
    unigram: Mapping[str, float] | None = None,
    seed: int = 0,
    resamples: int = 500,
    level: float = LEVEL,
) -> StudyRecord:
    """Analyse a sweep: contest of laws, fits by every approach, frontier, noise, verdict in words.

    Fits take every finished point, held-out ones included. The contest of laws sees the fit cells only, as
    the sealed forecast did. No law is fitted to a learning-rate sweep; its rates are studied instead.
    Of a grid with arms the base arm is studied, and the others are compared with it.

    Args:
        points: points.parquet of a sweep (`read_sweep(...).points`), columns in results/README.md.
        curves: its curves.parquet, for the envelope of the training curves.
        forecast: its forecast.json, or all its forecasts in the order of sealing; the law that the quoted one
            sealed stays the primary one.
        floor: true irreducible loss of the source, nats per token, if it is known.
        evals: its evals.parquet; of a mixture it has the losses on each source.
        unigram: loss of a model that knows token frequencies alone, by source of a mixture, nats per token.
        seed: of everything random.
        resamples: bootstrap refits of the primary law; redrawn estimates of each law in averages over laws.
        level: share of all intervals.

    Returns:
        The content of fits.json; `verdict` is the text.

    Raises:
        InputError: no usable row. If a single approach lacks something, a warning says so instead.

    Examples:
        >>> import analysis as sl
        >>> found = sl.study_sweep(sl.read_sweep("results/lr").points)
        >>> print(found.verdict.split(":")[0])
        Hidden rate
    """
    if ARM in points:
        base = points[points["role"] != ARM_ROLE].drop(columns=ARM)
        options: dict[str, Any] = {"seed": seed, "resamples": resamples, "level": level}
        found = study_sweep(base, curves, forecast, floor=floor, evals=evals, unigram=unigram, **options)
        return _with_arms(found, points, **options)
    if (points.role == "lr").all():
        return _learning_rates(points, level)
    tables = {count: load_table(points, count=count) for count in COUNTS}
    table = tables[PRIMARY_COUNT]
    noise = noise_report(points.iloc[table.row])
    scored = score_all(forecast, points)
    shared = shared_axis(table)
    if shared and not scored:
        return _one_axis(tables, shared, noise, level, seed)
    reference, untuned = compare_schedules(points, noise.pooled_relative)
    result = _study(tables, noise, points, curves, scored, resamples, level, seed)
    result = replace(
        result,
        floor=floor,
        reference=tuple(reference),
        sources=_by_source(points, evals, unigram or {}, resamples, level, seed),
        warnings=_merged([*result.warnings, *untuned]),
    )
    return replace(result, verdict=verdict(result))


def study_table(
    tables: Mapping[str, LossTable], *, seed: int = 0, resamples: int = 500, level: float = LEVEL
) -> StudyRecord:
    """Analyse a table of other people's runs as a sweep is analysed, without what only a sweep records.

    Args:
        tables: the table under each way of counting N, the primary one first (`counted_tables`).
        seed: of everything random.
        resamples: bootstrap refits of the primary law; redrawn estimates of each law in averages over laws.
        level: share of all intervals.

    Returns:
        The record of a study, as in fits.json; `verdict` is the text.

    Raises:
        InputError: no usable row.
    """
    table = next(iter(tables.values()))
    noise = noise_report(table.points())
    shared = shared_axis(table)
    if shared:
        return _one_axis(tables, shared, noise, level, seed)
    result = _study(tables, noise, None, None, (), resamples, level, seed)
    return replace(result, verdict=verdict(result))


def _study(
    tables: Mapping[str, LossTable],
    noise: NoiseRecord,
    points: pd.DataFrame | None,
    curves: pd.DataFrame | None,
    scored: Sequence[Scored],
    resamples: int,
    level: float,
    seed: int,
) -> StudyRecord:
    """Return the study of runs in N and D, still without its verdict.

    Args:
        tables: the runs under each way of counting N, the primary one first.
        noise: spread between their seeds.
        points: points.parquet of a sweep; None for a table of other people.
        curves: curves.parquet of a sweep, if there is one.
        scored: sealed forecasts with their scores.
        resamples, level, seed: as in `study_sweep`.
    """
    count, table = next(iter(tables.items()))
    sealed, score = quoted(scored) or (None, None)
    # Separate runs may each have a compute and a size of their own, and hundreds of cuts say no more.
    at = thinned(cuts(table.fitted(), candidates(table))) if points is None else None
    entrants, warnings = _contest(table, seed, at)
    law = _primary_law(entrants, sealed)
    others = [candidate for candidate in candidates(table) if candidate != law]
    attempts = fit_everything(dict(tables), points, curves, law, others, resamples, level, seed)
    fits = attempts.fits
    recommended = _position(fits, law, count)
    if recommended is not None:
        doubted = fits[recommended].with_warnings(*disagreements(fits, recommended))
        fits[recommended] = with_uncertainty(doubted, table, resamples, seed)
    tests, doubts = _adequacy(table, [fit for fit in fits if fit.approach == "parametric"], law, seed)
    best = None if recommended is None else fits[recommended]
    averages, frontier = _over_laws(table, entrants, best, resamples, level, seed)
    few_sizes = points is not None or len(np.unique(table.n)) <= MOST_LEFT_OUT
    result = StudyRecord(
        primary=PrimaryRecord(law, count, sealed.rule if sealed else CONTEST_RULE),
        fits=tuple(fit.to_record() for fit in fits),
        recommended=recommended,
        reason=REASON if points is not None else REASON_OF_TABLE,
        objection=_objection(best, table, entrants, scored) if best else None,
        contest=tuple(entrant.to_row(entrant.law == law) for entrant in entrants),
        adequacy=tests,
        jackknife=jackknife(table, law, seed) if best and few_sizes else JackknifeRecord(),
        rollout=tuple(
            row for entrant in entrants for row in rollout_rows(table, _rolled(table, entrant, at, seed))
        ),
        averages=averages,
        frontier=frontier,
        frontier_by_count=_frontier_by_count(fits, tables, law),
        noise=noise,
        forecast=score if score and score.cells else None,
        forecasts=_scores(scored),
        warnings=_merged([*warnings, *doubts, *(best.warnings if best else ()), *attempts.warnings]),
        excluded=table.excluded,
        verdict="",
    )
    return replace(result, warnings=_merged([*excluded_warning(result), *result.warnings]))


def _with_arms(
    found: StudyRecord, points: pd.DataFrame, *, seed: int, resamples: int, level: float
) -> StudyRecord:
    """Return the study of the base arm with every other arm held against it."""
    compared, doubts = compare_all(points, resamples=max(resamples, 1), level=level, seed=seed)
    return replace(
        found,
        comparisons=compared,
        warnings=_merged([*found.warnings, *doubts, *(w for each in compared for w in each.warnings)]),
        verdict=" ".join([found.verdict, *map(verdict_of, compared)]),
    )


def _by_source(
    points: pd.DataFrame,
    evals: pd.DataFrame | None,
    unigram: Mapping[str, float],
    resamples: int,
    level: float,
    seed: int,
) -> tuple[SourceRecord, ...] | None:
    """Return the laws of the loss on each source of a mixture; None for other corpora."""
    if evals is None or by_source(evals).empty:
        return None
    return study_sources(points, evals, unigram, PRIMARY_COUNT, resamples=resamples, level=level, seed=seed)


def _learning_rates(points: pd.DataFrame, level: float) -> StudyRecord:
    """Return the content of fits.json for a sweep over learning rates: no law is fitted to it."""
    if not (points.status == "done").any():
        raise InputError(
            "no run of this learning-rate sweep finished, so no rate can be compared with another"
        )
    rates = learning_rate_study(points, level)
    lost = [(row, status) for row, status in enumerate(points.status) if status != "done"]
    return StudyRecord(
        reason="no law is fitted to runs whose learning rates differ",
        adequacy={},
        noise=noise_report(recipe_runs(points)),
        learning_rate=rates,
        warnings=_merged(rate_warnings(rates)),
        excluded=tuple(Excluded(row, f"run {status}") for row, status in lost),
        verdict=rates.verdict,
    )


def _one_axis(
    tables: Mapping[str, LossTable], shared: str, noise: NoiseRecord, level: float, seed: int
) -> StudyRecord:
    """Return the content of fits.json for runs of one size, or of one token count."""
    fits, warning = fit_other_axis(tables, shared, level, seed)
    return StudyRecord(
        fits=tuple(fit.to_record() for fit in fits),
        reason="no law in N and D is fitted to runs that have one of the two in common",
        adequacy={},
        noise=noise,
        warnings=(warning,),
        excluded=next(iter(tables.values())).excluded,
        verdict=one_axis_verdict(fits, shared),
    )


def _contest(table: LossTable, seed: int, at: Array | None) -> tuple[list[Entrant], list[FitWarning]]:
    """Compare the laws on the cells that are not held out; return the entrants and warnings."""
    try:
        return contest(table.fitted(), seed=seed, at=at), []
    except InputError as error:
        return [], [FitWarning(WarningCode.FEW_SIZES, f"the laws cannot be compared: {error}")]


def _rolled(table: LossTable, entrant: Entrant, at: Array | None, seed: int) -> Sequence[Rolled]:
    """Return the rollouts of a law over all rows: those of its contest if no row was held out."""
    if at is not None and table.fitted() is table:
        return entrant.rolled
    return rollout(table, entrant.law, at, seed=seed)


def _primary_law(entrants: Sequence[Entrant], forecast: ForecastRecord | None) -> str:
    if forecast:
        return forecast.law
    return next((entrant.law for entrant in entrants if entrant.chosen), "chinchilla")


def _position(fits: Sequence[Fit], law: str, count: str) -> int | None:
    """Return the position of the primary law's fit under the primary count, or None."""
    wanted = ("parametric", law, count)
    found = [i for i, fit in enumerate(fits) if (fit.approach, fit.law, fit.count) == wanted]
    return found[0] if found else None


def _objection(
    fit: Fit, table: LossTable, entrants: Sequence[Entrant], scored: Sequence[Scored]
) -> str | None:
    """Return why the primary fit is not to be quoted, or None.

    Cells that a sealed forecast predicted count as much as those that a rollout did.
    """
    errors = {entrant.law: entrant.rollout_rms for entrant in entrants if entrant.rollout_rms is not None}
    predicted = {(cell.n, cell.d) for entrant in entrants for cell in entrant.rolled}
    predicted |= {cell.key for _, score in scored for cell in score.cells}
    return objection(fit, table, errors, len(predicted))


def _adequacy(
    table: LossTable, fits: Sequence[Fit], primary: str, seed: int
) -> tuple[dict[str, AdequacyRecord], list[FitWarning]]:
    """Test every fitted law under the primary count; return the tests and the warning of the primary law."""
    laws = [fit.law for fit in fits if fit.count == table.count]
    tests = {law: adequacy(table, law, seed) for law in laws}
    doubt = lack_of_fit_warning(tests[primary], primary) if primary in tests else None
    return tests, [doubt] if doubt else []


def _over_laws(
    table: LossTable, entrants: Sequence[Entrant], best: Fit | None, resamples: int, level: float, seed: int
) -> tuple[tuple[AveragedRecord, ...], tuple[FrontierRow, ...]]:
    """Return E, the exponents and the frontier under exact FLOPs over the laws.

    Without resamples there is only the frontier of the best fit, without intervals.
    """
    if best is None or not entrants:
        return (), ()
    if resamples == 0:
        return (), tuple(find_frontier(best, table, frontier_flops(table, BEYOND)).rows())
    average = average_laws(table, [entrant.law for entrant in entrants], resamples=resamples, seed=seed)
    flops = frontier_flops(table, BEYOND)
    return averaged_quantities(average, table, frontier_flops(table), level), averaged_frontier(
        average, table, flops, level
    )


def _frontier_by_count(
    fits: Sequence[Fit], tables: Mapping[str, LossTable], law: str
) -> tuple[CountedOptimum, ...]:
    """Return the best size at each budget under every way to count N, from the fits of the chosen law."""
    rows: list[CountedOptimum] = []
    for fit in fits:
        if (fit.approach, fit.law) == ("parametric", law):
            table = tables[fit.count]
            found = find_frontier(fit, table, frontier_flops(table, BEYOND)).rows()
            rows += [CountedOptimum(fit.count, row.flops, row.n_opt, row.n_low, row.n_high) for row in found]
    return tuple(rows)


def with_uncertainty(fit: Fit, table: LossTable, resamples: int, seed: int) -> Fit:
    """Return the fit with its thinned bootstrap cloud and the profiles of its parameters, for the report."""
    law = find_law(fit.law)
    if fit.samples is not None and set(CLOUD) <= set(law.params):
        rows = np.unique(np.linspace(0, len(fit.samples) - 1, CLOUD_POINTS).astype(int))
        columns = [law.params.index(name) for name in CLOUD]
        cloud = fit.samples[rows][:, columns].round(CLOUD_DIGITS).tolist()
        fit = replace(fit, cloud=tuple((alpha, beta) for alpha, beta in cloud))
    if len(table) > len(law.params):
        names = [name for name in PROFILED if name in law.params and name not in law.fixed]
        draws = min(resamples, RESAMPLES)
        profiles = [
            profile(fit, table, name, level=None, resamples=draws, seed=seed).to_record() for name in names
        ]
        fit = replace(fit, profile=tuple(profiles))
    return fit


def _scores(scored: Sequence[Scored]) -> tuple[ScoreRecord, ...] | None:
    """Return the scores of all forecasts; None while no held-out cell is finished."""
    scores = tuple(score for _, score in scored)
    return scores if any(score.cells for score in scores) else None


def _merged(warnings: Sequence[FitWarning]) -> tuple[FitWarning, ...]:
    """Return the warnings without repetitions, in order."""
    return tuple(dict.fromkeys(warnings))
