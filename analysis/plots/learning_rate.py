"""Figure of a learning-rate sweep: loss against the peak rate of one group, with its minima."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots.style import (
    BLACK,
    SINGLE,
    VERMILION,
    grid,
    legend_below,
    legend_beside,
    log_axis,
    rung_styles,
    short_name,
    styled,
)
from analysis.records.learning_rate import RateGroup, RateOptimum
from harness.records.number_text import si


@styled
def learning_rate(group: RateGroup) -> Figure:
    """Draw loss above the best of each size against the rate of a group; one panel a D and batch."""
    optima = sorted(group.optima, key=lambda row: row.d_model)
    styles = rung_styles(list(dict.fromkeys(row.rung for row in optima)))
    panels = sorted({panel_of(row, optima) for row in optima})
    width = SINGLE if len(panels) == 1 else 3.0 + 3.2 * len(panels)
    figure, axes = grid(1, len(panels), (width, 3.8), sharey=True)
    for panel, (n_tokens, batch) in zip(axes, panels, strict=True):
        _panel(panel, [row for row in optima if panel_of(row, optima) == (n_tokens, batch)], styles)
        panel.set_title(f"{si(n_tokens)} tokens" + (f", batch of {si(batch)}" if batch else ""))
        panel.set_xlabel(f"peak rate, {short_name(group.group)}")
    axes[0].set_ylabel("loss above the best, %")
    (legend_below if len(panels) == 1 else legend_beside)(figure, axes[0])
    return figure


def panel_of(row: RateOptimum, optima: Sequence[RateOptimum]) -> tuple[int, int]:
    """Return token count and batch of the panel that shows a cell; batch 0 if sizes differ in no batch."""
    batches = {each.batch_tokens for each in optima if (each.n_tokens, each.rung) == (row.n_tokens, row.rung)}
    return row.n_tokens, (row.batch_tokens or 0) if len(batches) > 1 else 0


def _panel(axes: Axes, optima: Sequence[RateOptimum], styles: Mapping[str, tuple[Any, str]]) -> None:
    for row in optima:
        colour, marker = styles[row.rung]
        best = row.loss_opt or min(row.losses)
        rates, excess = np.array(row.rates), 100 * (np.array(row.losses) / best - 1)
        if row.window and row.curvature and row.rate_opt:
            x = np.geomspace(*row.window, 60)
            parabola = 100 * np.expm1(row.curvature * np.log(x / row.rate_opt) ** 2)
            axes.plot(x, parabola, color=colour)
            axes.plot(row.rate_opt, 0, "*", color=VERMILION, markersize=11, markeredgecolor="white",
                      label="minimum", zorder=4)  # fmt: skip
        else:
            axes.plot(rates, excess, ":", color=colour)
        axes.plot(rates, excess, marker, color=colour, label=short_name(row.rung))
        at_recipe = rates == row.recipe_rate
        axes.plot(rates[at_recipe], excess[at_recipe], "o", color=BLACK, markerfacecolor="none",
                  markersize=10, label="recipe")  # fmt: skip
    log_axis(axes, "x", lambda value: f"{value:.3g}")
