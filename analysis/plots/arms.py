"""Figure of the compute multipliers of arms against the base arm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from analysis.plots.style import SINGLE, grid, legend_below, log_axis, rung_styles, styled
from analysis.records.comparison import ComparisonRecord
from harness.records.number_text import power_of_ten


@styled
def multipliers(comparisons: Sequence[ComparisonRecord]) -> Figure:
    """Draw the compute multiplier of each arm over the base arm, with its interval, against the budget.

    Args:
        comparisons: arms that were compared with one base arm, as `compare_arms` returns them.
    """
    figure, (axes,) = grid(1, 1, (SINGLE, 3.6))
    styles = rung_styles([each.second for each in comparisons])
    for place, each in enumerate(comparisons):
        colour, marker = styles[each.second]
        # Beside each other, because their budgets are nearly the same.
        flops = np.array([row.flops for row in each.rows]) * 1.03 ** (place - (len(comparisons) - 1) / 2)
        value = np.array([row.compute for row in each.rows])
        low, high = np.array([row.compute_interval for row in each.rows]).T
        axes.errorbar(
            flops, value, [value - low, high - value], fmt=marker, color=colour, capsize=2, label=each.second
        )
        axes.plot(flops, value, color=colour, linewidth=0.8, alpha=0.6)
    axes.axhline(1, color="grey", linewidth=0.8)
    log_axis(axes, "x", power_of_ten)
    axes.set_xlabel("training compute C of the arm, FLOPs")
    axes.set_ylabel(f"compute of {comparisons[0].first} over C")
    legend_below(figure, axes, "arm")
    return figure
