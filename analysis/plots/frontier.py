"""Figures of the compute-optimal frontier: loss contours over (N, D), and N* and D* against compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure

from analysis.cost import cost_between
from analysis.laws import find_law
from analysis.plots.law_tests import LAW_STYLES
from analysis.plots.style import (
    BLACK,
    BLUE,
    COUNT_NAMES,
    GREY,
    ORANGE,
    SINGLE,
    VERMILION,
    count_axis,
    grid,
    legend_below,
    legend_beside,
    log_axis,
    loss_axis,
    styled,
)
from analysis.records.fit import FitRecord
from analysis.records.frontier import FrontierRow
from harness.records.number_text import power_of_ten, si

TOKENS_PER_PARAMETER = 20.0  # rule of thumb after Hoffmann et al., arXiv:2203.15556, drawn for comparison
RULE_REACH = 1e4  # its line is looked for among sizes up to this factor beyond the runs
# Dark to bright as in `rung_styles`. A scale of more shades would become an image within the SVG.
SHADES = ListedColormap(colormaps["viridis"](np.linspace(0.02, 0.86, 40)))
MARGIN = 1.6  # the axes reach this factor beyond the runs


@styled
def contours(points: pd.DataFrame, fit: FitRecord, rows: Sequence[FrontierRow]) -> Figure:
    """Draw the loss of a fitted law over (N, D), the runs, and the compute-optimal line."""
    figure, (axes,) = grid(1, 1, (SINGLE, 4.8))
    n, d = points[fit.count].to_numpy(float), points["n_tokens"].to_numpy(float)
    x = np.geomspace(n.min() / MARGIN, n.max() * MARGIN, 120)
    y = np.geomspace(d.min() / MARGIN, d.max() * MARGIN, 120)
    theta = np.array(list(fit.params.values()))
    loss = find_law(fit.law).value(theta, np.tile(x, 120), np.repeat(y, 120)).reshape(120, 120)
    levels = np.geomspace(loss.min(), loss.max(), 14)
    axes.contourf(x, y, np.log(loss), levels=np.log(levels), cmap="Blues_r", alpha=0.55)
    lines = axes.contour(x, y, loss, levels=levels[1:-1], colors=GREY, linewidths=0.7)
    for compute in 10.0 ** np.arange(np.ceil(np.log10(6 * x[0] * y[0])), np.log10(6 * x[-1] * y[-1])):
        axes.plot(x, compute / 6 / x, ":", color=BLACK, linewidth=0.7, alpha=0.5, label="C = 6ND, decades")
    axes.plot(x, TOKENS_PER_PARAMETER * x, "--", color=VERMILION, label="20 tokens per parameter")
    if rows:
        n_opt, d_opt = [row.n_opt for row in rows], [row.d_opt for row in rows]
        axes.plot(n_opt, d_opt, color=BLUE, linewidth=2.6, label="compute-optimal")
    holdout = (points["role"] == "holdout").to_numpy()
    axes.plot(n[~holdout], d[~holdout], "o", color="white", markeredgecolor=BLACK, label="runs")
    axes.plot(
        n[holdout],
        d[holdout],
        "^",
        color=ORANGE,
        markeredgecolor=BLACK,
        markersize=6.5,
        label="runs held out for the forecast",
    )
    log_axis(axes, "x", si, (x[0], x[-1]))
    log_axis(axes, "y", si, (y[0], y[-1]))
    axes.clabel(lines, fmt="%.2f", fontsize=7.5, colors=BLACK)
    axes.grid(False)
    axes.set_xlabel(count_axis(fit.count))
    axes.set_ylabel("training tokens D")
    legend_below(figure, axes)
    return figure


@styled
def overview(points: pd.DataFrame, rows: Sequence[FrontierRow]) -> Figure:
    """Draw the runs over compute, and the lowest loss that each budget can reach by the frontier."""
    figure, (axes,) = grid(1, 1, (SINGLE, 3.9))
    holdout = (points["role"] == "holdout").to_numpy()
    n, c, loss = (points[column].to_numpy(float) for column in ("n_params", "flops", "loss"))
    # Wider than the sizes, or runs of one size would have no scale.
    sizes = LogNorm(n.min() / 1.01, n.max() * 1.01)
    for chosen, marker, name in ((~holdout, "o", "runs"), (holdout, "^", "runs held out for the forecast")):
        if chosen.any():
            drawn = axes.scatter(
                c[chosen], loss[chosen], c=n[chosen], marker=marker, cmap=SHADES, norm=sizes, s=24,
                label=name, zorder=3,
            )  # fmt: skip
    if rows:
        flops = np.array([row.flops for row in rows])
        _band(axes, flops, [(row.loss_low, row.loss_high) for row in rows], BLUE, "interval of one new run")
        axes.plot(flops, [row.loss for row in rows], color=BLUE, linewidth=2.2, label="best loss by the law")
        if flops.max() > points["flops"].max():
            axes.axvline(
                points["flops"].max(), color=BLACK, linewidth=0.9, linestyle=":", label="largest run"
            )
    log_axis(axes, "x", power_of_ten)
    loss_axis(axes)
    axes.set_xlabel("training compute C, FLOPs")
    axes.set_ylabel("loss, nats per token")
    bar = figure.colorbar(drawn, ax=axes, pad=0.02, aspect=30, label="parameters N")
    if bar.solids:  # Else paper shines through between two shades.
        bar.solids.set_edgecolor("face")
    log_axis(bar.ax, "y", si)
    legend_below(figure, axes)
    return figure


@styled
def frontiers(sweeps: Mapping[str, tuple[pd.DataFrame, Sequence[FrontierRow]]]) -> Figure:
    """Draw the runs and frontiers of several sweeps: lowest loss and best size against compute.

    Args:
        sweeps: finished points and rows of the frontier, by the name of the sweep.
    """
    figure, (losses, sizes) = grid(1, 2, (9.2, 4.0))
    for (name, (points, rows)), (colour, marker) in zip(sweeps.items(), cycle(LAW_STYLES), strict=False):
        losses.plot(
            points["flops"], points["loss"], marker, color=colour, alpha=0.35, markersize=4, linewidth=0
        )
        flops = [row.flops for row in rows]
        for axes, values, ends in (
            (losses, [row.loss for row in rows], [(row.loss_low, row.loss_high) for row in rows]),
            (sizes, [row.n_opt for row in rows], [(row.n_low, row.n_high) for row in rows]),
        ):
            axes.plot(flops, values, color=colour, marker=marker, markersize=3.5, label=name)
            band = np.array(ends, float)
            axes.fill_between(flops, band[:, 0], band[:, 1], color=colour, alpha=0.18, linewidth=0)
    for axes in (losses, sizes):
        log_axis(axes, "x", power_of_ten)
        axes.set_xlabel("training compute C, FLOPs")
    loss_axis(losses)
    log_axis(sizes, "y", si)
    losses.set_ylabel("lowest loss, nats per token")
    sizes.set_ylabel("best size N*, parameters")
    legend_beside(figure, sizes)
    return figure


@styled
def frontier(points: pd.DataFrame, rows: Sequence[FrontierRow], count: str) -> Figure:
    """Draw N* and D* against compute with intervals, flatness band and 20 tokens per parameter."""
    figure, axes = grid(1, 2, (9.2, 3.9))
    flops = np.array([row.flops for row in rows])
    rule = sizes_by_rule(points, count, flops)
    runs = points[points["flops"].between(flops.min(), flops.max())]
    n_opt, d_opt = [row.n_opt for row in rows], [row.d_opt for row in rows]
    n_band, d_band = [(row.n_low, row.n_high) for row in rows], [(row.d_low, row.d_high) for row in rows]
    flat = [(row.flat_low, row.flat_high) for row in rows]
    for panel, column, best, band, straight in (
        (axes[0], count, n_opt, n_band, rule),
        (axes[1], "n_tokens", d_opt, d_band, TOKENS_PER_PARAMETER * rule),
    ):
        panel.plot(runs["flops"], runs[column], ".", color=GREY, alpha=0.5, label="runs")
        if panel is axes[0]:
            _band(panel, flops, flat, ORANGE, "loss within 0.1 % of best")
        _band(panel, flops, band, BLUE, "interval")
        panel.plot(flops, best, color=BLUE, linewidth=2.2, label="compute-optimal")
        panel.plot(flops, straight, "--", color=VERMILION, label="20 tokens per parameter")
        panel.axvline(points["flops"].max(), color=BLACK, linewidth=0.9, linestyle=":", label="largest run")
        log_axis(panel, "x", power_of_ten)
        log_axis(panel, "y", si)
        panel.set_xlabel("training compute C, FLOPs")
    counted = f" ({COUNT_NAMES[count]} parameters)" if count in COUNT_NAMES else ""
    axes[0].set_ylabel(f"best size N*{counted}")
    axes[1].set_ylabel("best number of tokens D*")
    legend_beside(figure, axes[0])
    return figure


def sizes_by_rule(points: pd.DataFrame, count: str, flops: np.ndarray) -> np.ndarray:
    """Return N whose training on 20 tokens per parameter costs `flops`, counted as for the runs."""
    runs_n, runs_flops = points[count].to_numpy(float), points["flops"].to_numpy(float)
    cost = cost_between(runs_n, runs_flops / points["n_tokens"].to_numpy(float))
    n = np.geomspace(runs_n.min() / RULE_REACH, runs_n.max() * RULE_REACH, 2000)
    return np.exp(np.interp(np.log(flops), np.log(cost(n) * TOKENS_PER_PARAMETER * n), np.log(n)))


def _band(
    axes: Axes, flops: np.ndarray, ends: Sequence[tuple[float, float]], colour: str, label: str
) -> None:
    low, high = np.array(ends).T
    if np.isfinite(low).any():
        axes.fill_between(flops, low, high, color=colour, alpha=0.22, linewidth=0, label=label)
