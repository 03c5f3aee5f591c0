"""Charts of a report as Vega specifications: runs and frontier, sizes and tokens, residuals, loss curves."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.colors import to_hex

from analysis.explorer.answers import STEPS
from analysis.explorer.vega import (
    LOSS_TITLE,
    Axis,
    Json,
    Series,
    band,
    budget_marks,
    chart,
    formula,
    in_unit,
    kept,
    line,
    points,
    shown_if,
    upright,
)
from analysis.plots.frontier import TOKENS_PER_PARAMETER
from analysis.plots.style import BLACK, BLUE, GREY, ORANGE, VERMILION, rung_styles

COMPUTE = Axis("training compute C, FLOPs", "flops")
TOKENS = Axis("training tokens D", "si")
SHOWN = "indexof(hidden, datum.rung) < 0"
# The frontier is drawn to ten times the largest run, and to the next computed budget beyond the chosen one.
DRAWN = f"datum.law === law && datum.c <= max(10 * largest, at ? {10 ** (1 / STEPS):.3f} * at.c : 0)"
BEST = Series("best", "best by the law", BLUE, "line")
INTERVAL = Series("interval", "interval", BLUE, "band")
LARGEST = Series("largest", "largest run", BLACK, "dots")


def colours_of(rungs: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return rungs, smallest first, and the colour of each as in the static figures."""
    return list(rungs), [to_hex((r, g, b)) for (r, g, b, *_), _ in rung_styles(rungs).values()]


def overview_chart(rungs: Sequence[str], *, with_law: bool, largest: float) -> Json:
    """Return loss against compute: the runs, and the lowest loss at each budget with its interval.

    Args:
        rungs: names of the sizes, smallest first.
        with_law: whether there is a law with a frontier.
        largest: largest compute of a run, FLOPs.
    """
    frontier = {
        "name": "frontier",
        "transform": [
            kept(DRAWN),
            formula("y", in_unit("datum.loss")),
            formula("low", in_unit("datum.loss_low")),
            formula("high", in_unit("datum.loss_high")),
        ],
    }
    law_marks = [
        band("frontier", "c", "low", "high", BLUE, "interval"),
        line("frontier", "c", "y", BLUE, "best"),
        upright("largest", BLACK, "largest"),
        upright("(at ? at.c : null)", VERMILION, dash=(5, 3)),
    ]
    budget = _loss_of_budget("c")
    return chart(
        "Loss of every run against its training compute, with the lowest loss that each budget reaches",
        COMPUTE,
        LOSS_TITLE,
        [_runs(formula("y", in_unit("datum.loss"))), *([frontier] if with_law else [])],
        (
            [("runs", "c"), *([("frontier", "c")] if with_law else [])],
            [("runs", "y"), *([("frontier", name) for name in ("low", "high")] if with_law else [])],
        ),
        [*(law_marks if with_law else []), *points("runs", "c", "y"), *(budget if with_law else [])],
        colours=colours_of(rungs),
        series=(BEST, INTERVAL, LARGEST) if with_law else (),
        signals=[{"name": "largest", "value": largest}],
    )


def size_chart(rungs: Sequence[str], title: str, *, largest: float) -> Json:
    """Return the best size against compute with its interval, the flat range and the rule of 20 tokens."""
    return _allocation(
        rungs, "n", title, largest, "Best size against training compute, with its interval and flat range"
    )


def tokens_chart(rungs: Sequence[str], *, largest: float) -> Json:
    """Return the best number of tokens against compute with its interval and the rule of 20 tokens."""
    return _allocation(
        rungs, "d", "best number of tokens D*", largest, "Best number of tokens against training compute"
    )


def _allocation(rungs: Sequence[str], axis: str, title: str, largest: float, description: str) -> Json:
    flat = Series("flat", "loss within 0.1 % of best", ORANGE, "band")
    rule = Series("rule", f"{TOKENS_PER_PARAMETER:g} tokens per parameter", VERMILION, "dashes")
    is_size = axis == "n"
    return chart(
        description,
        COMPUTE,
        Axis(title, "si"),
        [_runs(), {"name": "frontier", "transform": [kept(DRAWN)]}],
        (
            [("runs", "c"), ("frontier", "c")],
            [("runs", axis), ("frontier", f"{axis}_low"), ("frontier", f"{axis}_high")],
        ),
        [
            *([band("frontier", "c", "flat_low", "flat_high", ORANGE, "flat")] if is_size else []),
            band("frontier", "c", f"{axis}_low", f"{axis}_high", BLUE, "interval"),
            line("frontier", "c", axis, BLUE, "best"),
            line("frontier", "c", f"{axis}_rule", VERMILION, "rule", 1.4, strokeDash={"value": [6, 4]}),
            upright("largest", BLACK, "largest"),
            upright("(at ? at.c : null)", VERMILION, dash=(5, 3)),
            *points("runs", "c", axis),
            *budget_marks("at.c", f"at.{axis}", f"at.{axis}_low", f"at.{axis}_high"),
        ],
        colours=colours_of(rungs),
        series=(BEST, INTERVAL, *([flat] if is_size else []), rule, LARGEST),
        signals=[{"name": "largest", "value": largest}],
    )


def residual_charts(rungs: Sequence[str], size_title: str, seed_sd: float | None) -> list[Json]:
    """Return what the chosen law leaves unexplained, %, along N, D and D/N: three charts.

    Args:
        rungs: names of the sizes, smallest first.
        size_title: title of the axis of N.
        seed_sd: standard deviation between seeds, relative to the loss; None if it is not known.
    """
    noise = Series("noise", "± noise between seeds", GREY, "band")
    share = 100 * (seed_sd or 0.0)
    across = {"x": {"value": 0}, "x2": {"signal": "width"}}
    ends = {"y": {"scale": "y", "value": share}, "y2": {"scale": "y", "value": -share}}
    level = {
        "type": "rect",
        "clip": True,
        "encode": {"update": across | ends | {"fill": {"value": GREY}, "opacity": shown_if("noise", 0.2)}},
    }
    zero = {
        "type": "rule",
        "encode": {"update": across | {"y": {"scale": "y", "value": 0}, "stroke": {"value": BLACK}}},
    }
    return [
        chart(
            f"Residuals of the chosen law in per cent of the loss, along {title}",
            Axis(title, "si"),
            Axis("measured − predicted loss, %", log=False, zero=True),
            [_runs(formula("x", along), formula("y", "datum.residual[law]"))],
            ([("runs", "x")], [("runs", "y")]),
            [*([level] if seed_sd else []), zero, *points("runs", "x", "y")],
            colours=colours_of(rungs),
            series=(noise,) if seed_sd else (),
        )
        for title, along in (
            (size_title, "datum.n"),
            (TOKENS.title, "datum.d"),
            ("tokens per parameter D/N", "datum.d / datum.n"),
        )
    ]


def curves_chart(rungs: Sequence[str], x: str) -> Json:
    """Return the loss along training of every run, with the finished points.

    Args:
        rungs: names of the sizes, smallest first.
        x: `d` for training tokens; `c` for training compute, with the lower hull of the finished points.
    """
    curves = {
        "name": "curves",
        "transform": [
            kept(SHOWN),
            {"type": "flatten", "fields": ["tokens", "losses"], "as": ["d", "loss"]},
            formula("c", "datum.d * datum.flops_per_token"),
            formula("y", in_unit("datum.loss")),
        ],
    }
    channels = {
        "x": {"scale": "x", "field": x},
        "y": {"scale": "y", "field": "y"},
        "stroke": {"scale": "colour", "field": "rung"},
        "strokeWidth": {"signal": "lit_run === datum.run ? 3 : datum.trunk ? 1.4 : 0.9"},
        "opacity": {"signal": "!show_curves ? 0 : lit_run === datum.run ? 1 : 0.6"},
    }
    inside = {"width": {"signal": "width"}, "height": {"signal": "height"}}
    trajectories = {
        "type": "group",
        "from": {"facet": {"name": "one", "data": "curves", "groupby": "key"}},
        "clip": True,
        "encode": {"update": inside},
        "marks": [{"type": "line", "aria": False, "from": {"data": "one"}, "encode": {"update": channels}}],
    }
    hull = {"name": "hull", "transform": [formula("y", in_unit("datum.loss"))]}
    with_hull = x == "c"
    return chart(
        "Loss along training, one line a trunk and a branch",
        TOKENS if x == "d" else COMPUTE,
        LOSS_TITLE,
        [_runs(formula("y", in_unit("datum.loss"))), curves, *([hull] if with_hull else [])],
        ([("runs", x), ("curves", x)], [("runs", "y"), ("curves", "y")]),
        [
            *([line("hull", "c", "y", BLACK, "hull")] if with_hull else []),
            trajectories,
            upright(f"(at ? at.{x} : null)", VERMILION, dash=(5, 3)),
            *points("runs", x, "y"),
            *_loss_of_budget(x),
        ],
        colours=colours_of(rungs),
        series=(
            Series("curves", "trunks and branches", GREY, "line"),
            *([Series("hull", "lower hull", BLACK, "line")] if with_hull else []),
        ),
        signals=[{"name": "lit_run", "value": None}],
    )


def _loss_of_budget(x: str) -> list[Json]:
    """Return the marker of the chosen budget at its loss."""
    return budget_marks(f"at.{x}", in_unit("at.loss"), in_unit("at.loss_low"), in_unit("at.loss_high"))


def _runs(*added: Json) -> Json:
    return {"name": "runs", "transform": [kept(SHOWN), *added]}
