"""Figures on emergence: each task under its smooth metric, under exact match, and as log(−log)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.arrays import Array
from analysis.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    grid,
    log_axis,
    styled,
)
from harness.records.number_text import power_of_ten, si

Json = Mapping[str, Any]

AXIS_LABELS = {
    "N": "parameters N",
    "C": "training FLOPs C",
    "D": "training tokens D",
    "loss": "loss on text, nats",
}
PREDICTORS = (
    ("accuracy_power", "(a) accuracy^L", ORANGE, ":"),
    ("product", "(b) Π of accuracies", VERMILION, "--"),
    ("p_answer", "(c) mean P(answer)", GREEN, "-."),
)


@styled
def emergence(entries: Sequence[Json]) -> Figure:
    """One task on one axis: a row a length; smooth metric, exact match with its predictors, log(−log)."""
    figure, axes = grid(len(entries), 3, (11, 0.5 + 2.9 * len(entries)))
    for row, entry in enumerate(entries):
        smooth, exact, loglog = axes[3 * row : 3 * row + 3]
        at = np.array([size["at"] for size in entry["sizes"]])
        _smooth(smooth, entry, at)
        _exact(exact, entry, at)
        _loglog(loglog, entry, at)
        for panel in (smooth, exact, loglog):
            _size_axis(panel, entry["axis"])
        smooth.set_title(f"{entry['name']}: {entry['verdict'].replace('_', ' ')}")
    handles: dict[str, Any] = {}
    for panel in axes:
        drawn = panel.get_legend_handles_labels()
        handles |= dict(zip(drawn[1], drawn[0], strict=True))
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=4)
    return figure


def _values(entry: Json, key: str) -> Array:
    return np.array([np.nan if size.get(key) is None else size[key] for size in entry["sizes"]], float)


def _size_axis(axes: Axes, axis: str) -> None:
    axes.set_xlabel(AXIS_LABELS[axis])
    if axis == "loss":
        axes.invert_xaxis()
    else:
        log_axis(axes, "x", power_of_ten if axis == "C" else si)


def _smooth(axes: Axes, entry: Json, at: Array) -> None:
    nll, spread = _values(entry, "nll"), np.nan_to_num(_values(entry, "ln_nll_sd"))
    error = np.stack([nll - nll * np.exp(-spread), nll * np.exp(spread) - nll])
    axes.errorbar(at, nll, error, fmt="o", color=BLUE, elinewidth=0.8, label="measured, ± SD of seeds")
    if entry["law"]:
        axes.plot(at, _values(entry, "law"), color=BLUE, label="fitted law, 90 % band")
        axes.fill_between(
            at, _values(entry, "law_low"), _values(entry, "law_high"), color=SKY, alpha=0.35, lw=0
        )
    if entry["chance_nll"]:
        axes.axhline(entry["chance_nll"], color=GREY, linestyle="--", linewidth=0.9, label="guessing")
    sharp = entry["sharpness"]
    if entry["verdict"] in ("transition", "unseen_transition", "delayed_onset") and entry["axis"] != "loss":
        axes.axvspan(
            10 ** sharp["start"], 10 ** sharp["end"], color=VERMILION, alpha=0.12, lw=0, label="ramp found"
        )
    log_axis(axes, "y", lambda value: f"{value:.3g}")
    axes.set_ylabel("NLL, nats per token")


def _exact(axes: Axes, entry: Json, at: Array) -> None:
    axes.set_ylabel("exact match")
    if "exact" not in entry["sizes"][0]:
        axes.text(0.5, 0.5, "no exact match", ha="center", va="center", transform=axes.transAxes, color=GREY)
        return
    exact = _values(entry, "exact")
    if entry["law"] and np.isfinite(_values(entry, "from_law")).any():
        axes.plot(at, _values(entry, "from_law"), color=BLUE, label="(d) from the law, e^(−L·NLL)")
        low, high = _values(entry, "from_law_low"), _values(entry, "from_law_high")
        axes.fill_between(at, low, high, color=SKY, alpha=0.35, lw=0)
    for key, label, colour, line in PREDICTORS:
        if np.isfinite(_values(entry, key)).any():
            axes.plot(at, _values(entry, key), line, color=colour, label=label)
    axes.plot(at, exact, "o", color=BLACK, label="exact match, measured", zorder=4)
    upper = _values(entry, "exact_upper")
    if np.isfinite(upper).any():
        axes.plot(at, upper, "v", color=GREY, markerfacecolor="none", label="none right: upper limit 3/n")
    if entry["chance"]:
        axes.axhline(entry["chance"], color=GREY, linestyle="--", linewidth=0.9, label="guessing")
    for ahead in entry["forecast"]:
        error = [[ahead["exact"] - ahead["low"]], [ahead["high"] - ahead["exact"]]]
        axes.errorbar(
            ahead["at"], ahead["exact"], np.maximum(error, 0), fmt="*", color=PURPLE, label="forecast, 90 %"
        )
    axes.set_ylim(-0.03, 1.03)


def _loglog(axes: Axes, entry: Json, at: Array) -> None:
    """A power law under independent errors is a straight line here, whatever the answer's length."""
    axes.set_ylabel("ln(−ln exact match)")
    values = _values(entry, "loglog") if "exact" in entry["sizes"][0] else np.full(len(at), np.nan)
    if not np.isfinite(values).any():
        axes.text(
            0.5, 0.5, "no exact match above 0", ha="center", va="center", transform=axes.transAxes, color=GREY
        )
        return
    axes.plot(at, values, "o", color=BLACK)
    if entry["n_positions"] and entry["law"]:
        axes.plot(at, np.log(entry["n_positions"] * _values(entry, "law")), color=BLUE)
    product = np.clip(_values(entry, "product"), 1e-12, 1 - 1e-12)
    if np.isfinite(product).any():
        axes.plot(at, np.where(product > 1e-6, np.log(-np.log(product)), np.nan), "--", color=VERMILION)
