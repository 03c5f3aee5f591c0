"""The loss over size and tokens: its numbers in a live page, and the chart of its contours.

The page reads a loss between those of a grid (analysis/report/script/surface.js). Functions of the page that
these charts call: `loss_at(law, n, d)`, null beyond the grid; `cost_of(n)`, training FLOPs per token;
`surface_of(law, x_domain, y_domain, count)`, a finer grid over what is seen as `isocontour` takes it;
`n_of(grid, place)` and `d_of(grid, place)` on that one; `end_of(axis, last)`, ends of the whole grid;
`levels(law, unit, bits_per_nat, x_domain, y_domain, count)`, losses of the contours, nats per token;
`turn_of(levels)`, a number that every list of them has for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import pandas as pd

from analysis.arrays import Array
from analysis.explorer.answers import LawAnswers, grid
from analysis.explorer.charts import DRAWN, TOKENS, by_count, colours_of, runs_data
from analysis.explorer.vega import (
    Json,
    Series,
    budget_marks,
    chart,
    formula,
    in_unit,
    kept,
    line,
    points,
    shown_if,
)
from analysis.frontier import table_cost
from analysis.plots.frontier import MARGIN, TOKENS_PER_PARAMETER
from analysis.plots.style import BLACK, BLUE, GREEN, GREY, VERMILION
from analysis.tables.table import LossTable

UNIT = 5e-5  # nats: losses are whole numbers of it, each but the first as the step from the one before
# Low losses are dark as in the static figure, but light enough for the colours of the runs.
DARK, PALE = "#a8c8e4", "#f7fbff"
EDGE = 0.03  # of the chart's width and height, within which no label of a contour stands
HEIGHT = 380  # pixels
SHADING = Series("shading", "loss by the law", DARK, "band")
LEVELS = Series("levels", "contours", GREY, "line")
EQUAL = Series("equal", "equal compute, decades of C", BLACK, "dots")
CHOSEN = Series("chosen", "the chosen compute", VERMILION, "dashes")
BEST = Series("best", "compute-optimal", BLUE, "line")
RULE = Series("rule", f"{TOKENS_PER_PARAMETER:g} tokens per parameter", GREEN, "dashes")
STEPS = 2  # of a decade, by which axes grow beyond the runs


def surface_data(answers: Sequence[LawAnswers], table: LossTable) -> Json:
    """Return the losses of all laws over the grid, as the page's script reads them.

    Args:
        answers: of the laws; one or more.
        table: the fitted rows.
    """
    n, d = grid(table)
    return {
        "n": n.tolist(),
        "d": d.tolist(),
        "per_token": table_cost(table)(n).tolist(),
        "unit": UNIT,
        "losses": [_steps(each.surface) for each in answers],
    }


def _steps(losses: Array) -> list[int]:
    whole = np.round(losses.ravel() / UNIT).astype(int)
    return [int(step) for step in np.diff(whole, prepend=0)]


@dataclass(frozen=True)
class Reach:
    """What the axes of the contours cover at least.

    Attributes:
        n: smallest and largest size under each count.
        d: fewest and most tokens.
        largest: largest compute of a run, FLOPs.
        decades: powers of ten of compute that the grid reaches, first and last.
    """

    n: tuple[tuple[float, float], ...]
    d: tuple[float, float]
    largest: float
    decades: tuple[int, int]


def reach_of(done: pd.DataFrame, counts: Sequence[str], table: LossTable) -> Reach:
    """Return what the axes cover: the runs with a margin, under each of the counts of N.

    Args:
        done: finished points.
        counts: columns that count N.
        table: the fitted rows.
    """
    spans = [(float(done[name].min()) / MARGIN, float(done[name].max()) * MARGIN) for name in counts]
    tokens = float(done["n_tokens"].min()) / MARGIN, float(done["n_tokens"].max()) * MARGIN
    n, d = grid(table)
    spent = np.log10(table_cost(table)(n[[0, -1]]) * d[[0, -1]])
    return Reach(tuple(spans), tokens, float(done["flops"].max()), (ceil(spent[0]), floor(spent[1])))


def contours_chart(rungs: Sequence[str], size_titles: Sequence[str], reach: Reach) -> Json:
    """Return the loss of the chosen law over size and tokens, with the runs and the compute-optimal line.

    Args:
        rungs: names of the sizes, smallest first.
        size_titles: of the axis of N, one a way to count it.
        reach: what the axes cover at least.
    """
    signals = [*_ends("x", "n", reach.n, "[count]"), *_ends("y", "d", (reach.d,), "[0]")]
    thresholds = "levels(law, unit, bits_per_nat, domain('x'), domain('y'), count)"
    made = chart(
        "Loss of the chosen law over size and tokens as contours, with the runs and the best use of budgets",
        by_count(size_titles),
        TOKENS,
        [
            runs_data(formula("x", "datum.n[count]"), formula("y", "datum.d")),
            _frontier(),
            *_equal_costs(reach.decades),
            _contours(),
            _labels(),
        ],
        (["[x_first, x_last]"], ["[y_first, y_last]"]),
        [
            _background(),
            _rings(),
            _by_decade(),
            line("chosen", "x", "y", VERMILION, "chosen", 1.4, strokeDash={"value": [5, 3]}),
            line("frontier", "x_rule", "y_rule", GREEN, "rule", 1.4, strokeDash={"value": [6, 4]}),
            line("frontier", "x", "d", BLUE, "best", 2.6),
            *_label_marks(),
            *points("runs", "x", "y"),
            *budget_marks("n", "d"),
        ],
        colours=colours_of(rungs),
        series=(SHADING, LEVELS, EQUAL, CHOSEN, BEST, RULE),
        signals=[
            {"name": "largest", "value": reach.largest},
            *signals,
            {"name": "thresholds", "update": thresholds},
        ],
        height=HEIGHT,
    )
    shades = {"type": "linear", "domain": {"signal": "[-1, length(thresholds) - 1]"}}
    made["scales"].append({"name": "shade", "range": [DARK, PALE], **shades})
    return made


def _ends(axis: str, name: str, spans: Sequence[tuple[float, float]], of: str) -> list[Json]:
    """Return the signals of the first and last value of an axis: the runs, and the markers of the budget.

    They change in steps, because with an axis all contours are drawn anew.
    """
    both = f"at.{name}, (need || at).{name}"
    found = []
    for place, (end, least, beyond, rounded) in enumerate(
        (("first", "min", "<", "floor"), ("last", "max", ">", "ceil"))
    ):
        own = f"[{', '.join(f'{span[place]:.6g}' for span in spans)}]{of}"
        far = f"{least}({both})"
        step = f"pow(10, {rounded}({STEPS} * log({far}) / LN10) / {STEPS})"
        found.append({"name": f"{axis}_{end}", "update": f"at && {far} {beyond} {own} ? {step} : {own}"})
    return found


def _frontier() -> Json:
    fields = {
        "x": "counted(datum.n, count)",
        "x_rule": "datum.n_rule[count]",
        "y_rule": "datum.d_rule[count]",
    }
    made = [formula(name, expression) for name, expression in fields.items()]
    return {"name": "frontier", "transform": [kept(DRAWN), *made]}


def _equal_costs(decades: tuple[int, int]) -> list[Json]:
    """Return data sets of sizes and tokens of equal compute: the chosen one, and powers of ten."""
    first, last = decades
    spend = "{} / datum.per_token"
    return [
        {"name": "costs", "transform": [formula("x", "counted(datum.n, count)")]},
        {"name": "chosen", "source": "costs", "transform": [formula("y", spend.format("at.c"))]},
        {
            "name": "decades",
            "source": "costs",
            "transform": [
                formula("power", f"sequence({first}, {last + 1})"),
                {"type": "flatten", "fields": ["power"]},
                formula("y", spend.format("pow(10, datum.power)")),
            ],
        },
    ]


def _contours() -> Json:
    """Return the data set of corners of contours: rings around what has at least a loss."""
    return {
        "name": "contours",
        "transform": [
            formula("grid", "surface_of(law, domain('x'), domain('y'), count)"),
            {"type": "isocontour", "field": "grid", "thresholds": {"signal": "thresholds"}, "as": "contour"},
            {"type": "flatten", "fields": ["contour.coordinates"], "as": ["rings"], "index": "polygon"},
            {"type": "flatten", "fields": ["rings"], "as": ["ring"], "index": "hole"},
            formula(
                "key",
                "turn_of(thresholds) + '/' + datum.contour.value + '/' + datum.polygon + '/' + datum.hole",
            ),
            # What a hole holds lies below the loss of its contour.
            formula("shade", "indexof(thresholds, datum.contour.value) - (datum.hole > 0 ? 1 : 0)"),
            {"type": "flatten", "fields": ["ring"], "as": ["corner"]},
            formula("x", "counted(n_of(datum.grid, datum.corner[0]), count)"),
            formula("y", "d_of(datum.grid, datum.corner[1])"),
        ],
    }


def _labels() -> Json:
    """Return the data set of the rightmost visible corner of each contour, where its loss is written."""
    room = f"datum.{{0}} > {EDGE} && datum.{{0}} < {1 - EDGE}"
    rank = {"type": "window", "groupby": ["shade"], "ops": ["row_number"], "as": ["rank"]}
    return {
        "name": "labels",
        "source": "contours",
        "transform": [
            formula("across", "scale('x', datum.x) / width"),
            formula("up", "scale('y', datum.y) / height"),
            kept(f"{room.format('across')} && {room.format('up')}"),
            rank | {"sort": {"field": ["across"], "order": ["descending"]}},
            kept("datum.rank === 1"),
            formula("loss", in_unit("datum.contour.value")),
        ],
    }


def _background() -> Json:
    """Return the ground of the grid, which no contour fills: the lowest losses."""
    ends = {
        "x": {"scale": "x", "signal": "counted(end_of('n', false), count)"},
        "x2": {"scale": "x", "signal": "counted(end_of('n', true), count)"},
        "y": {"scale": "y", "signal": "end_of('d', false)"},
        "y2": {"scale": "y", "signal": "end_of('d', true)"},
    }
    look = {"fill": {"value": DARK}, "opacity": shown_if("shading")}
    return {"type": "rect", "clip": True, "interactive": False, "encode": {"update": ends | look}}


def _rings() -> Json:
    """Return one path a ring of the contours: the shading inside it and its line."""
    channels = {
        "x": {"scale": "x", "field": "x"},
        "y": {"scale": "y", "field": "y"},
        "fill": {"scale": "shade", "field": "shade"},
        "fillOpacity": shown_if("shading"),
        "stroke": {"value": GREY},
        "strokeWidth": {"value": 0.8},
        "strokeOpacity": shown_if("levels"),
    }
    return _each("contour_lines", "contours", "key", {"type": "line", "encode": {"update": channels}})


def _by_decade() -> Json:
    channels = {
        "x": {"scale": "x", "field": "x"},
        "y": {"scale": "y", "field": "y"},
        "stroke": {"value": BLACK},
        "strokeWidth": {"value": 0.7},
        "strokeDash": {"value": [1, 3]},
        "opacity": shown_if("equal", 0.6),
    }
    return _each("equal", "decades", "power", {"type": "line", "encode": {"update": channels}})


def _each(name: str, data: str, key: str, mark: Json) -> Json:
    inside = {"width": {"signal": "width"}, "height": {"signal": "height"}}
    one = f"one_of_{name}"
    return {
        "type": "group",
        "name": name,
        "from": {"facet": {"name": one, "data": data, "groupby": key}},
        "clip": True,
        "interactive": False,
        "encode": {"update": inside},
        "marks": [mark | {"from": {"data": one}, "interactive": False, "aria": False}],
    }


def _label_marks() -> list[Json]:
    """Return the losses of the contours, each on a pale ground."""
    text = {
        "x": {"scale": "x", "field": "x"},
        "y": {"scale": "y", "field": "y"},
        "text": {"signal": "format(datum.loss, '.4~r')"},
        "align": {"value": "right"},
        "baseline": {"value": "middle"},
        "fontSize": {"value": 10},
        "opacity": shown_if("levels"),
    }
    drawn = {"type": "text", "from": {"data": "labels"}, "clip": True, "interactive": False}
    halo = {"stroke": {"value": PALE}, "strokeWidth": {"value": 3}, "fill": {"value": PALE}}
    return [
        drawn | {"encode": {"update": text | halo}},
        drawn | {"name": "losses", "encode": {"update": text | {"fill": {"value": BLACK}}}},
    ]
