"""Charts of a report as Vega specifications: runs and frontier, sizes and tokens, residuals."""

from __future__ import annotations

import json
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
    marked,
    points,
    shown_if,
    upright,
)
from analysis.plots.frontier import TOKENS_PER_PARAMETER
from analysis.plots.style import BLACK, BLUE, GREY, ORANGE, VERMILION, rung_styles

COMPUTE = Axis("training compute C, FLOPs", "flops")
TOKENS = Axis("training tokens D", "si")
RATIO = Axis("tokens per parameter D/N", "si")
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
    budget = budget_marks("c", "loss", in_unit)
    along, up = marked("c", "loss", in_unit) if with_law else ([], [])
    if with_law:
        along.append(("frontier", "c"))
        up += [("frontier", "low"), ("frontier", "high")]
    return chart(
        "Loss of every run against its training compute, with the lowest loss that each budget reaches",
        COMPUTE,
        LOSS_TITLE,
        [runs_data(formula("y", in_unit("datum.loss"))), *([frontier] if with_law else [])],
        (
            [("runs", "c"), *along],
            [("runs", "y"), *up],
        ),
        [*(law_marks if with_law else []), *points("runs", "c", "y"), *(budget if with_law else [])],
        colours=colours_of(rungs),
        series=(BEST, INTERVAL, LARGEST) if with_law else (),
        signals=[{"name": "largest", "value": largest}],
    )


def size_chart(rungs: Sequence[str], titles: Sequence[str], *, largest: float) -> Json:
    """Return the best size against compute with its interval, the flat range and the rule of 20 tokens.

    Args:
        rungs: names of the sizes, smallest first.
        titles: of the axis of N, one a way to count it.
        largest: largest compute of a run, FLOPs.
    """
    description = "Best size against training compute, with its interval and flat range"
    return _allocation(rungs, "n", by_count(titles), largest, description)


def tokens_chart(rungs: Sequence[str], *, largest: float) -> Json:
    """Return the best number of tokens against compute with its interval and the rule of 20 tokens."""
    title = Axis("best number of tokens D*", "si")
    return _allocation(rungs, "d", title, largest, "Best number of tokens against training compute")


def by_count(titles: Sequence[str]) -> Axis:
    """Return an axis of sizes whose title names the way to count them."""
    return Axis(f"{json.dumps(list(titles), ensure_ascii=False)}[count]", "si", computed=True)


def _allocation(rungs: Sequence[str], axis: str, title: Axis, largest: float, description: str) -> Json:
    flat = Series("flat", "loss within 0.1 % of best", ORANGE, "band")
    rule = Series("rule", f"{TOKENS_PER_PARAMETER:g} tokens per parameter", VERMILION, "dashes")
    is_size = axis == "n"
    fields = ("n", "n_low", "n_high", "flat_low", "flat_high") if is_size else ("d", "d_low", "d_high")
    spelled = "counted(datum.{}, count)" if is_size else "datum.{}"
    shown = [formula(f"y_{each}", spelled.format(each)) for each in fields]
    along, up = marked("c", axis)
    rule_of = formula("y_rule", f"datum.{axis}_rule[count]")
    return chart(
        description,
        COMPUTE,
        title,
        [
            runs_data(formula("y", "datum.n[count]" if is_size else "datum.d")),
            {"name": "frontier", "transform": [kept(DRAWN), *shown, rule_of]},
        ],
        (
            [("runs", "c"), ("frontier", "c"), *along],
            [("runs", "y"), ("frontier", f"y_{axis}_low"), ("frontier", f"y_{axis}_high"), *up],
        ),
        [
            *([band("frontier", "c", "y_flat_low", "y_flat_high", ORANGE, "flat")] if is_size else []),
            band("frontier", "c", f"y_{axis}_low", f"y_{axis}_high", BLUE, "interval"),
            line("frontier", "c", f"y_{axis}", BLUE, "best"),
            line("frontier", "c", "y_rule", VERMILION, "rule", 1.4, strokeDash={"value": [6, 4]}),
            upright("largest", BLACK, "largest"),
            upright("(at ? at.c : null)", VERMILION, dash=(5, 3)),
            *points("runs", "c", "y"),
            *budget_marks("c", axis),
        ],
        colours=colours_of(rungs),
        series=(BEST, INTERVAL, *([flat] if is_size else []), rule, LARGEST),
        signals=[{"name": "largest", "value": largest}],
    )


def residual_charts(rungs: Sequence[str], size_titles: Sequence[str], seed_sd: float | None) -> list[Json]:
    """Return what the chosen law leaves unexplained, %, along N, D and D/N: three charts.

    Args:
        rungs: names of the sizes, smallest first.
        size_titles: of the axis of N, one a way to count it.
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
            f"Residuals of the chosen law in per cent of the loss, along {words}",
            title,
            Axis("measured − predicted loss, %", log=False, zero=True),
            [runs_data(formula("x", along), formula("y", "datum.residual[law]"))],
            ([("runs", "x"), f"[{budget('at')}, {budget('(need || at)')}]"], [("runs", "y")]),
            [
                *([level] if seed_sd else []),
                zero,
                upright(f"(need ? {budget('need')} : null)", VERMILION, dash=(1, 4)),
                upright(f"(at ? {budget('at')} : null)", VERMILION, dash=(5, 3)),
                *points("runs", "x", "y"),
            ],
            colours=colours_of(rungs),
            series=(noise,) if seed_sd else (),
        )
        for words, title, along, budget in (
            ("N", by_count(size_titles), "datum.n[count]", "{}.n".format),
            ("D", TOKENS, "datum.d", "{}.d".format),
            ("D/N", RATIO, "datum.d / datum.n[count]", "{0}.d / {0}.n".format),
        )
    ]


def runs_data(*added: Json) -> Json:
    """Return the data set of the shown runs."""
    return {"name": "runs", "transform": [kept(SHOWN), *added]}
