"""Levenberg–Marquardt on Huber's loss for a batch of problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from analysis.arrays import Array, Mask
from analysis.solve.coordinates import Coordinates, Seen

Freed = Callable[[Array, Array], Array]

FIRST_DELTA = 0.1  # continuation: start where the objective is least squares, then narrow
NARROWING = 0.2
TOLERANCE, WIDE_TOLERANCE = 1e-11, 1e-4  # of the predicted decrease, relative to the objective
DAMPING_LIMITS = (1e-12, 1e9)


def huber(residual: Array, width: float) -> Array:
    """r²/2 within `width`, width·(|r| − width/2) beyond."""
    size = np.abs(residual)
    if np.isinf(width):
        return 0.5 * size**2
    inner = np.minimum(size, width)
    return inner * (size - 0.5 * inner)


def narrowing(width: float) -> Iterator[float]:
    """Widths from FIRST_DELTA down to `width`; only `width` for least squares."""
    current = FIRST_DELTA
    while current > width:
        yield current
        current *= NARROWING
    yield width


def minimise(
    coordinates: Coordinates,
    freed: Freed,
    z: Array,
    seen: Seen,
    free: Mask,
    width: float,
    iterations: int,
    tolerance: float = TOLERANCE,
) -> tuple[Array, Mask]:
    """Levenberg–Marquardt on every row of z [batch, params]; rows that have converged leave the loop.

    The step solves (H + λ·(M + diag M))·s = g, with H from the rows inside `width` (Newton's matrix of
    Huber's loss) and M from all rows weighted by width/|r| (the majorising quadratic of iterated
    reweighting). Small λ ends in a Newton step, large λ in a descent that always succeeds.
    `freed` takes the noise that rows share out of residuals [batch, rows] and slopes [batch, rows, params].
    """

    def total(residual: Array, seen: Seen) -> Array:
        return np.asarray(np.sum(seen.weights * huber(freed(residual, seen.weights), width), axis=-1))

    z, converged = z.copy(), np.zeros(len(z), bool)
    damping = np.full(len(z), 1e-2)
    residual = coordinates.residual(z, seen)
    value = total(residual, seen)
    running = np.arange(len(z))
    for _ in range(iterations):
        here, fitted = z[running], seen.of(running)
        step, gain = _step(coordinates, freed, here, residual[running], fitted, free, width, damping[running])
        there = coordinates.inside(here + step)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            left = coordinates.residual(there, fitted)
            trial = total(left, fitted)
        better = trial < value[running]
        z[running[better]] = there[better]
        residual[running[better]] = left[better]
        value[running[better]] = trial[better]
        damping[running] = np.clip(damping[running] * np.where(better, 0.2, 5.0), *DAMPING_LIMITS)
        done = (gain <= tolerance * (value[running] + 1e-300)) | (damping[running] >= DAMPING_LIMITS[1])
        converged[running[done]] = True
        running = running[~done]
        if len(running) == 0:
            break
    return z, converged


def _step(
    coordinates: Coordinates,
    freed: Freed,
    z: Array,
    residual: Array,
    seen: Seen,
    free: Mask,
    width: float,
    damping: Array,
) -> tuple[Array, Array]:
    """The damped step [batch, params] and the decrease that it predicts [batch]."""
    weights = seen.weights
    slope = freed(coordinates.slope(z, residual, seen), weights)
    residual = freed(residual, weights)
    size = np.abs(residual)
    pull = np.clip(residual, -width, width)
    gradient = np.einsum("brp,br->bp", slope, weights * pull)
    outward = ((z <= coordinates.low) & (gradient < 0)) | ((z >= coordinates.high) & (gradient > 0))
    moving = free & ~outward
    gradient = np.where(moving, gradient, 0.0)
    if not moving.all():
        slope = np.where(moving[:, None, :], slope, 0.0)

    transposed = slope.transpose(0, 2, 1)
    newton = transposed @ (slope * (weights * (size <= width))[..., None])
    reweighted = (
        transposed @ (slope * (weights * width / np.maximum(size, width))[..., None])
        if (np.isfinite(width))
        else newton
    )
    diagonal = np.einsum("bpp->bp", reweighted)
    matrix = newton + damping[:, None, None] * reweighted
    floor = 1e-14 * diagonal.max(axis=1, keepdims=True) + 1e-300
    index = np.arange(z.shape[1])
    matrix[:, index, index] += damping[:, None] * diagonal + floor
    matrix[:, index, index] += np.where(moving, 0.0, 1.0)
    step = np.asarray(np.linalg.solve(matrix, gradient[..., None])[..., 0], dtype=np.float64)
    gain: Array = 0.5 * np.sum(step * gradient, axis=-1)
    return step, gain
