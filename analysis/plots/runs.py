"""Figures of the runs themselves: loss curves, loss against compute with its hull, IsoFLOP slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.envelope import lower_hull
from analysis.optimum import parabola_window
from analysis.plots.style import (
    BLACK,
    GREY,
    VERMILION,
    count_axis,
    grid,
    legend_beside,
    log_axis,
    loss_axis,
    power_of_ten,
    rung_styles,
    si,
    styled,
)
from analysis.slices import Slice, interpolated_slices, measured_slices

Json = Mapping[str, Any]
F64 = NDArray[np.float64]


def rungs_by_size(points: pd.DataFrame) -> list[str]:
    """Rung names, smallest model first."""
    return [str(rung) for rung in points.sort_values("n_params")["rung"].unique()]


def _segments(points: pd.DataFrame, curves: pd.DataFrame) -> Iterator[tuple[str, bool, pd.DataFrame]]:
    """(rung, is it the trunk, rows in order of steps) of every trajectory with a first-seed point."""
    first = points[points["seed"] == points["seed"].min()]
    rung_of = dict(zip(first["run_id"], first["rung"], strict=True))
    measured = curves["eval_loss"].notna().any()
    rows = curves.assign(loss=curves["eval_loss"] if measured else curves["train_loss"]).dropna(subset="loss")
    rows = rows[rows["run_id"].isin(list(rung_of))]
    for (run_id, _), segment in rows.groupby(["run_id", "point_id"], dropna=False):
        yield str(rung_of[run_id]), bool(segment["point_id"].isna().all()), segment.sort_values("step")


def _draw_runs(axes: Axes, points: pd.DataFrame, curves: pd.DataFrame, x: str) -> None:
    """Trajectories as lines (trunk full, cooldown branches thin) and finished points as markers."""
    styles = rung_styles(rungs_by_size(points))
    for rung, trunk, segment in _segments(points, curves):
        width, alpha = (1.3, 0.75) if trunk else (0.9, 0.6)
        axes.plot(segment[x], segment["loss"], color=styles[rung][0], linewidth=width, alpha=alpha)
    for rung, (colour, marker) in styles.items():
        done = points[points["rung"] == rung]
        label = f"{rung}, {si(float(done['n_params'].iloc[0]))}"
        axes.plot(
            done[x],
            done["loss"],
            marker,
            color=colour,
            markeredgecolor="white",
            markeredgewidth=0.5,
            label=label,
        )
    loss_axis(axes)
    axes.set_ylabel("loss, nats per token")


@styled
def loss_curves(points: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Loss along training against tokens seen, one colour a model size, with the finished points."""
    figure, (axes,) = grid(1, 1, (8.6, 4.4))
    _draw_runs(axes, points, curves, "n_tokens")
    log_axis(axes, "x", si)
    axes.set_xlabel("training tokens D")
    _legend_of_sizes(figure, axes)
    return figure


@styled
def loss_against_compute(points: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Loss against training compute, with the lower convex hull of the finished points."""
    figure, (axes,) = grid(1, 1, (8.6, 4.4))
    _draw_runs(axes, points, curves, "flops")
    c, loss = points["flops"].to_numpy(float), points["loss"].to_numpy(float)
    hull = lower_hull(np.log(c), np.log(loss))
    axes.plot(c[hull], loss[hull], color=BLACK, linewidth=2.2, label="lower hull", zorder=1.5)
    log_axis(axes, "x", power_of_ten)
    axes.set_xlabel("training compute C, FLOPs")
    _legend_of_sizes(figure, axes)
    return figure


def _legend_of_sizes(figure: Figure, axes: Axes) -> None:
    legend_beside(figure, axes, "model size,\nall parameters")


@styled
def isoflop(points: pd.DataFrame, fit: Json) -> Figure:
    """Loss against size at fixed compute: the sizes of each slice, its parabola and its optimum."""
    n, d, c, loss = (points[column].to_numpy(float) for column in (fit["count"], "n_tokens", "flops", "loss"))
    if fit["slices"] == "measured":
        pieces = [s for s in measured_slices(n, d, c, loss) if len(s.log_n) >= fit["min_sizes"]]
    else:
        pieces = interpolated_slices(n, d, c, fit["min_sizes"])
    figure, (axes,) = grid(1, 1, (8.6, 4.6))
    shades = colormaps["viridis"](np.linspace(0.02, 0.86, max(len(pieces), 2)))
    for piece, colour in zip(pieces, shades, strict=False):
        _slice(axes, piece, np.log(loss), tuple(colour))
    used = [row for row in fit["optima"] if row["reason"] is None]
    axes.plot(
        [row["n_opt"] for row in used],
        [row["loss"] for row in used],
        "*",
        color=VERMILION,
        markersize=12,
        markeredgecolor="white",
        label="optimum, interior",
    )
    log_axis(axes, "x", si)
    loss_axis(axes)
    axes.set_xlabel(count_axis(str(fit["count"])))
    axes.set_ylabel("loss, nats per token")
    legend_beside(figure, axes, "compute C, FLOPs")
    return figure


def _slice(axes: Axes, piece: Slice, log_loss: F64, colour: tuple[float, ...]) -> None:
    """One budget: its sizes, and the parabola through the window at the lowest; a grey line without one."""
    y = piece.log_loss(log_loss)
    window = parabola_window(piece.log_n, y)
    label = power_of_ten(float(np.exp(piece.log_c)))
    axes.plot(np.exp(piece.log_n), np.exp(y), "o", color=colour, label=label)
    if window is None:
        axes.plot(np.exp(piece.log_n), np.exp(y), ":", color=GREY, linewidth=1)
        return
    centre = piece.log_n[window].mean()
    x = np.linspace(piece.log_n[window].min(), piece.log_n[window].max(), 60)
    curve = np.polyfit(piece.log_n[window] - centre, y[window], min(2, len(window) - 1))
    axes.plot(np.exp(x), np.exp(np.polyval(curve, x - centre)), color=colour)
