"""Figures that test a law: residuals, sealed forecast against truth, error against extrapolation factor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.laws import family, find_law
from analysis.plots.style import (
    BLUE,
    GREEN,
    GREY,
    LIGHT,
    ORANGE,
    PURPLE,
    SINGLE,
    SKY,
    VERMILION,
    count_axis,
    grid,
    legend_below,
    legend_beside,
    log_axis,
    styled,
)
from analysis.records.fit import FitRecord
from analysis.records.fits import RolloutRow
from analysis.records.forecast import ForecastCell, ForecastRecord, ScoreRecord
from harness.records.number_text import power_of_ten, si

LAW_STYLES = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (ORANGE, "D"), (PURPLE, "v"), (SKY, "P"))
FACTOR_EDGES = 7  # of the bins over which errors are averaged
SMALLEST_ERROR = 0.05  # per cent; smaller errors are drawn at this height


OVER_LAWS = "over the laws"  # label of a forecast that averages them


def law_styles(chosen: str, others: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return {law: (colour, marker)}; the chosen law is always the blue circle."""
    laws = [chosen, *sorted(set(others) - {chosen})]
    return {law: LAW_STYLES[i % len(LAW_STYLES)] for i, law in enumerate(laws)}


def predicted(fit: FitRecord, points: pd.DataFrame) -> np.ndarray:
    """Return the losses [rows] that a parametric fit predicts for rows of the points table."""
    theta = np.array(list(fit.params.values()))
    n, d, c = (points[column].to_numpy(float) for column in (fit.count, "n_tokens", "flops"))
    return find_law(fit.law).value(theta, n, d, c)


@styled
def residuals(points: pd.DataFrame, fits: Sequence[FitRecord], seed_sd: float | None) -> Figure:
    """Draw relative residuals of each fit (the chosen one first) against N, D and D/N."""
    figure, axes = grid(1, 3, (9.2, 3.3), sharey=True)
    styles = law_styles(fits[0].law, [fit.law for fit in fits])
    count = fits[0].count
    n, d = points[count].to_numpy(float), points["n_tokens"].to_numpy(float)
    for panel, x, name in zip(axes, (n, d, d / n), (count_axis(count), "tokens D", "D / N"), strict=True):
        panel.axhline(0, color=GREY, linewidth=0.8)
        if seed_sd is not None:
            panel.axhspan(-200 * seed_sd, 200 * seed_sd, color=LIGHT, alpha=0.6, label="±2 seed SD", zorder=0)
        for rank, fit in enumerate(fits):
            colour, marker = styles[fit.law]
            error = 100 * np.log(points["loss"].to_numpy(float) / predicted(fit, points))
            alpha = 0.55 if rank else 0.9
            panel.plot(
                x, error, marker, color=colour, label=family(fit.law), alpha=alpha, zorder=4 - 0.1 * rank
            )
        log_axis(panel, "x", si)
        panel.set_xlabel(name)
    axes[0].set_ylabel("measured − fitted loss, %")
    legend_beside(figure, axes[0])
    return figure


@styled
def forecast_against_truth(forecast: ForecastRecord, score: ScoreRecord | None) -> Figure:
    """Draw the sealed forecast of the held-out cells, against their measured losses once these exist."""
    truth = {} if score is None else {cell.key: cell.loss for cell in score.cells}
    sealed = OVER_LAWS if forecast.averaged else forecast.law
    laws = [(sealed, forecast.cells)]
    laws += [(loser.law, loser.cells) for loser in forecast.losers]
    styles = law_styles(sealed, [law for law, _ in laws])
    figure, axes = grid(1, 2 if truth else 1, (9.2 if truth else SINGLE, 3.8))
    for rank, (law, cells) in enumerate(laws):
        colour, marker = styles[law]
        look = {"fmt": marker, "color": colour, "label": family(law), "zorder": 4 - 0.1 * rank}
        _forecast_panel(axes[0], cells, truth, look)
        if truth:
            _error_panel(axes[1], cells, truth, look, bars=law == sealed)
    (legend_beside if truth else legend_below)(figure, axes[0])
    return figure


def _bars(cell: ForecastCell, scale: float = 1.0) -> list[list[float]]:
    return [[scale * (cell.predicted - cell.low)], [scale * (cell.high - cell.predicted)]]


def _forecast_panel(
    axes: Axes, cells: Sequence[ForecastCell], truth: Mapping[tuple[int, int], float], look: Mapping[str, Any]
) -> None:
    """Draw predicted loss with its interval against measured loss, or against compute before it is known."""
    known = [cell for cell in cells if cell.key in truth]
    for cell in known if truth else cells:
        x = truth[cell.key] if truth else cell.flops
        axes.errorbar(x, cell.predicted, _bars(cell), capsize=2.5, elinewidth=1, **look)
    if truth:
        low, high = min(truth.values()), max(truth.values())
        margin = 0.06 * (high - low) + 0.01
        axes.plot([low - margin, high + margin], [low - margin, high + margin], color=GREY, linewidth=0.9)
        axes.set_xlabel("measured loss, nats per token")
    else:
        log_axis(axes, "x", power_of_ten)
        axes.set_xlabel("training compute C, FLOPs")
    axes.set_ylabel("forecast loss, nats per token")


def _error_panel(
    axes: Axes,
    cells: Sequence[ForecastCell],
    truth: Mapping[tuple[int, int], float],
    look: Mapping[str, Any],
    *,
    bars: bool,
) -> None:
    """Draw the forecast error, in per cent of the measured loss, against the extrapolation factor."""
    axes.axhline(0, color=GREY, linewidth=0.9)
    for cell in (cell for cell in cells if cell.key in truth):
        loss = truth[cell.key]
        error = 100 * (cell.predicted / loss - 1)
        spread = _bars(cell, 100 / loss) if bars else None
        axes.errorbar(cell.factor, error, spread, capsize=2.5, elinewidth=1, **look)
    log_axis(axes, "x", lambda value: f"{value:g}×")
    axes.set_xlabel("compute beyond the largest fitted point")
    axes.set_ylabel("forecast − measured, %")


def rms_by_factor(rows: Sequence[RolloutRow]) -> dict[str, list[tuple[float, float]]]:
    """Return {law: (factor beyond the fit, RMS error in per cent of the loss)}, over bins of the factor."""
    edges = np.geomspace(1, max(row.factor for row in rows) * 1.001, FACTOR_EDGES)
    found: dict[str, list[tuple[float, float]]] = {}
    for law in dict.fromkeys(row.law for row in rows):
        own = [row for row in rows if row.law == law]
        factor, error = (np.array([getattr(row, name) for row in own]) for name in ("factor", "error"))
        bins = np.digitize(factor, edges)
        found[law] = [
            (
                float(np.exp(np.log(factor[bins == each]).mean())),
                float(100 * np.sqrt((error[bins == each] ** 2).mean())),
            )
            for each in np.unique(bins)
        ]
    return found


@styled
def rollout(rows: Sequence[RolloutRow], chosen: str) -> Figure:
    """Draw the error of laws fitted below a compute limit against the extrapolation factor of the cell."""
    frame = pd.DataFrame(
        {
            "law": [row.law for row in rows],
            "factor": [row.factor for row in rows],
            "error": [row.error for row in rows],
        }
    )
    styles = law_styles(chosen, frame["law"].unique().tolist())
    figure, (axes,) = grid(1, 1, (SINGLE, 4.1))
    means = rms_by_factor(rows)
    for rank, (law, (colour, marker)) in enumerate(styles.items()):
        own = frame[frame["law"] == law]
        size = np.maximum(100 * own["error"].abs(), SMALLEST_ERROR)
        axes.plot(own["factor"], size, marker, color=colour, alpha=0.3, markersize=4, markeredgewidth=0)
        axes.plot(
            *zip(*means[law], strict=True),
            marker=marker,
            color=colour,
            linewidth=2,
            markersize=6,
            label=f"{family(law)}, RMS",
            zorder=4 - 0.1 * rank,
        )
    axes.axhline(1, color=GREY, linewidth=0.9, linestyle="--", label="1 %")
    log_axis(axes, "x", lambda value: f"{value:g}×")
    log_axis(axes, "y", lambda value: f"{value:g}")
    axes.set_xlabel("compute of the predicted cell / largest compute in the fit")
    axes.set_ylabel("size of the error, % of the loss")
    legend_below(figure, axes)
    return figure
