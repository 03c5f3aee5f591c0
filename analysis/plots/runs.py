"""Figures of the runs themselves: loss curves, and loss against compute with its lower hull."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.approaches.envelope import lower_hull
from analysis.plots.style import (
    BLACK,
    SINGLE,
    grid,
    legend_below,
    log_axis,
    loss_axis,
    rung_styles,
    short_name,
    styled,
)
from harness.records.number_text import power_of_ten, si


def rungs_by_size(points: pd.DataFrame) -> list[str]:
    """Return rung names, smallest model first."""
    return [str(rung) for rung in points.sort_values("n_params")["rung"].unique()]


def _segments(points: pd.DataFrame, curves: pd.DataFrame) -> Iterator[tuple[str, bool, pd.DataFrame]]:
    """Yield (rung, whether it is the trunk, rows by step) for every trajectory of the first seed."""
    first = points[points["seed"] == points["seed"].min()]
    rung_of = dict(zip(first["run_id"], first["rung"], strict=True))
    measured = curves["eval_loss"].notna().any()
    rows = curves.assign(loss=curves["eval_loss"] if measured else curves["train_loss"]).dropna(subset="loss")
    rows = rows[rows["run_id"].isin(list(rung_of))]
    for (run_id, _), segment in rows.groupby(["run_id", "point_id"], dropna=False):
        yield str(rung_of[run_id]), bool(segment["point_id"].isna().all()), segment.sort_values("step")


def _draw_runs(axes: Axes, points: pd.DataFrame, curves: pd.DataFrame, x: str) -> None:
    """Draw trajectories as lines (trunks full, cooldown branches thin) and finished points as markers."""
    styles = rung_styles(rungs_by_size(points))
    for rung, trunk, segment in _segments(points, curves):
        width, alpha = (1.3, 0.75) if trunk else (0.9, 0.6)
        axes.plot(segment[x], segment["loss"], color=styles[rung][0], linewidth=width, alpha=alpha)
    for rung, (colour, marker) in styles.items():
        done = points[points["rung"] == rung]
        text = f"{short_name(rung)}, {si(float(done['n_params'].iloc[0]))}"
        axes.plot(
            done[x],
            done["loss"],
            marker,
            color=colour,
            markeredgecolor="white",
            markeredgewidth=0.5,
            label=text,
        )
    loss_axis(axes)
    axes.set_ylabel("loss, nats per token")


@styled
def loss_curves(points: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Draw loss against training tokens, one colour a model size, with the finished points."""
    figure, (axes,) = grid(1, 1, (SINGLE, 4.2))
    _draw_runs(axes, points, curves, "n_tokens")
    log_axis(axes, "x", si)
    axes.set_xlabel("training tokens D")
    _legend_of_sizes(figure, axes)
    return figure


@styled
def loss_against_compute(points: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Draw loss against training compute, with the lower convex hull of the finished points."""
    figure, (axes,) = grid(1, 1, (SINGLE, 4.2))
    _draw_runs(axes, points, curves, "flops")
    c, loss = points["flops"].to_numpy(float), points["loss"].to_numpy(float)
    hull = lower_hull(np.log(c), np.log(loss))
    axes.plot(c[hull], loss[hull], color=BLACK, linewidth=2.2, label="lower hull", zorder=1.5)
    log_axis(axes, "x", power_of_ten)
    axes.set_xlabel("training compute C, FLOPs")
    _legend_of_sizes(figure, axes)
    return figure


def _legend_of_sizes(figure: Figure, axes: Axes) -> None:
    legend_below(figure, axes, "model size, all parameters")
