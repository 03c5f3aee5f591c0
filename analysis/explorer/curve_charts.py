"""Charts of curves as Vega specifications: losses along training, forecast ends, and learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.explorer.charts import COMPUTE, SHOWN, TOKENS, colours_of, runs_data
from analysis.explorer.vega import (
    LOSS_TITLE,
    Axis,
    Json,
    Series,
    budget_marks,
    chart,
    formula,
    in_unit,
    kept,
    line,
    points,
    upright,
)
from analysis.plots.style import BLACK, GREY, VERMILION

RATES_HEIGHT = 130  # pixels
STEPS, LOSS_STEP = 2, 0.25  # of a decade, and nats, by which axes of curves grow beyond the runs
NOT_PICKED = "picked_runs.length && indexof(picked_runs, datum.run) < 0"
OTHERS = Series("others", "runs that no fit saw", GREY, "dashes")
LIT_RUN = {"name": "lit_run", "value": None}


@dataclass(frozen=True)
class Known:
    """Ends of the finished runs.

    Attributes:
        d: most training tokens.
        c: largest compute, FLOPs.
        loss: lowest loss, nats per token.
    """

    d: float
    c: float
    loss: float


def curves_chart(rungs: Sequence[str], x: str, known: Known | None, *, others: bool) -> Json:
    """Return the loss along training of every run, with the finished points and where they were to end.

    Args:
        rungs: names of the sizes, smallest first.
        x: `d` for training tokens; `c` for training compute, with the lower hull of the finished points.
        known: ends of the runs; None without a law, which has answers to mark.
        others: whether there are runs that no fit saw.
    """
    hull = {"name": "hull", "transform": [formula("y", in_unit("datum.loss"))]}
    spelled = {"y": "datum.loss", "y_low": "datum.low", "y_high": "datum.high"}
    in_units = [formula(name, in_unit(loss)) for name, loss in spelled.items()]
    ends = {"name": "forecast", "transform": [kept(SHOWN), kept("datum.share === forecast"), *in_units]}
    with_hull = x == "c"
    far = _far_signals(x, known)
    along, up = (["[x_far]"], [f"[{in_unit('y_low')}]"]) if far else ([], [])
    return chart(
        "Loss along training, one line a trunk and a branch",
        TOKENS if x == "d" else COMPUTE,
        LOSS_TITLE,
        [
            runs_data(formula("y", in_unit("datum.loss"))),
            _flat("curves", "losses"),
            *([_flat("others", "losses")] if others else []),
            ends,
            *([hull] if with_hull else []),
        ],
        ([("runs", x), ("curves", x), *along], [("runs", "y"), ("curves", "y"), *up]),
        [
            *([line("hull", "c", "y", BLACK, "hull")] if with_hull else []),
            *([_lines("others", x)] if others else []),
            _lines("curves", x),
            upright(f"(at ? at.{x} : null)", VERMILION, dash=(5, 3)),
            *_forecast(x),
            *points("runs", x, "y"),
            *budget_marks(x, "loss", in_unit),
        ],
        colours=colours_of(rungs),
        series=(
            Series("curves", "trunks and branches", GREY, "line"),
            *([OTHERS] if others else []),
            Series("forecast", "forecast ends", BLACK, "line"),
            *([Series("hull", "lower hull", BLACK, "line")] if with_hull else []),
        ),
        signals=[LIT_RUN, *far],
    )


def _far_signals(x: str, known: Known | None) -> list[Json]:
    """Return how far the axes reach so that the markers of the budget are seen.

    These numbers change only beyond the runs, and in steps: with an axis all curves are drawn anew.
    """
    if known is None:
        return []
    last = known.d if x == "d" else known.c
    far = f"max(at.{x}, (need || at).{x})"
    step = f"pow(10, ceil({STEPS} * log({far}) / LN10) / {STEPS})"
    below = f"floor(at.loss / {LOSS_STEP:g}) * {LOSS_STEP:g}"
    return [
        {"name": "x_far", "update": f"{far} > {last:.6g} ? {step} : {last:.6g}"},
        {"name": "y_low", "update": f"at.loss < {known.loss:.6g} ? {below} : {known.loss:.6g}"},
    ]


def rates_chart(rungs: Sequence[str], known: Known | None, *, others: bool) -> Json:
    """Return the learning rate of the hidden matrices of every run along training: its schedule."""
    far = _far_signals("d", known)[:1]
    names = ["curves", *(["others"] if others else [])]
    along = ["[x_far]"] if far else []
    return chart(
        "Learning rate along training, one line a trunk and a branch",
        TOKENS,
        Axis("learning rate", log=False, zero=True),
        [_flat(name, "rates") for name in names],
        ([*((name, "d") for name in names), *along], [(name, "y") for name in names]),
        [
            *(_lines(name, "d") for name in reversed(names)),
            upright("(at ? at.d : null)", VERMILION, dash=(5, 3)),
            upright("(need ? need.d : null)", VERMILION, dash=(1, 4)),
        ],
        colours=colours_of(rungs),
        series=(Series("curves", "trunks and branches", GREY, "line"), *([OTHERS] if others else [])),
        signals=[LIT_RUN, *far],
        height=RATES_HEIGHT,
    )


def _flat(name: str, values: str) -> Json:
    """Return a data set of curves with a row for each point, `y` as the axis shows it."""
    of_loss = values == "losses"
    fields = ["tokens" if of_loss else "rate_tokens", values]
    return {
        "name": name,
        "transform": [
            kept(SHOWN),
            {"type": "flatten", "fields": fields, "as": ["d", "value"]},
            formula("c", "datum.d * datum.flops_per_token"),
            formula("y", in_unit("datum.value") if of_loss else "datum.value"),
        ],
    }


def _lines(name: str, x: str) -> Json:
    """Return one line a trunk and a branch; runs that no fit saw are dashed."""
    usual = 0.6 if name == "curves" else 0.35
    channels = {
        "x": {"scale": "x", "field": x},
        "y": {"scale": "y", "field": "y"},
        "stroke": {"scale": "colour", "field": "rung"},
        "strokeWidth": {"signal": "lit_run === datum.run ? 3 : datum.trunk ? 1.4 : 0.9"},
        "strokeDash": {"value": [4, 3] if name == "others" else []},
        "opacity": {
            "signal": f"!show_{name} ? 0 : lit_run === datum.run ? 1 : {NOT_PICKED} ? 0.08 : {usual}",
        },
    }
    one = f"one_of_{name}"
    return {
        "type": "group",
        "from": {"facet": {"name": one, "data": name, "groupby": "key"}},
        "clip": True,
        "encode": {"update": {"width": {"signal": "width"}, "height": {"signal": "height"}}},
        "marks": [{"type": "line", "aria": False, "from": {"data": one}, "encode": {"update": channels}}],
    }


def _forecast(x: str) -> list[Json]:
    """Return the intervals in which runs were going to end, each with a short line at the forecast."""
    faint = "picked.length && indexof(picked, datum.id) < 0 ? 0.08 : 0.85"
    drawn = {"from": {"data": "forecast"}, "clip": True, "interactive": False}
    place = {
        "x": {"scale": "x", "field": x},
        "stroke": {"value": BLACK},
        "opacity": {"signal": f"!show_forecast ? 0 : {faint}"},
    }
    interval = place | {
        "y": {"scale": "y", "field": "y_low"},
        "y2": {"scale": "y", "field": "y_high"},
        "strokeWidth": {"value": 1.2},
    }
    forecast = place | {
        "y": {"scale": "y", "field": "y"},
        "shape": {"value": "stroke"},
        "size": {"value": 60},
        "strokeWidth": {"value": 1.6},
    }
    return [
        drawn | {"type": "rule", "name": "forecast_ends", "encode": {"update": interval}},
        drawn | {"type": "symbol", "name": "forecasts", "encode": {"update": forecast}},
    ]
