"""The minimum of an IsoFLOP slice, by a parabola or by Akima interpolation, and its noise.

References: Hoffmann et al. 2022, arXiv:2203.15556, section 3.2; Porian et al. 2024, arXiv:2406.19146,
section 3 (Akima interpolation with seed-noise bootstrap, floor of the optimum's standard error).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.interpolate import Akima1DInterpolator

from analysis.approaches.slices import Slice
from analysis.arrays import Array, Index

Method = Literal["quadratic", "akima"]
Minimum = Callable[[Array, Array], Array]

WINDOW = 5  # sizes in the parabola: those nearest to the lowest
SPACING_FLOOR = 1 / 3  # of the spacing of sizes in log N, the least standard error of an optimum (Porian)
AKIMA_SIZES = 5  # fewer sizes at a budget leave the interpolant to its boundary rule
AKIMA_POINTS = 25  # evaluations between two sizes
MIN_INTERIOR = 0.5  # share of noise draws that must have an interior minimum


@dataclass(frozen=True)
class Optimum:
    """The minimum of one slice; `reason` says why it does not count, None if it does."""

    log_c: float
    log_n: float
    log_d: float
    log_loss: float
    se: float
    n_sizes: int
    reason: str | None


def parabola_window(x: Array, y: Array) -> Index | None:
    """Return the WINDOW sizes nearest to the lowest one; None if the lowest is the first or last."""
    lowest = int(np.argmin(y))
    if lowest in (0, len(x) - 1):
        return None
    return np.sort(np.argsort(np.abs(x - x[lowest]), kind="stable")[:WINDOW])


def quadratic_minimum(x: Array, y: Array, window: Index) -> Array:
    """Return the vertex [draws] of the least-squares parabola of y [sizes, draws] over x; NaN outside."""
    centre = x[window].mean()
    curve = np.linalg.pinv(np.vander(x[window] - centre, 3)) @ y[window]
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = centre - curve[1] / (2 * curve[0])
    inside = (curve[0] > 0) & (vertex > x[window].min()) & (vertex < x[window].max())
    return np.where(inside, vertex, np.nan)


def akima_minimum(x: Array, y: Array) -> Array:
    """Return the lowest point [draws] of the Akima interpolant of y [sizes, draws] over x; NaN at an end."""
    grid = np.linspace(x[0], x[-1], (len(x) - 1) * AKIMA_POINTS)
    index = np.argmin(Akima1DInterpolator(x, y)(grid), axis=0)
    inside = (index > 0) & (index < len(grid) - 1)
    return np.where(inside, grid[index], np.nan)


def optima(
    slices: list[Slice], log_loss: Array, shocks: Array, method: Method
) -> tuple[list[Optimum], Array, Array]:
    """Return the optimum of each slice and its draws of log N* and log D* [slices, draws]."""
    found, n_draws, d_draws = [], [], []
    for piece in slices:
        optimum, log_n = _optimum(piece, log_loss, shocks, method)
        found.append(optimum)
        n_draws.append(log_n)
        d_draws.append(np.interp(log_n, piece.log_n, piece.log_d))
    return found, np.array(n_draws), np.array(d_draws)


def _optimum(piece: Slice, log_loss: Array, shocks: Array, method: Method) -> tuple[Optimum, Array]:
    y = piece.log_loss(log_loss)
    minimum = _minimum_of(method, piece.log_n, y)
    draws = minimum(piece.log_n, y[:, None] + piece.noise(shocks))
    best = float(minimum(piece.log_n, y[:, None])[0])
    share = float(np.isfinite(draws).mean())
    reason = _reason(best, share)
    if reason is None and method == "akima":
        best = float(np.nanmedian(draws))
    # Noise alone makes the optimum look too certain between widely spaced sizes; a share below 1 widens it
    # too.
    floor = SPACING_FLOOR * float(np.mean(np.diff(piece.log_n)))
    se = max(float(np.nanstd(draws)), floor) / share if share else np.nan
    log_d = float(np.interp(best, piece.log_n, piece.log_d))
    low = _value_at(method, piece.log_n, y, best)
    return Optimum(piece.log_c, best, log_d, low, se, len(y), reason), draws


def _minimum_of(method: Method, x: Array, y: Array) -> Minimum:
    """Return the function that finds minima of draws; a parabola keeps the window of the measured losses."""
    if method == "akima":
        return akima_minimum
    window = parabola_window(x, y)
    if window is None:
        return lambda _, y: np.full(y.shape[1], np.nan)
    return lambda x, y: quadratic_minimum(x, y, window)


def _value_at(method: Method, x: Array, y: Array, best: float) -> float:
    """Return the log loss of the fitted curve at its optimum; NaN without one."""
    window = parabola_window(x, y)
    if method == "akima":
        return float(Akima1DInterpolator(x, y)(best))
    if window is None:
        return np.nan
    centre = x[window].mean()
    return float(np.polyval(np.polyfit(x[window] - centre, y[window], 2), best - centre))


def _reason(best: float, share: float) -> str | None:
    if np.isnan(best):
        return "no interior minimum: the loss is lowest at the smallest or largest size"
    if share < MIN_INTERIOR:
        return f"the minimum is interior in only {100 * share:.0f} % of noise draws"
    return None


def parabola_residuals(slices: list[Slice], log_loss: Array) -> tuple[float, int]:
    """Return pooled residual sum of squares and degrees of freedom of the parabolas of all slices."""
    total, dof = 0.0, 0
    for piece in slices:
        y = piece.log_loss(log_loss)
        window = parabola_window(piece.log_n, y)
        if window is None or len(window) <= 3:
            continue
        design = np.vander(piece.log_n[window] - piece.log_n[window].mean(), 3)
        resid = y[window] - design @ np.linalg.lstsq(design, y[window], rcond=None)[0]
        total += float(resid @ resid)
        dof += len(window) - 3
    return total, dof
