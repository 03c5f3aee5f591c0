"""Live figures of replications: errors by extrapolation, and intervals of one cell or parameter at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from analysis.explorer.sections.figure import (
    SHOWN,
    Card,
    Choice,
    LiveFigure,
    Option,
    Told,
    bars,
    covered,
    dots,
    drawn,
    having,
    level,
    section_chart,
)
from analysis.explorer.vega import Axis, Json, Series, kept
from analysis.plots.replications import NAMES
from analysis.plots.style import BLACK, BLUE, GREY, LIGHT, ORANGE, VERMILION
from analysis.records.replications import ReplicationsRecord
from harness.records.number_text import si

FACTOR = Axis("compute beyond the largest fitted point", "times")
QUARTILES = Series("quartiles", "median and quartiles", BLACK, "line")
GROUND = Series("fixed", "rule fixed on these", GREY, "band")
REPLICATION = Axis("replication", log=False)


def replication_figures(found: ReplicationsRecord) -> dict[str, LiveFigure]:
    """Return {name: figure} of every figure that the study has the data for."""
    whole = found.parts[0]
    figures: dict[str, LiveFigure] = {}
    if whole.held_out:
        figures |= {"errors": _errors(found), "intervals": _intervals(found)}
    if whole.parameters:
        figures["parameters"] = _parameters(found)
    return figures


def _errors(found: ReplicationsRecord) -> LiveFigure:
    rows: list[Json] = []
    for number, each in enumerate(found.replications):
        for cell in each.cells:
            row: Json = {"g": 0 if number >= found.n_fixed else 1, "name": each.name, "law": each.law}
            row |= {"rung": cell.rung, "d": cell.n_tokens, "factor": cell.factor}
            row |= {"predicted": cell.predicted, "low": cell.low, "high": cell.high, "loss": cell.loss}
            row |= {"error": cell.error_percent, "inside": "yes" if cell.inside else "no"}
            rows.append(row)
    errors, factors = (
        np.array([[getattr(cell, name) for cell in each.cells] for each in found.replications])
        for name in ("error_percent", "factor")
    )
    low, middle, high = np.quantile(errors, [0.25, 0.5, 0.75], axis=0).tolist()
    spread = [
        {"g": 0, "factor": at, "low": one, "middle": two, "high": three}
        for at, one, two, three in zip(np.median(factors, axis=0).tolist(), low, middle, high, strict=True)
    ]
    groups = [Series("unseen", "unseen" if found.n_fixed else "replication", BLUE, "point")]
    if found.n_fixed:
        groups.append(Series("seen", "rule fixed on it", ORANGE, "point"))
    card = Card(
        (
            Told("held-out cell", "rung", "words"),
            Told("D", "d", "si"),
            Told("times the largest fitted run", "factor", "times"),
            Told("forecast, nats", "predicted", low="low", high="high"),
            Told("measured, nats", "loss"),
            Told("forecast − measured", "error", "per_cent"),
            Told("inside the interval", "inside", "words"),
            Told("law", "law", "words"),
        ),
        title="name",
    )
    chart = section_chart(
        "Forecast error of every held-out run of every replication against its extrapolation",
        (FACTOR, Axis("forecast − measured, %", log=False, zero=True)),
        [{"name": "errors", "transform": [SHOWN]}, {"name": "quartiles", "transform": []}],
        ([("errors", "factor")], [("errors", "error")]),
        [level(0.0), *dots("errors", "factor", "error", size=34), *_quartiles()],
        groups=groups,
        series=(QUARTILES,),
        card=card,
    )
    return LiveFigure((chart,), {"errors": rows, "quartiles": spread})


def _quartiles() -> list[Json]:
    look = {"stroke": {"value": BLACK}, "opacity": {"signal": "show_quartiles ? 1 : 0"}}
    ends: Json = {"x": {"scale": "x", "field": "factor"}, "y": {"scale": "y", "field": "low"}}
    ends |= {"y2": {"scale": "y", "field": "high"}, "strokeWidth": {"value": 1.6}}
    middle: Json = {"x": {"scale": "x", "field": "factor"}, "y": {"scale": "y", "field": "middle"}}
    middle |= {"shape": {"value": "stroke"}, "size": {"value": 150}, "strokeWidth": {"value": 2.4}}
    from_quartiles: Json = {"from": {"data": "quartiles"}, "clip": True, "interactive": False}
    return [
        from_quartiles | {"type": "rule", "encode": {"update": ends | look}},
        from_quartiles | {"type": "symbol", "encode": {"update": middle | look}},
    ]


def _intervals(found: ReplicationsRecord) -> LiveFigure:
    """Return one held-out cell at a time: the interval of each replication, and the loss that came out."""
    rows: list[Json] = []
    options = []
    for place, first in enumerate(found.replications[0].cells):
        own = [each.cells[place] for each in found.replications]
        centre = float(np.mean([cell.loss for cell in own]))
        for number, (each, cell) in enumerate(zip(found.replications, own, strict=True), 1):
            row: Json = {"g": 0 if cell.inside else 1, "k": place, "at": number, "name": each.name}
            row |= {"loss": cell.loss, "predicted": cell.predicted, "low": cell.low, "high": cell.high}
            for name in ("loss", "low", "high"):
                row[f"{name}_off"] = 100 * (getattr(cell, name) / centre - 1)
            rows.append(row)
        inside = sum(cell.inside for cell in own)
        options.append(
            Option(
                f"{first.rung}-{si(first.n_tokens)}",
                f"{first.rung}, {si(first.n_tokens)} tokens, {first.factor:.2g}×",
                f"{inside} of {len(own)} intervals hold the loss of their own run.",
            )
        )
    card = Card(
        (
            Told("forecast, nats", "predicted", low="low", high="high"),
            Told("measured, nats", "loss"),
            Told("measured − mean of the cell", "loss_off", "per_cent"),
        ),
        title="name",
    )
    groups = [
        Series("inside", "holds its loss", BLUE, "line"),
        Series("outside", "misses its loss", VERMILION, "line"),
    ]
    choice = Choice("cell", "held-out cell", tuple(options))
    return _one_by_one(
        "cells",
        rows,
        choice,
        ("loss_off", "low_off", "high_off"),
        Axis("loss − mean of the cell, %", log=False, zero=True),
        groups,
        card,
        found.n_fixed,
    )


def _parameters(found: ReplicationsRecord) -> LiveFigure:
    """Return one parameter at a time: the interval of each replication, and the mean of the others."""
    stated = [
        (number, each, entry)
        for number, each in enumerate(found.replications, 1)
        for entry in each.parameters
        if entry.name in NAMES
    ]
    names = [name for name in NAMES if any(entry.name == name for *_, entry in stated)]
    rows: list[Json] = []
    for number, each, entry in stated:
        low, high = entry.interval or (None, None)
        mean = entry.others_mean
        inside = mean is None or low is None or high is None or low <= mean <= high
        row: Json = {"g": 0 if inside else 1, "k": names.index(entry.name), "at": number, "name": each.name}
        row |= {"value": entry.value, "low": low, "high": high, "mean": mean, "law": entry.law}
        rows.append(row)
    card = Card(
        (
            Told("estimate", "value", low="low", high="high"),
            Told("mean of the others", "mean"),
            Told("law", "law", "words"),
        ),
        title="name",
    )
    groups = [
        Series("inside", "holds the mean of the others", BLUE, "line"),
        Series("outside", "misses it", VERMILION, "line"),
    ]
    choice = Choice("parameter", "parameter", tuple(Option(name, NAMES[name]) for name in names))
    return _one_by_one(
        "estimates",
        rows,
        choice,
        ("value", "low", "high"),
        Axis("estimate", log=False),
        groups,
        card,
        found.n_fixed,
        mean="mean",
    )


def _one_by_one(
    name: str,
    rows: list[Json],
    choice: Choice,
    fields: tuple[str, str, str],
    y: Axis,
    groups: list[Series],
    card: Card,
    n_fixed: int,
    *,
    mean: str | None = None,
) -> LiveFigure:
    """Return a figure of intervals by replication, for one option of a list at a time."""
    value, low, high = fields
    places = json.dumps([option.value for option in choice.options])
    data: list[Json] = [
        {"name": name, "transform": [kept(f"{places}[datum.k] === {choice.name}"), SHOWN]},
        having("bounded", name, low, high),
        drawn([name], [*fields, *([mean] if mean else [])]),
    ]
    marks: list[Json] = [bars("bounded", "at", low, high, width=4), *dots(name, "at", value, size=40)]
    if mean:
        data.append(having("compared", name, mean))
        marks.append(_mean(mean))
    if n_fixed:
        marks.insert(0, _ground(n_fixed))
    chart = section_chart(
        f"Interval of each replication, for one {choice.label} at a time",
        (REPLICATION, y),
        data,
        covered("at"),
        marks,
        groups=groups,
        series=[GROUND] if n_fixed else [],
        card=card,
        choices=[choice],
    )
    return LiveFigure((chart,), {name: rows}, (choice,))


def _mean(field: str) -> Json:
    """Return the mean of the other replications as a dash."""
    at: Mapping[str, Json] = {"x": {"scale": "x", "field": "at"}, "y": {"scale": "y", "field": field}}
    look = {"shape": {"value": "stroke"}, "size": {"value": 220}}
    black = {"stroke": {"value": BLACK}, "strokeWidth": {"value": 1.6}}
    return {
        "type": "symbol",
        "name": "means",
        "from": {"data": "compared"},
        "clip": True,
        "interactive": False,
        "encode": {"update": {**at, **look, **black}},
    }


def _ground(n_fixed: int) -> Json:
    """Return the grey ground of the replications that a rule was fixed on."""
    across = {"x": {"scale": "x", "value": 0.5}, "x2": {"scale": "x", "value": n_fixed + 0.5}}
    down = {"y": {"value": 0}, "y2": {"signal": "height"}}
    look = {"fill": {"value": LIGHT}, "opacity": {"signal": "show_fixed ? 0.5 : 0"}}
    return {
        "type": "rect",
        "clip": True,
        "interactive": False,
        "encode": {"update": across | down | look},
    }
