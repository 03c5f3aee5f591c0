"""Figures of the loss on each source of a mixture, against training compute and against tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.plots.runs import rungs_by_size
from analysis.plots.style import (
    SINGLE,
    grid,
    legend_below,
    log_axis,
    loss_axis,
    rung_styles,
    short_name,
    styled,
)
from analysis.records.sources import SourceRecord
from harness.records.number_text import power_of_ten, si

PANELS = 2  # side by side


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


@styled
def loss_by_source_and_tokens(points: pd.DataFrame, ends: pd.DataFrame, on_the_way: pd.DataFrame) -> Figure:
    """Draw the loss on each source against training tokens, one panel a source, one colour a rung.

    Args:
        points: finished rows of points.parquet.
        ends: losses of end points, with the columns `point_id`, `source` and `loss`.
        on_the_way: losses of trunks, with the columns `run_id`, `n_tokens`, `source` and `loss`.
    """
    ends = ends.merge(points[["point_id", "rung", "n_tokens"]], on="point_id")
    rung_of = points.drop_duplicates("run_id").set_index("run_id")["rung"]
    on_the_way = on_the_way.assign(rung=on_the_way["run_id"].map(rung_of))
    sources = list(dict.fromkeys(ends["source"]))
    columns = min(len(sources), PANELS)
    rows = -(-len(sources) // columns)
    figure, panels = grid(rows, columns, (SINGLE * max(columns / PANELS * 1.5, 1), 0.7 + 2.5 * rows))
    styles = rung_styles(rungs_by_size(points))
    for index, (source, axes) in enumerate(zip(sources, panels, strict=False)):
        own, way = ends[ends["source"] == source], on_the_way[on_the_way["source"] == source]
        for rung, (colour, marker) in styles.items():
            for _, trunk in way[way["rung"] == rung].groupby("run_id"):
                trunk = trunk.sort_values("n_tokens")
                axes.plot(trunk["n_tokens"], trunk["loss"], color=colour, linewidth=0.9, alpha=0.8)
            done = own[own["rung"] == rung]
            axes.plot(
                done["n_tokens"],
                done["loss"],
                marker,
                color=colour,
                markersize=4.5,
                markeredgecolor="white",
                markeredgewidth=0.4,
                label=short_name(rung),
            )
        axes.set_title(short_name(source), fontsize=9)
        log_axis(axes, "x", si)
        loss_axis(axes)
        if index % columns == 0:
            axes.set_ylabel("loss, nats per token")
        if index + columns >= len(sources):
            axes.set_xlabel("training tokens D")
    for unused in panels[len(sources) :]:
        unused.set_visible(False)
    legend_below(figure, panels[0], "rung")
    return figure
