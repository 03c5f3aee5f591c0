"""The live part of a page of several sweeps: their runs and frontiers in one figure, by law."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.averaging.quantities import frontiers_by_law
from analysis.explorer.answers import budgets, weighed
from analysis.explorer.charts import COMPUTE
from analysis.explorer.page import FIELDS, READ_DIGITS
from analysis.explorer.sections.figure import (
    GROUP_COLOUR,
    SHOWN,
    Card,
    Choice,
    LiveFigure,
    Option,
    Told,
    dots,
    group_bands,
    group_lines,
    section_chart,
)
from analysis.explorer.vega import OF_ALL, Axis, Covered, Json, Series, formula, kept, upright
from analysis.laws import family
from analysis.plots.law_tests import LAW_STYLES
from analysis.plots.style import BLACK, GREY
from analysis.records.fits import StudyRecord
from analysis.records.frontier import FrontierRow
from analysis.tables.table import LossTable

LAW = "by"  # name of the list of laws, in the address too
INTERVAL = Series("interval", "interval", GREY, "band")
RUNS = Series("runs", "runs", GREY, "point")
CARD = Card(
    (
        Told("run", "run", "words"),
        Told("N", "run_n", "si"),
        Told("D", "run_d", "si"),
        Told("C", "c", "flops"),
        Told("loss", "run_loss", "loss"),
        Told("lowest loss", "loss", "loss", "loss_low", "loss_high"),
        Told("best size N*", "n", "si", "n_low", "n_high"),
        Told("best tokens D*", "d", "si", "d_low", "d_high"),
    ),
    title="rung",
)
CHARTS = {
    "loss": (Axis("loss, nats per token"), "Loss of every run and lowest loss of each budget"),
    "n": (Axis("size N, parameters", "si"), "Size of every run and best size of each budget"),
    "d": (Axis("training tokens D", "si"), "Tokens of every run and best tokens of each budget"),
}


@dataclass(frozen=True)
class OneOfSeveral:
    """What the page knows of one sweep.

    Attributes:
        name: of the sweep.
        runs: its finished points.
        count: column that counts N in its fits.
        frontiers: {law: best use of each budget}, over all laws first, by the name OF_ALL.
        weights: {law: its weight in the average}.
    """

    name: str
    runs: pd.DataFrame
    count: str
    frontiers: Mapping[str, tuple[FrontierRow, ...]]
    weights: Mapping[str, float]


def one_of_several(
    name: str, runs: pd.DataFrame, study: StudyRecord, table: LossTable | None
) -> OneOfSeveral:
    """Return what the page knows of a sweep; its stored frontier alone if its study drew no intervals.

    Args:
        name: of the sweep.
        runs: its finished points.
        study: its fits.
        table: the fitted rows; None if they cannot hold the laws.
    """
    fit = study.quoted
    count = study.primary.count if study.primary else ""
    frontiers = {OF_ALL: tuple(study.frontier)}
    weights: dict[str, float] = {}
    if table is not None and fit is not None and fit.estimation and fit.estimation.resamples:
        laws = list(dict.fromkeys(row.law for row in study.contest if row.count == fit.count)) or [fit.law]
        average = weighed(table, laws, resamples=fit.estimation.resamples)
        together, alone = frontiers_by_law(average, table, budgets(table), fit.level)
        frontiers = {OF_ALL: together, **{family(law): rows for law, rows in alone.items()}}
        weights = {family(entry.name): entry.weight for entry in average.laws}
    return OneOfSeveral(name, runs, count, frontiers, weights)


def several_data(sweeps: Sequence[OneOfSeveral], reasons: Sequence[str]) -> Json:
    """Return what the script reads between: frontiers by sweep and law, and the budgets that all have.

    Args:
        sweeps: the first one is that against which the others are held.
        reasons: why the losses of each sweep do not compare with those of the first; empty if they do.
    """
    own = [[row.flops for row in sweep.frontiers[OF_ALL]] for sweep in sweeps]
    return {
        "names": [sweep.name for sweep in sweeps],
        "frontiers": [{law: _columns(rows) for law, rows in sweep.frontiers.items()} for sweep in sweeps],
        "reasons": list(reasons),
        "first": max(min(flops) for flops in own),
        "last": min(max(flops) for flops in own),
        "largest": [float(sweep.runs["flops"].max()) for sweep in sweeps],
    }


def several_figure(sweeps: Sequence[OneOfSeveral]) -> LiveFigure:
    """Return the figure: loss, size and tokens against compute, a group a sweep."""
    groups = [
        Series(f"sweep{g}", sweep.name, LAW_STYLES[g % len(LAW_STYLES)][0], "point")
        for g, sweep in enumerate(sweeps)
    ]
    choice = Choice(LAW, "law", tuple(Option(law, label) for law, label in _labels(sweeps).items()))
    frontiers: list[Json] = [
        {"g": g, "law": law} | {name: getattr(row, field) for name, field in FIELDS.items()}
        for g, sweep in enumerate(sweeps)
        for law, rows in sweep.frontiers.items()
        for row in rows
    ]
    runs: list[Json] = [
        {"g": g, "run": str(run["run_id"]), "rung": str(run["rung"]), "c": float(run["flops"])}
        | {"run_n": float(run[sweep.count]), "run_d": float(run["n_tokens"]), "run_loss": float(run["loss"])}
        for g, sweep in enumerate(sweeps)
        for run in sweep.runs.to_dict("records")
    ]
    answers = [{"g": g} for g in range(len(sweeps))]
    charts = tuple(_chart(name, groups, choice) for name in CHARTS)
    return LiveFigure(
        charts, {"their_frontiers": frontiers, "their_runs": runs, "their_answers": answers}, (choice,)
    )


def _labels(sweeps: Sequence[OneOfSeveral]) -> dict[str, str]:
    """Return {law: label with its weights}: all laws first, then the laws by their largest weight."""
    laws = {law for sweep in sweeps for law in sweep.weights}

    def weights(law: str) -> list[float]:
        return [sweep.weights.get(law, math.nan) for sweep in sweeps]

    def words(weight: float) -> str:
        return f"{weight:.2f}" if math.isfinite(weight) else "–"

    ordered = sorted(laws, key=lambda law: (-max(w for w in weights(law) if math.isfinite(w)), law))
    labels = {law: f"{law}, weights {', '.join(map(words, weights(law)))}" for law in ordered}
    return {OF_ALL: "all laws, by weight"} | labels


def _columns(rows: Sequence[FrontierRow]) -> dict[str, list[float | None]]:
    def short(value: float) -> float | None:
        return float(f"{value:.{READ_DIGITS}g}") if math.isfinite(value) else None

    return {name: [short(getattr(row, field)) for row in rows] for name, field in FIELDS.items()}


def _chart(name: str, groups: Sequence[Series], choice: Choice) -> Json:
    axis, words = CHARTS[name]

    def read(field: str) -> Json:
        return formula(field, f"at ? several_at(datum.g, {LAW}, at.c, '{field}') : null")

    fields = (name, f"{name}_low", f"{name}_high")
    data: list[Json] = [
        {"name": "their_frontiers", "transform": [kept(f"datum.law === {LAW}"), SHOWN]},
        {"name": "their_runs", "transform": [SHOWN]},
        {"name": "their_answers",
         "transform": [SHOWN, *(read(field) for field in fields), kept(f"isValid(datum.{name})")]},
    ]  # fmt: skip
    along: list[Covered] = [("their_frontiers", "c"), ("their_runs", "c")]
    up: list[Covered] = [("their_frontiers", name), ("their_runs", f"run_{name}")]
    return section_chart(
        f"{words}, by sweep",
        (COMPUTE, axis),
        data,
        (along, up),
        [
            group_bands("their_frontiers", "c", f"{name}_low", f"{name}_high", "interval"),
            *dots("their_runs", "c", f"run_{name}", size=26, hollow=True, series="runs"),
            group_lines("their_frontiers", "c", name),
            *dots("their_frontiers", "c", name, size=16),
            upright("(at ? at.c : null)", BLACK, dash=(5, 3)),
            *_answers(name),
        ],
        groups=groups,
        series=(INTERVAL, RUNS),
        card=CARD,
        choices=(choice,),
    )


def _answers(name: str) -> list[Json]:
    """Return the answer of each sweep at the chosen budget: a diamond with its interval."""
    at: dict[str, Any] = {"x": {"scale": "x", "signal": "at ? at.c : domain('x')[0]"}}
    ends = {"y": {"scale": "y", "field": f"{name}_low"}, "y2": {"scale": "y", "field": f"{name}_high"}}
    known = {"opacity": {"signal": f"isValid(datum.{name}_low) && isValid(datum.{name}_high) ? 1 : 0"}}
    bar = at | ends | known | {"stroke": GROUP_COLOUR, "strokeWidth": {"value": 3}}
    shape = {"shape": {"value": "diamond"}, "size": {"value": 170}, "fill": GROUP_COLOUR}
    edge = {"stroke": {"value": "white"}, "strokeWidth": {"value": 1}}
    diamond = at | {"y": {"scale": "y", "field": name}} | shape | edge
    drawn = {"from": {"data": "their_answers"}, "clip": True, "interactive": False}
    return [
        drawn | {"type": "rule", "name": "answer_bars", "encode": {"update": bar}},
        drawn | {"type": "symbol", "name": "answers", "encode": {"update": diamond}},
    ]
