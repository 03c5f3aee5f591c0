"""The minimum of an IsoFLOP slice, by a parabola, a cubic or Akima interpolation, and its noise.

References: Hoffmann et al. 2022, arXiv:2203.15556, section 3.2; Porian et al. 2024, arXiv:2406.19146,
section 3 (Akima interpolation with seed-noise bootstrap, floor of the optimum's standard error).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.interpolate import Akima1DInterpolator

from analysis.approaches.common_shape import CommonShape, fit_common_shape
from analysis.approaches.slices import Slice
from analysis.arrays import Array, Index
from harness.records.number_text import si

Method = Literal["quadratic", "cubic", "akima"]
Minimum = Callable[[Array, Array], Array]

WINDOW = 5  # sizes in the parabola: those nearest to the lowest
CUBIC_WINDOW = 7  # sizes in the cubic, which follows the curve farther
SPACING_FLOOR = 1 / 3  # of the spacing of sizes in log N, the least standard error of an optimum (Porian)
AKIMA_SIZES = 5  # fewer sizes at a budget leave the interpolant to its boundary rule
AKIMA_POINTS = 25  # evaluations between two sizes
MIN_INTERIOR = 0.5  # share of noise draws that must have an interior minimum


@dataclass(frozen=True)
class Optimum:
    """The minimum of one slice; `reason` says why it does not count, None if it does.

    `at_edge`: the loss is lowest at the smallest or largest size, so sizes beyond it are missing.
    """

    log_c: float
    log_n: float
    log_d: float
    log_loss: float
    se: float
    n_sizes: int
    reason: str | None
    at_edge: bool = False


def parabola_window(x: Array, y: Array, size: int = WINDOW) -> Index | None:
    """Return the `size` sizes nearest to the lowest one; None if the lowest is the first or last."""
    lowest = int(np.argmin(y))
    if lowest in (0, len(x) - 1):
        return None
    return np.sort(np.argsort(np.abs(x - x[lowest]), kind="stable")[:size])


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
    if method == "cubic":
        made = _common_optima(slices, log_loss, shocks)
    else:
        made = [_optimum(piece, log_loss, shocks, method) for piece in slices]
    for piece, (optimum, log_n) in zip(slices, made, strict=True):
        found.append(optimum)
        n_draws.append(log_n)
        d_draws.append(np.interp(log_n, piece.log_n, piece.log_d))
    return found, np.array(n_draws), np.array(d_draws)


def common_shape(slices: list[Slice], log_loss: Array) -> CommonShape | None:
    """Return the cubics of all slices with an interior minimum; None if their sizes are too few."""
    windows = [parabola_window(piece.log_n, piece.log_loss(log_loss), CUBIC_WINDOW) for piece in slices]
    return fit_common_shape(slices, log_loss, windows)


def _common_optima(slices: list[Slice], log_loss: Array, shocks: Array) -> list[tuple[Optimum, Array]]:
    """Return the optimum of each slice by cubics of a common shape, and its draws of log N*."""
    shape = common_shape(slices, log_loss)
    found = []
    for place, piece in enumerate(slices):
        y = piece.log_loss(log_loss)
        at = [] if shape is None else np.flatnonzero(shape.position == place).tolist()
        if shape is None or not at:
            none = Optimum(piece.log_c, np.nan, np.nan, np.nan, np.nan, len(y), _edge(piece.log_n, y), True)
            found.append((none, np.full(shocks.shape[1], np.nan)))
            continue
        index, window = at[0], shape.windows[at[0]]
        low, high = piece.log_n[window].min(), piece.log_n[window].max()
        draws, best = shape.moved(slices, shocks)[index], float(shape.best[index])
        share = float(np.mean((draws > low) & (draws < high)))
        reason = None
        if not (shape.curvature[index] > 0 and low < best < high):
            fault = _fault(piece.log_n[window], y[window])
            reason = f"the cubic through the {len(window)} sizes around the lowest {fault}"
        elif share < MIN_INTERIOR:
            reason = _rarely_interior(share)
        floor = SPACING_FLOOR * float(np.mean(np.diff(piece.log_n)))
        se = max(float(np.std(draws)), floor) / share if share else np.nan
        log_d = float(np.interp(best, piece.log_n, piece.log_d))
        lowest = float(shape.value(index, np.array(best)))
        found.append((Optimum(piece.log_c, best, log_d, lowest, se, len(y), reason), draws))
    return found


def _optimum(piece: Slice, log_loss: Array, shocks: Array, method: Method) -> tuple[Optimum, Array]:
    y = piece.log_loss(log_loss)
    minimum = _minimum_of(method, piece.log_n, y)
    draws = minimum(piece.log_n, y[:, None] + piece.noise(shocks))
    best = float(minimum(piece.log_n, y[:, None])[0])
    share = float(np.isfinite(draws).mean())
    reason = _reason(best, share, method, piece.log_n, y)
    if reason is None and method == "akima":
        best = float(np.nanmedian(draws))
    # Noise alone makes the optimum look too certain between widely spaced sizes; a share below 1 widens it
    # too.
    floor = SPACING_FLOOR * float(np.mean(np.diff(piece.log_n)))
    se = max(float(np.nanstd(draws)), floor) / share if share else np.nan
    log_d = float(np.interp(best, piece.log_n, piece.log_d))
    low = _value_at(method, piece.log_n, y, best)
    return Optimum(piece.log_c, best, log_d, low, se, len(y), reason, _at_edge(y)), draws


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


def _at_edge(y: Array) -> bool:
    return int(np.argmin(y)) in (0, len(y) - 1)


def _reason(best: float, share: float, method: Method, x: Array, y: Array) -> str | None:
    """Return why the minimum of log losses y [sizes] over log sizes x does not count, None if it does."""
    if np.isfinite(best):
        return _rarely_interior(share) if share < MIN_INTERIOR else None
    if _at_edge(y):
        return _edge(x, y)
    if method == "akima":
        return "no interior minimum: the Akima interpolant is lowest at an end of the sizes"
    window = parabola_window(x, y)
    assert window is not None  # the lowest size is inside
    return f"the parabola through the {len(window)} sizes around the lowest {_fault(x[window], y[window])}"


def _rarely_interior(share: float) -> str:
    return f"the minimum is interior in only {100 * share:.0f} % of noise draws"


def _edge(x: Array, y: Array) -> str:
    lowest = int(np.argmin(y))
    which = "smallest" if lowest == 0 else "largest"
    return f"no interior minimum: the loss is lowest at the {which} size, N = {si(np.exp(x[lowest]))}"


def _fault(x: Array, y: Array) -> str:
    """Return what is wrong with the parabola through y over x, and the run that is farthest off.

    That run is farthest from the chord between its neighbours. How far it is off is measured from the
    parabola through the others.
    """
    curved = np.polyfit(x - x.mean(), y, 2)[0] > 0
    chord = [np.interp(x[i], x[[i - 1, i + 1]], y[[i - 1, i + 1]]) for i in range(1, len(x) - 1)]
    off = 1 + int(np.argmax(np.abs(y[1:-1] - chord)))
    others = np.arange(len(x)) != off
    expected = np.polyval(np.polyfit(x[others] - x[off], y[others], 2), 0.0)
    beyond = float(np.expm1(y[off] - expected))
    what = "has its minimum beyond them" if curved else "has no minimum"
    side = "above" if beyond > 0 else "below"
    return f"{what}: the run at N = {si(np.exp(x[off]))} lies {100 * abs(beyond):.2g} % {side} its neighbours"


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
