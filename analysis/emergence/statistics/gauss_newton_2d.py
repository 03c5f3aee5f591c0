"""Damped Gauss-Newton for least squares in two bounded parameters, for many curves at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from analysis.arrays import Array

# (a, b) of every curve -> predictions and their derivatives with respect to a and b, each [curves, sizes].
Model = Callable[[Array, Array], tuple[Array, Array, Array]]

STEPS = 12


def polish(
    y: Array,
    weight: Array,
    model: Model,
    a: Array,
    b: Array,
    low: tuple[float, float],
    high: tuple[float, float],
) -> tuple[Array, Array, Array]:
    """Refine `a` and `b` for each row of `y` inside [low, high].

    A parameter stays at a bound that its step would cross, and the other then moves alone. A step that does
    not lower the sum of squares is rejected and the next one is shorter: the result is never worse than
    the start.

    Args:
        y: curves [curves, sizes].
        weight: weights of least squares [sizes].
        model: predictions with their derivatives.
        a: start of the first parameter [curves].
        b: start of the second parameter [curves].
        low: lower bounds of a and b.
        high: upper bounds of a and b.

    Returns:
        a, b and the weighted residual sum of squares, each [curves].
    """
    damp = np.ones(len(y))
    best = _rss(y, weight, model, a, b)
    for _ in range(STEPS):
        fitted, da, db = model(a, b)
        r = (y - fitted) * weight
        aa, bb, ab = (np.sum(u * v * weight, axis=1) for u, v in ((da, da), (db, db), (da, db)))
        ga, gb = np.sum(r * da, axis=1), np.sum(r * db, axis=1)
        # Keeps the normal equations solvable when a curve does not depend on one parameter.
        ridge = 1e-9 * (aa + bb) + 1e-300
        det = np.maximum((aa + ridge) * (bb + ridge) - ab**2, 1e-200)
        step_a, step_b = ((bb + ridge) * ga - ab * gb) / det, ((aa + ridge) * gb - ab * ga) / det
        stuck_b = ((b <= low[1]) & (step_b < 0)) | ((b >= high[1]) & (step_b > 0))
        step_a = np.where(stuck_b, ga / (aa + ridge), step_a)
        stuck_a = ((a <= low[0]) & (step_a < 0)) | ((a >= high[0]) & (step_a > 0))
        step_b = np.where(stuck_b, 0.0, np.where(stuck_a, gb / (bb + ridge), step_b))
        new_a = np.clip(a + damp * step_a, low[0], high[0])
        new_b = np.clip(b + damp * step_b, low[1], high[1])
        rss = _rss(y, weight, model, new_a, new_b)
        better = rss < best
        a, b, best = np.where(better, new_a, a), np.where(better, new_b, b), np.where(better, rss, best)
        damp = np.where(better, np.minimum(1.0, 2 * damp), damp / 4)
    return a, b, best


def _rss(y: Array, weight: Array, model: Model, a: Array, b: Array) -> Array:
    return np.asarray(np.sum((y - model(a, b)[0]) ** 2 * weight, axis=1))
