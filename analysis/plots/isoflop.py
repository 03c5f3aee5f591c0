"""The IsoFLOP figure: loss against size at fixed compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.approaches.slice_minimum import common_shape, parabola_window
from analysis.approaches.slices import Slice, interpolated_slices, measured_slices
from analysis.arrays import Array, Index
from analysis.plots.style import (
    GREY,
    SINGLE,
    VERMILION,
    count_axis,
    grid,
    legend_below,
    log_axis,
    loss_axis,
    styled,
)
from analysis.records.fit import FitRecord
from harness.records.errors import InputError
from harness.records.number_text import power_of_ten, si

CURVE_POINTS = 60


@dataclass(frozen=True)
class DrawnSlice:
    """One budget of the figure.

    Attributes:
        flops: C, FLOPs.
        n, d, loss: its sizes, their tokens and losses [sizes].
        runs: rows of the points behind each size [sizes].
        curve: sizes and losses of the curve around the lowest size; None without one.
    """

    flops: float
    n: Array
    d: Array
    loss: Array
    runs: tuple[Index, ...]
    curve: tuple[Array, Array] | None


def drawn_slices(points: pd.DataFrame, fit: FitRecord) -> list[DrawnSlice]:
    """Return the budgets of an IsoFLOP fit, smallest first, with the curves that its minima are of.

    Args:
        points: finished points, columns as in points.parquet.
        fit: an IsoFLOP fit of them.

    Raises:
        InputError: the fit is by another approach.
    """
    found = fit.isoflop
    if found is None:
        raise InputError(
            f"expected an IsoFLOP fit, got one by {fit.approach}: pass the result of fit_isoflop"
        )
    n, d, c, loss = (points[column].to_numpy(float) for column in (fit.count, "n_tokens", "flops", "loss"))
    if found.slices == "measured":
        pieces = [s for s in measured_slices(n, d, c, loss) if len(s.log_n) >= found.min_sizes]
    else:
        pieces = interpolated_slices(n, d, c, found.min_sizes)
    shape = common_shape(pieces, np.log(loss)) if found.method == "cubic" else None
    drawn = []
    for place, piece in enumerate(pieces):
        curve: Curve | None = None
        if shape is not None:
            at = np.flatnonzero(shape.position == place)
            curve = (shape.windows[at[0]], partial(shape.value, int(at[0]))) if len(at) else None
        else:
            curve = _parabola(piece, np.log(loss))
        drawn.append(_drawn(piece, np.log(loss), curve))
    return drawn


def _drawn(piece: Slice, log_loss: Array, curve: Curve | None) -> DrawnSlice:
    ends = pairwise(piece.weights.indptr)
    runs = tuple(piece.rows[piece.weights.indices[low:high]] for low, high in ends)
    followed = None
    if curve is not None:
        window, value = curve
        x = np.linspace(piece.log_n[window].min(), piece.log_n[window].max(), CURVE_POINTS)
        followed = np.exp(x), np.exp(value(x))
    sizes, tokens, losses = np.exp(piece.log_n), np.exp(piece.log_d), np.exp(piece.log_loss(log_loss))
    return DrawnSlice(float(np.exp(piece.log_c)), sizes, tokens, losses, runs, followed)


@styled
def isoflop(points: pd.DataFrame, fit: FitRecord) -> Figure:
    """Draw loss against size at fixed compute: the sizes of each slice, its curve and its optimum."""
    slices = drawn_slices(points, fit)
    figure, (axes,) = grid(1, 1, (SINGLE, 4.3))
    shades = colormaps["viridis"](np.linspace(0.02, 0.86, max(len(slices), 2)))
    for piece, colour in zip(slices, shades, strict=False):
        _slice(axes, piece, tuple(colour))
    used = [row for row in fit.isoflop.optima if row.reason is None] if fit.isoflop else []
    axes.plot(
        np.array([row.n_opt for row in used], float),
        np.array([row.loss for row in used], float),
        "*",
        color=VERMILION,
        markersize=12,
        markeredgecolor="white",
        label="optimum, interior",
    )
    log_axis(axes, "x", si)
    loss_axis(axes)
    axes.set_xlabel(count_axis(fit.count))
    axes.set_ylabel("loss, nats per token")
    legend_below(figure, axes, "compute C, FLOPs")
    return figure


Curve = tuple[Index, Callable[[Array], Array]]  # the sizes that a curve goes through, and its log loss


def _parabola(piece: Slice, log_loss: Array) -> Curve | None:
    """Return the parabola of a slice, None without an interior minimum."""
    y = piece.log_loss(log_loss)
    window = parabola_window(piece.log_n, y)
    if window is None:
        return None
    centre = piece.log_n[window].mean()
    curve = np.polyfit(piece.log_n[window] - centre, y[window], min(2, len(window) - 1))
    return window, lambda x: np.polyval(curve, x - centre)


def _slice(axes: Axes, piece: DrawnSlice, colour: tuple[float, ...]) -> None:
    """Draw one budget: its sizes, and the curve around the lowest one, or a grey line without one."""
    axes.plot(piece.n, piece.loss, "o", color=colour, label=power_of_ten(piece.flops))
    if piece.curve is None:
        axes.plot(piece.n, piece.loss, ":", color=GREY, linewidth=1)
    else:
        axes.plot(*piece.curve, color=colour)
