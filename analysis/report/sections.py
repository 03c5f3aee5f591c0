"""Live figures of a report's sections, by the names of the static figures in whose place they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis import plots
from analysis.explorer.page import counts_of, first_count
from analysis.explorer.sections import (
    arms,
    counting,
    emergence,
    forecast,
    isoflop,
    learning_rate,
    parameters,
    rollout,
    sources,
)
from analysis.explorer.sections.figure import LiveFigure
from analysis.learning_rate.study import rate_runs
from analysis.plots.runs import rungs_by_size
from analysis.records.fit import FitRecord
from analysis.records.fits import StudyRecord
from analysis.tables.sweep import by_source

if TYPE_CHECKING:
    from analysis.report.build import Sweep


TASKS_FIGURE = "emergence_overview"


def forecast_figure(number: int) -> str:
    """Return the name of the figure of a forecast, by its place in the report from 1."""
    return "forecast" if number == 1 else f"forecast_{number}"


def rate_figure(group: str) -> str:
    """Return the name of the figure of a group of learning rates."""
    return f"learning_rate_{plots.slug(group)}"


def shown_isoflop(fits: StudyRecord) -> FitRecord | None:
    """Return the IsoFLOP fit that a report draws: under the count of the quoted fit, if there is one."""
    slices = [fit for fit in fits.fits if fit.isoflop and fit.isoflop.optima]
    counted = [fit for fit in slices if fits.primary and fit.count == fits.primary.count]
    return next(iter(counted or slices), None)


def section_figures(
    sweep: Sweep, places: Mapping[Any, int], *, with_law: bool = False
) -> dict[str, LiveFigure]:
    """Return {name: live figure} of slices, tasks, rates, arms, forecasts and sources that a sweep has.

    Args:
        sweep: its files.
        places: {index of a point: its row in the page's table of points}.
        with_law: whether the page has a law with answers.
    """
    fits, done, points = sweep.fits, sweep.finished, sweep.points
    figures: dict[str, LiveFigure] = {}
    if fits.comparisons:
        figures["arms"] = arms.arms_figure(fits.comparisons)
    if sweep.learning_rate:
        runs = rate_runs(points)
        for group in sweep.learning_rate.groups:
            own = runs[runs.group == group.group]
            figures[rate_figure(group.group)] = learning_rate.rate_figure(group, points, own, places)
    slices, counts = shown_isoflop(fits), counts_of(done, first_count(fits))
    if slices and slices.count == counts[0]:
        titles = [plots.style.count_axis(name) for name in counts]
        found = isoflop.isoflop_figure(done, slices, titles, rungs_by_size(done), with_law=with_law)
        figures |= {"isoflop": found} if found else {}
    figures |= _tests_of_laws(sweep, places, counts, with_law=with_law)
    by_point = {str(point): places[index] for index, point in points["point_id"].items()}
    for number, (sealed, score) in enumerate(sweep.scored, 1):
        held_out = done[done["role"] == "holdout"]
        rows = rows_of_cells(held_out, sealed.count, places)
        figures[forecast_figure(number)] = forecast.forecast_figure(
            number, sealed, score, rows, with_law=with_law
        )
    if sweep.tried:
        rungs = {str(end): str(rung) for end, rung in zip(points["point_id"], points["rung"], strict=True)}
        figures["ends"] = forecast.ends_figure(sweep.tried, by_point, rungs)
    if fits.sources and sweep.evals is not None:
        losses = by_source(sweep.evals).merge(done[["point_id", "flops"]], on="point_id")
        figures["loss_by_source"] = sources.sources_figure(losses, fits.sources, by_point, with_law=with_law)
    if sweep.emergence and sweep.emergence.tasks:
        figures[TASKS_FIGURE] = emergence.emergence_figure(sweep.emergence)
    if sweep.emergence and sweep.emergence.in_context:
        figures["in_context"] = emergence.in_context_figure(sweep.emergence.in_context)
    return {name: figure for name, figure in figures.items() if figure.charts}


def _tests_of_laws(
    sweep: Sweep, places: Mapping[Any, int], counts: Sequence[str], *, with_law: bool
) -> dict[str, LiveFigure]:
    """Return the figures of ways to count N, of extrapolation, and of the parameters of the chosen law."""
    fits, primary, chosen = sweep.fits, sweep.primary, sweep.fits.primary
    figures: dict[str, LiveFigure] = {}
    shown = [row for row in fits.frontier_by_count if row.count in counts]
    if len({row.count for row in shown}) > 1:
        own = sweep.chosen_under_each_count
        figures["counting"] = counting.counting_figure(shown, own, counts, with_law=with_law)
    if fits.rollout and chosen:
        rows = rows_of_cells(sweep.finished, chosen.count, places)
        figures["rollout"] = rollout.rollout_figure(fits.rollout, chosen.law, rows)
    if primary and primary.cloud:
        figures["cloud"] = parameters.cloud_figure(primary)
    # Above an objective of 0, as of a law that meets every loss, no rise can be shown in per cent.
    if primary and primary.profile and all(entry.lowest > 0 for entry in primary.profile):
        figures["profile"] = parameters.profile_figure(primary.profile)
    return figures


def rows_of_cells(
    points: pd.DataFrame, count: str, places: Mapping[Any, int]
) -> dict[tuple[int, int], list[int]]:
    """Return {(N, D) of a cell: rows of its runs in the page's table of points}."""
    rows: dict[tuple[int, int], list[int]] = {}
    for n, d, index in zip(points[count], points["n_tokens"], points.index, strict=True):
        rows.setdefault((round(n), round(d)), []).append(places[index])
    return rows
