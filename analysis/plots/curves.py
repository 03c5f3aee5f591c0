"""Figure of ends that were forecast on the way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from analysis.plots.style import GREY, SINGLE, grid, legend_below, styled
from analysis.records.curves import Basis, Tried

SPREAD = 0.09  # half the width over which the ends of one share lie side by side
LOOKS = {Basis.RUNS: ("C0", "o", "from other runs"), Basis.LAW: ("C1", "s", "by a whole-curve law")}


@styled
def ends(tried: Sequence[Tried]) -> Figure:
    """Draw errors of forecast ends and their intervals, in per cent of the loss, by share of training."""
    figure, (axes,) = grid(1, 1, (SINGLE, 3.6))
    axes.axhline(0, color=GREY, linewidth=0.9)
    shares = sorted({each.share for each in tried})
    for basis, (colour, marker, label) in LOOKS.items():
        for share in shares:
            # By last step and run, so that the ends of one length stand together.
            own = sorted(
                (each for each in tried if each.share == share),
                key=lambda each: (each.forecast.last_step, each.forecast.run),
            )
            at = share + SPREAD * np.linspace(-1, 1, len(own)) if len(own) > 1 else np.array([share])
            shown = [(x, each) for x, each in zip(at, own, strict=True) if each.forecast.basis is basis]
            if not shown:
                continue
            places = [x for x, _ in shown]
            errors = np.array([100 * each.error for _, each in shown])
            bounds = np.array([each.forecast.interval or (np.nan, np.nan) for _, each in shown])
            losses = np.array([each.loss for _, each in shown])
            low, high = (100 * (bounds[:, side] / losses - 1) for side in (0, 1))
            axes.vlines(places, low, high, color=colour, linewidth=0.8, alpha=0.5)
            named = label if label not in axes.get_legend_handles_labels()[1] else None
            axes.plot(places, errors, marker, color=colour, markersize=3, linestyle="none", label=named)
    axes.set_xticks(shares, [f"{share * 100:g} %" for share in shares])
    axes.set_xlabel("share of training that was known")
    axes.set_ylabel("forecast − measured, %")
    legend_below(figure, axes)
    return figure
