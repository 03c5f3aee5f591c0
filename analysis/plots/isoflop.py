"""The IsoFLOP figure: loss against size at fixed compute."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.approaches.slice_minimum import parabola_window
from analysis.approaches.slices import Slice, interpolated_slices, measured_slices
from analysis.arrays import Array
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


@styled
def isoflop(points: pd.DataFrame, fit: FitRecord) -> Figure:
    """Draw loss against size at fixed compute: the sizes of each slice, its parabola and its optimum."""
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
    figure, (axes,) = grid(1, 1, (SINGLE, 4.3))
    shades = colormaps["viridis"](np.linspace(0.02, 0.86, max(len(pieces), 2)))
    for piece, colour in zip(pieces, shades, strict=False):
        _slice(axes, piece, np.log(loss), tuple(colour))
    used = [row for row in found.optima if row.reason is None]
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


def _slice(axes: Axes, piece: Slice, log_loss: Array, colour: tuple[float, ...]) -> None:
    """Draw one budget: its sizes, and the parabola around the lowest one, or a grey line without one."""
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
