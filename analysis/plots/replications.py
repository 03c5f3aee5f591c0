"""Figures of replications: errors against extrapolation, and intervals against what came true."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots.style import (
    BLACK,
    BLUE,
    GREY,
    LIGHT,
    ORANGE,
    SINGLE,
    VERMILION,
    grid,
    legend_below,
    log_axis,
    styled,
)
from analysis.records.forecast import ScoredCell
from analysis.records.replications import ReplicationRecord, ReplicationsRecord
from harness.records.number_text import si

PANELS_A_ROW, PANEL = 4, (2.35, 1.95)
NAMES = {"a": "a, exact FLOPs", "a_6nd": "a under 6ND", "alpha": "α", "beta": "β", "E": "E, nats per token"}


@styled
def replication_errors(found: ReplicationsRecord) -> Figure:
    """Draw the forecast error of every held-out cell against its factor of compute, with quartiles."""
    figure, (axes,) = grid(1, 1, (SINGLE, 4.2))
    axes.axhline(0, color=GREY, linewidth=0.9)
    for number, each in enumerate(found.replications):
        seen = number < found.n_fixed
        label = "rule fixed on it" if seen else "unseen" if found.n_fixed else "replication"
        axes.plot(
            [cell.factor for cell in each.cells],
            [cell.error_percent for cell in each.cells],
            "o",
            color=ORANGE if seen else BLUE,
            alpha=0.45,
            markersize=4,
            markeredgewidth=0,
            label=label,
        )
    errors, factors = (
        np.array([[getattr(cell, name) for cell in each.cells] for each in found.replications])
        for name in ("error_percent", "factor")
    )
    low, middle, high = np.quantile(errors, [0.25, 0.5, 0.75], axis=0)
    axes.errorbar(
        np.median(factors, axis=0),
        middle,
        [middle - low, high - middle],
        fmt="_",
        color=BLACK,
        capsize=3,
        elinewidth=1.4,
        label="median and quartiles",
        zorder=4,
    )
    log_axis(axes, "x", lambda value: f"{value:g}×")
    axes.set_xlabel("compute beyond the largest fitted point")
    axes.set_ylabel("forecast − measured, %")
    legend_below(figure, axes)
    return figure


@styled
def replication_intervals(found: ReplicationsRecord) -> Figure:
    """Draw the interval of each held-out cell in each replication, with the loss that came out."""
    cells = found.replications[0].cells
    figure, panels = _panels(len(cells))
    for place, axes in enumerate(panels):
        own = [each.cells[place] for each in found.replications]
        centre = float(np.mean([cell.loss for cell in own]))
        for number, cell in enumerate(own, 1):
            colour = _colour(inside=cell.inside)
            ends = [100 * (end / centre - 1) for end in (cell.low, cell.high)]
            axes.plot([number, number], ends, color=colour, linewidth=2, alpha=0.6, solid_capstyle="butt")
            axes.plot(number, 100 * (cell.loss / centre - 1), "o", color=colour, markersize=2.8)
        _finish(axes, _title(own), len(own), found.n_fixed)
    for axes in panels[::PANELS_A_ROW]:
        axes.set_ylabel("loss − mean, %")
    return figure


@styled
def replication_parameters(found: ReplicationsRecord) -> Figure:
    """Draw the interval of each parameter in each replication, with the mean of the other replications."""
    names = [name for name in NAMES if any(_stated(each, name) for each in found.replications)]
    figure, panels = _panels(len(names))
    for name, axes in zip(names, panels, strict=True):
        for number, each in enumerate(found.replications, 1):
            for value, interval, mean in _stated(each, name):
                inside = mean is None or interval is None or interval[0] <= mean <= interval[1]
                colour = _colour(inside=inside)
                if interval is not None:
                    axes.plot([number, number], interval, color=colour, linewidth=2, alpha=0.6)
                axes.plot(number, value, "o", color=colour, markersize=3)
                if mean is not None:
                    axes.plot([number - 0.4, number + 0.4], [mean, mean], color=BLACK, linewidth=0.9)
        _finish(axes, NAMES[name], len(found.replications), found.n_fixed)
    return figure


def _stated(
    each: ReplicationRecord, name: str
) -> list[tuple[float, tuple[float, float] | None, float | None]]:
    return [(p.value, p.interval, p.others_mean) for p in each.parameters if p.name == name]


def _colour(*, inside: bool) -> str:
    return BLUE if inside else VERMILION


def _panels(n: int) -> tuple[Figure, list[Axes]]:
    """Return a figure of n panels in rows of PANELS_A_ROW."""
    rows, columns = math.ceil(n / PANELS_A_ROW), min(n, PANELS_A_ROW)
    figure, axes = grid(rows, columns, (PANEL[0] * columns, PANEL[1] * rows + 0.3))
    figure.supxlabel("replication", fontsize=8)
    for axis in axes[n:]:
        axis.set_visible(False)
    return figure, axes[:n]


def _title(own: Sequence[ScoredCell]) -> str:
    cell = own[0]
    return f"{cell.rung}, {si(cell.n_tokens)} tokens, {cell.factor:.2g}×"


def _finish(axes: Axes, title: str, n: int, n_fixed: int) -> None:
    """Set title and axis of a panel; the replications that a rule was fixed on stand on grey ground."""
    if n_fixed:
        axes.axvspan(0.5, n_fixed + 0.5, color=LIGHT, alpha=0.5, zorder=0)
    axes.set_title(title, fontsize=8)
    axes.set_xlim(0.3, n + 0.7)
    axes.set_xticks([1, n])
    axes.tick_params(labelsize=7)
