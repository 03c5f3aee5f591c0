"""The live figure of the best size under each way to count N, with the runs as each way counts them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

from analysis.explorer.charts import COMPUTE, LARGEST, runs_data
from analysis.explorer.sections.figure import (
    GROUP_COLOUR,
    NOT_PICKED,
    SHOWN,
    Card,
    LiveFigure,
    Told,
    dots,
    group_bands,
    group_lines,
    section_chart,
)
from analysis.explorer.vega import FAINT, Axis, Covered, Json, Series, budget_marks, formula, marked, upright
from analysis.plots.style import BLACK, BLUE, COUNT_NAMES, GREEN, GREY, VERMILION
from analysis.records.fit import ExponentsRecord, FitRecord
from analysis.records.fits import CountedOptimum
from harness.records.number_text import estimate

COLOURS = {"n_params_matmul": BLUE, "n_params": VERMILION, "n_params_body": GREEN}
INTERVAL = Series("interval", "interval", GREY, "band")
RUNS = Series("counted", "runs, as counted", GREY, "point")
CARD = Card((Told("C", "c", "flops"), Told("best size N*", "n", "si", "low", "high")))


def counting_figure(
    optima: Sequence[CountedOptimum], fits: Sequence[FitRecord], counts: Sequence[str], *, with_law: bool
) -> LiveFigure:
    """Return the figure of N* against C, a group a way to count N.

    Args:
        optima: best sizes at each budget under each way to count.
        fits: fits of the chosen law; they give the exponents in the legend.
        counts: columns that count N for every run, in the order of the page.
        with_law: whether the page has a law with answers.
    """
    shown = [count for count in counts if any(row.count == count for row in optima)]
    colours = (
        COLOURS if set(shown) <= set(COLOURS) else dict(zip(shown, cycle(COLOURS.values()), strict=False))
    )
    exponents = {fit.count: fit.exponents for fit in fits}
    groups = [
        Series(
            f"count{place}",
            f"{COUNT_NAMES.get(count, count)}, a = {_exponent(exponents[count])}",
            colours[count],
            "line",
        )
        for place, count in enumerate(shown)
    ]
    rows: list[Json] = [
        {"g": shown.index(row.count), "c": row.flops, "n": row.n_opt, "low": row.n_low, "high": row.n_high}
        for row in optima
        if row.count in shown
    ]
    of_run = formula("y", f"datum.n[{[list(counts).index(count) for count in shown]}[datum.g]]")
    along: list[Covered] = [("counted_runs", "c"), ("counted_best", "c")]
    up: list[Covered] = [("counted_runs", "y"), ("counted_best", "n")]
    marker = marked("c", "n") if with_law else ([], [])
    largest = max(fit.estimation.largest_flops for fit in fits if fit.estimation)
    chart = section_chart(
        "Best size against training compute under each way to count N, with the runs as each way counts them",
        (COMPUTE, Axis("best size N*, as counted", "si")),
        [
            runs_data(formula("g", f"sequence({len(shown)})")),
            {
                "name": "counted_runs",
                "source": "runs",
                "transform": [{"type": "flatten", "fields": ["g"]}, of_run, SHOWN],
            },
            {"name": "counted_best", "transform": [SHOWN]},
        ],
        ([*along, *marker[0]], [*up, *marker[1]]),
        [
            group_bands("counted_best", "c", "low", "high", "interval"),
            group_lines("counted_best", "c", "n"),
            upright(f"{largest:.6g}", BLACK, "largest"),
            *([upright("(at ? at.c : null)", VERMILION, dash=(5, 3))] if with_law else []),
            *dots("counted_best", "c", "n", size=20),
            *_runs(),
            *(budget_marks("c", "n") if with_law else []),
        ],
        groups=groups,
        series=(INTERVAL, RUNS, LARGEST),
        card=CARD,
    )
    return LiveFigure((chart,), {"counted_best": rows})


def _exponent(found: ExponentsRecord) -> str:
    return estimate(found.a, found.a_interval)


def _runs() -> list[Json]:
    """Return the runs under each way to count; the page shows their card as in other figures."""
    place = {"x": {"scale": "x", "field": "c"}, "y": {"scale": "y", "field": "y"}}
    look = {
        "shape": {"signal": "datum.role === 'holdout' ? 'triangle-up' : 'circle'"},
        "fill": {"value": "transparent"},
        "stroke": GROUP_COLOUR,
        "size": {"signal": "lit === datum.id ? 150 : 30"},
        "opacity": {"signal": f"!show_counted ? 0 : {NOT_PICKED} ? {FAINT} : 0.7"},
    }
    hit = {"size": {"signal": "show_counted ? 160 : 0"}, "fill": {"value": "transparent"}}
    pointer = {"cursor": {"value": "pointer"}}
    drawn = {"type": "symbol", "from": {"data": "counted_runs"}, "clip": True}
    return [
        drawn | {"name": "dots", "interactive": False, "encode": {"update": place | look}},
        drawn | {"name": "hits", "encode": {"update": place | hit | pointer}},
    ]
