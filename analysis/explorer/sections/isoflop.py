"""The live IsoFLOP figure: loss against size at fixed compute, measured and by the chosen law.

The runs are those of every figure. Curves of the law read its surface (analysis/explorer/surface.py): at the
budgets of the slices, and at the chosen budget, which the slider moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, exp
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex

from analysis.explorer.charts import by_count, colours_of, runs_data
from analysis.explorer.sections.figure import (
    STAR,
    Card,
    LiveFigure,
    Told,
    dots,
    group_lines,
    section_chart,
)
from analysis.explorer.vega import (
    LOSS_TITLE,
    Covered,
    Json,
    Series,
    budget_marks,
    formula,
    in_unit,
    kept,
    line,
    marked,
    points,
    shown_if,
)
from analysis.intervals import normal_interval
from analysis.plots.isoflop import DrawnSlice, drawn_slices
from analysis.plots.style import BLACK, GREY, ORANGE, VERMILION
from analysis.records.fit import FitRecord
from harness.records.number_text import power_of_ten

MOST_SIZES = 3000  # of all slices; a browser takes long to draw more
CURVE_STEPS = 20  # of the curve of a slice
LAW_STEPS, CHOSEN_STEPS = 32, 80  # of a curve of the law
HEIGHT = 360  # pixels
MOST_NAMES = 7  # of slices, or they would overlap; the card of each size says its compute
NAME_ROOM = 2.0  # factor beyond the largest size of a slice, for its compute in words
ROOM = 8.0  # factor on both sides of N* that the curve at the chosen budget reaches
SIZES = Series("sizes", "sizes at one compute", GREY, "point")
CURVES = Series("curves", "curve around the lowest", "#2171b5", "line")
OPTIMA = Series("optima", "its lowest point", ORANGE, "point")
PROFILES = Series("profiles", "the law at the same compute", "#2171b5", "dashes")
CHOSEN = Series("chosen", "the law at the chosen compute", VERMILION, "line")
CARD = Card(
    (
        Told("N", "n", "si", "n_low", "n_high"),
        Told("D", "d", "si"),
        Told("loss", "loss", "loss"),
        Told("from", "made", "words"),
    ),
    title="what",
)


def isoflop_figure(
    done: pd.DataFrame, fit: FitRecord, size_titles: Sequence[str], rungs: Sequence[str], *, with_law: bool
) -> LiveFigure | None:
    """Return the figure of an IsoFLOP fit; None if its slices have very many sizes.

    Args:
        done: finished points.
        fit: an IsoFLOP fit of them, under the first count of the page.
        size_titles: of the axis of N, one a way to count it.
        rungs: names of the sizes, smallest first.
        with_law: whether the page has a law with answers.
    """
    slices = drawn_slices(done, fit)
    if not slices or sum(len(each.n) for each in slices) > MOST_SIZES:
        return None
    n = done[fit.count].to_numpy(float)
    ends = {"n_low": float(n.min()), "n_high": float(n.max())}
    rows: dict[str, list[Json]] = {
        "slices": [row for g, each in enumerate(slices) for row in _sizes(g, each, done, fit)],
        "slice_curves": [row for g, each in enumerate(slices) for row in _curve(g, each)],
        "slice_names": [
            {"g": g, "c": each.flops, "n": float(each.n[-1]), "loss": float(each.loss[-1])}
            for g, each in enumerate(slices)
            if g % ceil(len(slices) / MOST_NAMES) == 0
        ],
        "optima": _optima(slices, fit),
    }
    if with_law:
        rows["profiles"] = [{"g": g, "c": each.flops} | ends for g, each in enumerate(slices)]
        rows["profile"] = [ends]
    shades = [to_hex(shade) for shade in colormaps["Blues"](np.linspace(0.45, 0.95, len(slices)))]
    names = tuple(f"C = {power_of_ten(each.flops)} FLOPs" for each in slices)
    card = replace(CARD, names=names)
    return LiveFigure((_chart(size_titles, rungs, shades, card, with_law=with_law),), rows)


def _chart(
    size_titles: Sequence[str],
    rungs: Sequence[str],
    shades: Sequence[str],
    card: Card,
    *,
    with_law: bool,
) -> Json:
    place = [formula("x", "counted(datum.n, count)"), formula("y", in_unit("datum.loss"))]
    data: list[Json] = [
        runs_data(formula("x", "datum.n[count]"), formula("y", in_unit("datum.loss"))),
        *({"name": name, "transform": place} for name in ("slices", "slice_curves", "optima")),
        {"name": "slice_names", "transform": [*place, formula("x_room", f"{NAME_ROOM:g} * datum.x")]},
        {"name": "open_slices", "source": "slice_curves", "transform": [kept("!datum.fitted")]},
        {"name": "curved_slices", "source": "slice_curves", "transform": [kept("datum.fitted")]},
    ]
    marks: list[Json] = [
        group_lines("curved_slices", "x", "y", "curves"),
        group_lines("open_slices", "x", "y", "curves", stroke={"value": GREY}, strokeDash={"value": [1, 3]}),
        *dots("slices", "x", "y", hollow=True, size=70, series="sizes"),
        *_names(),
        *dots("optima", "x", "y", shape=STAR, size=230, series="optima", colour={"value": ORANGE}),
    ]
    along: list[Covered] = [("runs", "x"), ("slices", "x"), ("slice_names", "x_room")]
    up: list[Covered] = [("runs", "y"), ("slices", "y")]
    if with_law:
        data += [_of_law("profiles", LAW_STEPS), _of_law("profile", CHOSEN_STEPS)]
        marks = [
            group_lines("profiles", "x", "y", "profiles", opacity=0.8, strokeDash={"value": [5, 3]}),
            *marks,
            line("profile", "x", "y", VERMILION, "chosen"),
        ]
        of_budget = marked("n", "loss", in_unit)
        along += of_budget[0]
        up += of_budget[1]
    return section_chart(
        "Loss against size at fixed compute: the slices of the runs, and the chosen law at the chosen budget",
        (by_count(size_titles), LOSS_TITLE),
        data,
        (along, up),
        [*marks, *points("runs", "x", "y"), *(budget_marks("n", "loss", in_unit) if with_law else [])],
        groups=(),
        series=(SIZES, CURVES, OPTIMA, *((PROFILES, CHOSEN) if with_law else ())),
        card=card,
        colours=colours_of(rungs),
        shades=shades,
        height=HEIGHT,
    )


def _of_law(name: str, steps: int) -> Json:
    """Return the data set of losses of the law along sizes: at each row's budget, or at the chosen one."""
    chosen = name == "profile"
    low, high = (
        (f"min(datum.n_low, at.n_first / {ROOM:g})", f"max(datum.n_high, {ROOM:g} * at.n_first)")
        if chosen
        else ("datum.n_low", "datum.n_high")
    )
    return {
        "name": name,
        "transform": [
            formula("low", low),
            formula("high", high),
            formula("step", f"sequence({steps + 1})"),
            {"type": "flatten", "fields": ["step"]},
            formula("n", f"datum.low * pow(datum.high / datum.low, datum.step / {steps})"),
            formula("d", f"{'at.c' if chosen else 'datum.c'} / cost_of(datum.n)"),
            formula("loss", "loss_at(law, datum.n, datum.d)"),
            kept("isValid(datum.loss)"),
            formula("x", "counted(datum.n, count)"),
            formula("y", in_unit("datum.loss")),
        ],
    }


def _names() -> list[Json]:
    """Return the compute of each slice, beside its largest size, on a white ground."""
    text = {
        "x": {"scale": "x", "field": "x"},
        "y": {"scale": "y", "field": "y"},
        "dx": {"value": 9},
        "text": {"signal": "flops(datum.c)"},
        "align": {"value": "left"},
        "baseline": {"value": "middle"},
        "fontSize": {"value": 10},
        "opacity": shown_if("curves"),
    }
    drawn = {"type": "text", "from": {"data": "slice_names"}, "clip": True, "interactive": False}
    halo = {"stroke": {"value": "white"}, "strokeWidth": {"value": 3}, "fill": {"value": "white"}}
    return [
        drawn | {"encode": {"update": text | halo}},
        drawn | {"name": "budgets", "encode": {"update": text | {"fill": {"value": BLACK}}}},
    ]


def _sizes(g: int, piece: DrawnSlice, done: pd.DataFrame, fit: FitRecord) -> list[Json]:
    """Return the sizes of a slice; of interpolated ones the card says between which runs."""
    measured = fit.isoflop is not None and fit.isoflop.slices == "measured"
    rungs = done["rung"].astype(str).to_numpy()
    rows = []
    for n, d, loss, runs in zip(piece.n, piece.d, piece.loss, piece.runs, strict=True):
        made = "run" if len(runs) == 1 else "runs"
        words = f"{len(runs)} {made}" if measured else "interpolated between its runs"
        row: dict[str, Any] = {"g": g, "what": rungs[runs[0]], "n": float(n)}
        rows.append(row | {"d": float(d), "loss": float(loss), "made": words})
    return rows


def _curve(g: int, piece: DrawnSlice) -> list[Json]:
    """Return corners of the curve of a slice, or its sizes if it has none."""
    n, loss = piece.curve or (piece.n, piece.loss)
    every = np.unique(np.linspace(0, len(n) - 1, CURVE_STEPS).round().astype(int))
    return [
        {"g": g, "n": float(n[i]), "loss": float(loss[i]), "fitted": piece.curve is not None} for i in every
    ]


def _optima(slices: Sequence[DrawnSlice], fit: FitRecord) -> list[Json]:
    """Return the minima that count, with the intervals of their sizes."""
    rows: list[Json] = []
    budgets = np.log([each.flops for each in slices])
    for row in fit.isoflop.optima if fit.isoflop else ():
        if row.reason is not None or row.n_opt is None:
            continue
        ends = normal_interval(float(np.log(row.n_opt)), row.se_log_n, fit.level)
        low, high = (exp(ends[0]), exp(ends[1])) if ends else (None, None)
        rows.append(
            {"g": int(np.argmin(np.abs(budgets - np.log(row.flops)))), "what": "lowest point"}
            | {"n": row.n_opt, "n_low": low, "n_high": high, "d": row.d_opt, "loss": row.loss}
            | {"made": None}
        )
    return rows
