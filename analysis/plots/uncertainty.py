"""Figures of the uncertainty of a fit: bootstrap cloud, profiles, best size under each way to count N."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots.style import (
    BLACK,
    BLUE,
    COUNT_NAMES,
    GREEN,
    GREY,
    ORANGE,
    SINGLE,
    SKY,
    VERMILION,
    grid,
    legend_below,
    legend_beside,
    log_axis,
    styled,
)
from analysis.records.fit import FitRecord, ProfileRecord
from analysis.records.fits import CountedOptimum
from harness.records.errors import InputError
from harness.records.number_text import estimate, power_of_ten, si

FAN = (
    0.02,
    0.05,
    0.1,
)  # steps of β/(α+β) between lines of the cloud; the first with few lines is taken
MOST_LINES = 7
COUNT_LOOKS: dict[str, tuple[str, Any]] = {
    "n_params_matmul": (BLUE, "-"),
    "n_params": (VERMILION, (0, (3, 1))),
    "n_params_body": (GREEN, (0, (1.2, 0.8))),
}
AXES = {
    "E": "E, nats per token",
    "alpha": "α, exponent of N",
    "beta": "β, exponent of D",
    "gamma": "γ, outer exponent",
}


@styled
def cloud(fit: FitRecord) -> Figure:
    """Draw bootstrap estimates (alpha, beta) of a parametric fit, with lines of constant β/(α+β).

    For laws that depend on the sum of their terms alone, β/(α+β) is the exponent a under C = 6·N·D.
    """
    if fit.cloud is None:
        raise InputError("the fit has no bootstrap cloud: pass a result of with_uncertainty")
    figure, (axes,) = grid(1, 1, (SINGLE, 4.5))
    alpha, beta = np.array(fit.cloud).T
    here = fit.params["alpha"], fit.params["beta"]
    if not here[0] > 0:
        raise InputError(
            f"its alpha is {here[0]:g}, and an exponent above 0 was expected; fit the runs again"
        )
    axes.plot(alpha, beta, "o", color=SKY, alpha=0.55, markersize=4, markeredgewidth=0, label="one resample")
    spread = [_bar(fit, name) for name in ("alpha", "beta")]
    shown = f"estimate, {100 * fit.level:g} % intervals" if any(spread) else "estimate"
    axes.errorbar(
        *here, yerr=spread[1], xerr=spread[0], fmt="o", color=BLUE, markersize=7, capsize=4, elinewidth=1.8,
        label=shown, zorder=4,
    )  # fmt: skip
    axes.margins(0.08)
    x, y = np.array(axes.get_xlim()), np.array(axes.get_ylim())
    axes.plot(x, x * here[1] / here[0], color=VERMILION, linewidth=1.6, label=_share_label(*here), zorder=1.5)
    for share in fan(x, y):
        axes.plot(
            x, x * share / (1 - share), ":", color=GREY, linewidth=0.9, label="other values of it", zorder=1
        )
        _name_line(axes, share, x, y)
    axes.set_xlim(*x)
    axes.set_ylim(*y)
    axes.set_xlabel("α, exponent of N")
    axes.set_ylabel("β, exponent of D")
    legend_below(figure, axes)
    return figure


def _bar(fit: FitRecord, name: str) -> list[list[float]] | None:
    """Return the lengths of the error bar of a parameter below and above its estimate, None without one."""
    ends = fit.interval.get(name)
    if not ends:
        return None
    # An estimate at a bound may lie outside its percentiles; then the bar has one side.
    return [[max(fit.params[name] - ends[0], 0.0)], [max(ends[1] - fit.params[name], 0.0)]]


def _share_label(alpha: float, beta: float) -> str:
    return f"β/(α+β) = {beta / (alpha + beta):.3f},\nas estimated"


def fan(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return round values of β/(α+β) whose lines cross a window.

    Args:
        x, y: lowest and highest α and β of the window.
    """
    low, high = y[0] / (x[1] + y[0]), y[1] / (x[0] + y[1])
    step = next((step for step in FAN if (high - low) / step <= MOST_LINES), FAN[-1])
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step


def _name_line(axes: Axes, share: float, x: np.ndarray, y: np.ndarray) -> None:
    """Write the value of a line where the line leaves the window, at the top or at the right."""
    slope = share / (1 - share)
    at_top = slope * x[1] > y[1]
    place = (y[1] / slope, y[1]) if at_top else (x[1], slope * x[1])
    axes.annotate(
        f"{share:.2f}", place, xytext=(0, 2) if at_top else (3, 0), textcoords="offset points", color=GREY,
        fontsize=7.5, ha="center" if at_top else "left", va="bottom" if at_top else "center",
    )  # fmt: skip


@styled
def profiles(drawn: Sequence[ProfileRecord]) -> Figure:
    """Draw the rise of the objective with one parameter fixed, a panel a parameter, with cut and interval."""
    figure, axes = grid(1, len(drawn), (2.2 + 2.6 * len(drawn), 3.5), sharey=True)
    for panel, entry in zip(axes, drawn, strict=True):
        lowest, (low, high) = entry.lowest, entry.interval
        values = np.array(entry.values)
        rise = 100 * (np.array(entry.objective) / lowest - 1)
        if entry.cut is not None:
            panel.axhline(100 * (entry.cut / lowest - 1), color=VERMILION, linestyle="--", linewidth=1.2,
                          label=f"cut, {100 * entry.level:g} %")  # fmt: skip
            ends = values[0] if low is None else low, values[-1] if high is None else high
            panel.axvspan(*ends, color=ORANGE, alpha=0.22, linewidth=0, label="interval", zorder=0)
        panel.plot(values, rise, color=BLUE, linewidth=2, label="profile")
        panel.plot(entry.estimate, 0, "o", color=BLUE, markersize=6, label="estimate", zorder=4)
        panel.set_xlim(values[0], values[-1])
        panel.locator_params(axis="x", nbins=5)
        panel.set_xlabel(AXES.get(entry.parameter, entry.parameter))
        panel.set_title(_interval_text(entry))
    axes[0].set_ylabel("objective above its minimum, %")
    legend_beside(figure, axes[0])
    return figure


def _interval_text(entry: ProfileRecord) -> str:
    if entry.cut is None:
        return "no interval"
    low, high = ("open" if end is None else f"{end:.3f}" for end in entry.interval)
    return f"{100 * entry.level:g} %: {low} to {high}"


@styled
def counting(rows: Sequence[CountedOptimum], fits: Sequence[FitRecord]) -> Figure:
    """Draw N* against C under each way to count N; `fits` give the exponents in the legend."""
    figure, (axes,) = grid(1, 1, (SINGLE, 4.3))
    counts = list(dict.fromkeys(row.count for row in rows))
    own = set(counts) <= set(COUNT_LOOKS)
    looks = COUNT_LOOKS if own else dict(zip(counts, cycle(COUNT_LOOKS.values()), strict=False))
    for count in counts:
        of_count = [row for row in rows if row.count == count]
        name, (colour, line) = COUNT_NAMES.get(count, count), looks[count]
        found = next(fit.exponents for fit in fits if fit.count == count)
        label = f"{name} parameters\na = {estimate(found.a, found.a_interval)}"
        flops = [row.flops for row in of_count]
        axes.plot(
            flops, [row.n_opt for row in of_count], linestyle=line, color=colour, linewidth=2.2, label=label
        )
        low, high = np.array([(row.n_low, row.n_high) for row in of_count]).T
        if np.isfinite(low).any():
            axes.fill_between(flops, low, high, color=colour, alpha=0.18, linewidth=0)
    largest = max(fit.estimation.largest_flops for fit in fits if fit.estimation)
    axes.axvline(largest, color=BLACK, linewidth=0.9, linestyle=":", label="largest run")
    log_axis(axes, "x", power_of_ten)
    log_axis(axes, "y", si)
    axes.set_xlabel("training compute C, FLOPs")
    axes.set_ylabel("best size N*, as counted")
    legend_below(figure, axes, "N counts")
    return figure
