"""Live figure of a group of learning rates: loss against rate at each width, and the best rate by width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.explorer.sections.figure import (
    SHOWN,
    STAR,
    Card,
    Choice,
    LiveFigure,
    Option,
    Told,
    bars,
    by_size,
    covered,
    dots,
    drawn,
    group_lines,
    having,
    level,
    section_chart,
)
from analysis.explorer.vega import Axis, Json, Series, kept
from analysis.plots.learning_rate import panel_of
from analysis.plots.style import BLACK, GREY, VERMILION, short_name
from analysis.records.learning_rate import RateGroup, RateOptimum, WidthRule
from harness.records.number_text import si

PARABOLA_POINTS = 40
RULE = Series("rule", "rule of the best rates", BLACK, "line")
RECIPE = Series("recipe", "recipe", GREY, "dashes")
BEST = Series("best", "best rate, with interval", VERMILION, "point")
RATE_CARD = Card(
    (
        Told("rate", "rate", "figures"),
        Told("best rate", "best", "figures", "best_low", "best_high"),
        Told("loss, nats per token", "loss"),
        Told("above the best", "excess", "per_cent"),
        Told("recipe", "is_recipe", "words"),
        Told("a loss 1 % higher at", "half", "times"),
        Told("recipe costs", "cost", "per_cent", "cost_low", "cost_high"),
        Told("does not count", "reason", "words"),
        Told("D", "d", "si"),
        Told("batch, tokens", "batch", "si"),
        Told("seed", "seed", "plain"),
        Told("run", "run", "words"),
    )
)


def rate_figure(
    group: RateGroup, points: pd.DataFrame, runs: pd.DataFrame, places: Mapping[Any, int]
) -> LiveFigure:
    """Return the figure of one group of rates, for one token count and batch at a time.

    Args:
        group: its optima and rules.
        points: columns as in points.parquet.
        runs: rows of the group in the table of `learning_rate.study.rate_runs`.
        places: {index of a point: its row in the page's table of points}.
    """
    optima = sorted(group.optima, key=lambda row: row.d_model)
    rungs = list(dict.fromkeys(row.rung for row in optima))
    panels = sorted({panel_of(row, optima) for row in optima})
    name = f"rates_{group.group}"
    rows: dict[str, list[Json]] = {f"{name}_{part}": [] for part in ("runs", "parabolas", "best", "rules")}
    for row in optima:
        place = {"g": rungs.index(row.rung), "p": panels.index(panel_of(row, optima))}
        best = row.loss_opt or min(row.losses)
        own = runs[(runs.rung == row.rung) & (runs.n_tokens == row.n_tokens)]
        if row.batch_tokens is not None:
            own = own[own.batch_tokens == row.batch_tokens]
        for index, rate in zip(own["point"], own["rate"], strict=True):
            point = points.loc[index]
            rows[f"{name}_runs"].append(
                place
                | {
                    "id": places[index],
                    "run": str(point["run_id"]),
                    "seed": int(point["seed"]),
                    "d": row.n_tokens,
                    "batch": row.batch_tokens,
                    "rate": float(rate),
                    "loss": float(point["loss"]),
                    "excess": 100 * (float(point["loss"]) / best - 1),
                    "is_recipe": "this is its rate" if rate == row.recipe_rate else None,
                }
            )
        rows[f"{name}_best"].append(place | _best(row))
        rows[f"{name}_parabolas"] += [place | each for each in _parabola(row)]
    rows[f"{name}_rules"] = [
        {"p": panels.index(panel), "kind": kind, "width": width, "rate": rate}
        for rule in group.rules
        for panel in panels
        if panel[0] == rule.n_tokens and panel[1] in (0, rule.batch_tokens)
        for kind, width, rate in _line(rule, [row.d_model for row in optima])
    ]
    options = tuple(
        Option(str(place), f"{si(tokens)} tokens" + (f", batch of {si(batch)}" if batch else ""))
        for place, (tokens, batch) in enumerate(panels)
    )
    choices = (Choice("panel", "runs on", options),)
    groups = by_size("rung", [short_name(rung) for rung in rungs])
    rate = Axis(f"peak rate, {short_name(group.group)}", "figures")
    charts = [_losses(name, rate, groups, choices)]
    if any(row.rate_opt for row in optima):
        charts.append(_widths(name, rate, groups, choices))
    return LiveFigure(tuple(charts), rows, choices)


def _best(row: RateOptimum) -> Json:
    """Return the minimum of a parabola."""
    low, high = row.rate_interval or (None, None)
    cost, error = row.recipe_cost_percent, row.recipe_cost_se
    known = cost is not None and error is not None
    return {
        "width": row.d_model,
        "d": row.n_tokens,
        "batch": row.batch_tokens,
        "best": row.rate_opt,
        "best_low": low,
        "best_high": high,
        "zero": 0.0,
        "counts": row.reason is None,
        "reason": row.reason,
        "loss": row.loss_opt,
        "half": row.half_width,
        "cost": cost,
        "cost_low": cost - error if known and cost is not None and error is not None else None,
        "cost_high": cost + error if known and cost is not None and error is not None else None,
    }


def _parabola(row: RateOptimum) -> list[Json]:
    if not (row.window and row.curvature and row.rate_opt):
        return []
    rates = np.geomspace(*row.window, PARABOLA_POINTS)
    excess = 100 * np.expm1(row.curvature * np.log(rates / row.rate_opt) ** 2)
    return [{"rate": float(x), "excess": float(y)} for x, y in zip(rates, excess, strict=True)]


def _line(rule: WidthRule, widths: Sequence[int]) -> list[tuple[str, int, float]]:
    """Return the rule of the best rates and that of the recipe at both ends of the widths."""
    found = []
    for kind, rate, power in (
        ("rule", rule.rate_64, rule.exponent),
        ("recipe", rule.recipe_rate_64, rule.recipe_exponent),
    ):
        if rate is not None and power is not None:
            found += [(kind, width, rate * (width / 64) ** power) for width in (min(widths), max(widths))]
    return found


def _losses(name: str, rate: Axis, groups: Sequence[Series], choices: Sequence[Choice]) -> Json:
    here = [kept("'' + datum.p === panel"), SHOWN]
    runs = {"name": f"{name}_runs", "transform": here}
    best = {"name": f"{name}_best", "transform": here}
    recipe = {"name": "at_recipe", "source": f"{name}_runs", "transform": [kept("isValid(datum.is_recipe)")]}
    ring = {
        "type": "symbol",
        "from": {"data": "at_recipe"},
        "clip": True,
        "interactive": False,
        "encode": {
            "update": {
                "x": {"scale": "x", "field": "rate"},
                "y": {"scale": "y", "field": "excess"},
                "size": {"value": 190},
                "fill": {"value": "transparent"},
                "stroke": {"value": BLACK},
                "opacity": {"signal": "show_recipe ? 1 : 0"},
            }
        },
    }
    return section_chart(
        "Loss above the best of each width against the rate, with the parabola and its minimum",
        (rate, Axis("loss above the best, %", log=False, zero=True)),
        [runs, {"name": f"{name}_parabolas", "transform": here}, best, recipe,
         having("minima", f"{name}_best", "best"), having("placed", f"{name}_best", "best_low", "best_high"),
         drawn([f"{name}_runs", f"{name}_best"], ["rate", "best_low", "best_high"])],
        (covered("")[1], [(f"{name}_runs", "excess")]),
        [
            level(0.0),
            group_lines(f"{name}_parabolas", "rate", "excess"),
            ring,
            *dots(f"{name}_runs", "rate", "excess"),
            bars("placed", "zero", "best_low", "best_high", across=True, width=3, series="best"),
            *dots("minima", "best", "zero", shape=STAR, size=200, series="best",
                  colour={"value": VERMILION}),
        ],
        groups=groups,
        series=(BEST, RECIPE),
        card=RATE_CARD,
        choices=choices,
    )  # fmt: skip


def _widths(name: str, rate: Axis, groups: Sequence[Series], choices: Sequence[Choice]) -> Json:
    chosen = kept("'' + datum.p === panel")
    best = {"name": f"{name}_best", "transform": [chosen, SHOWN, kept("isValid(datum.best)")]}
    lines = {"name": f"{name}_rules", "transform": [chosen]}

    def line(kind: str, colour: str, dash: list[int]) -> tuple[Json, Json]:
        rows = {"name": kind, "source": f"{name}_rules", "transform": [kept(f"datum.kind === '{kind}'")]}
        channels = {
            "x": {"scale": "x", "field": "width"},
            "y": {"scale": "y", "field": "rate"},
            "stroke": {"value": colour},
            "strokeWidth": {"value": 1.6},
            "strokeDash": {"value": dash},
            "opacity": {"signal": f"show_{kind} ? 1 : 0"},
        }
        return rows, {"type": "line", "from": {"data": kind}, "clip": True, "encode": {"update": channels}}

    rule, rule_line = line("rule", BLACK, [1, 0])
    recipe, recipe_line = line("recipe", GREY, [5, 4])
    return section_chart(
        "Best rate of each width with its interval, the rule through them, and the recipe",
        (Axis("width d_model", "si"), rate),
        [best, lines, rule, recipe, having("placed", f"{name}_best", "best_low", "best_high"),
         drawn([f"{name}_best", f"{name}_rules"], ["best", "best_low", "best_high", "rate"])],
        covered("width"),
        [
            recipe_line,
            rule_line,
            bars("placed", "width", "best_low", "best_high", width=2, series="best"),
            *dots(f"{name}_best", "width", "best", shape=STAR, size=200, series="best"),
        ],
        groups=groups,
        series=(BEST, RULE, RECIPE),
        card=RATE_CARD,
        choices=choices,
    )  # fmt: skip
