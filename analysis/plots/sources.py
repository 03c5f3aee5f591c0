"""Figure of the loss on each source of a mixture against training compute."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.plots.style import SINGLE, grid, legend_below, log_axis, loss_axis, rung_styles, styled
from analysis.records.sources import SourceRecord
from harness.records.number_text import power_of_ten


@styled
def loss_by_source(losses: pd.DataFrame, sources: Sequence[SourceRecord]) -> Figure:
    """Draw the loss of every finished run on each source, and the lowest loss that a budget can reach on it.

    Args:
        losses: one row a run and source, with the columns `source`, `flops` and `loss`.
        sources: laws of the sources, as fits.json has them.
    """
    figure, (axes,) = grid(1, 1, (SINGLE, 4.2))
    styles = rung_styles([each.source for each in sources])
    for each in sources:
        colour, marker = styles[each.source]
        own = losses[losses["source"] == each.source]
        axes.plot(
            own["flops"],
            own["loss"],
            marker,
            color=colour,
            markeredgecolor="white",
            markeredgewidth=0.5,
            label=each.source,
        )
        if each.frontier:
            flops = np.array([row.flops for row in each.frontier])
            low, high = ([getattr(row, end) for row in each.frontier] for end in ("loss_low", "loss_high"))
            axes.plot(flops, [row.loss for row in each.frontier], color=colour, linewidth=1.6)
            axes.fill_between(flops, low, high, color=colour, alpha=0.15, linewidth=0)
    log_axis(axes, "x", power_of_ten)
    loss_axis(axes)
    axes.set_xlabel("training compute C, FLOPs")
    axes.set_ylabel("loss on the source, nats per token")
    legend_below(figure, axes, "source")
    return figure
