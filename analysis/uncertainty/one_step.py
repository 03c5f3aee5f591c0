"""Bootstrap estimates of a long table by one Newton step, where that step is as good as a refit.

Gradient and Hessian of Σ w·ρ(r) are linear in the weights w. At the point estimate they are computed once a
row, and a resample is then a matrix product and the solution of one small system. Over thousands of rows the
refit is so near that nothing is left for a second step. Least absolute deviations have no curvature to step
by, and few trunks leave resamples far from the estimate: both are refitted.

References: Davidson & MacKinnon 1999, International Economic Review 40 (one step in place of a refit);
Andrews 2002, Econometrica 70 (order of what it leaves).
"""

from __future__ import annotations

import numpy as np

from analysis.arrays import Array
from analysis.solve.coordinates import Coordinates, Seen
from analysis.solve.problem import Problem

LEAST_ROWS = 2_000  # of a table; below that a thousand refits take about a second
NEAR = 0.15  # standard deviations, RMS, that steps may be from refits; intervals then widen by 1 %


def one_step(problem: Problem, theta: Array, weights: Array) -> Array | None:
    """Return the estimates [resamples, params] one Newton step from `theta` for each weighting of the rows.

    Args:
        problem: law, table and estimator.
        theta: point estimate [params].
        weights: row weights [resamples, rows].

    Returns:
        Estimates in natural units; None if a free parameter stands at its bound or a matrix is singular.
    """
    coordinates = Coordinates(problem.law, problem.table)
    z = coordinates.forward(theta[None])
    free = coordinates.low < coordinates.high
    if np.any(free & ~((coordinates.low < z[0]) & (z[0] < coordinates.high))):
        return None
    logs = problem.estimator != "lsq_loss"
    measured, ones = problem.table.loss[None], np.ones((1, len(problem.table)))
    seen = Seen(np.log(measured) if logs else measured, ones, logs)
    residual = coordinates.residual(z, seen)
    slope = problem.independent(coordinates.slope(z, residual, seen), ones)[0][:, free]
    left = problem.independent(residual, ones)[0]
    pull, inside = np.clip(left, -problem.width, problem.width), np.abs(left) <= problem.width
    gradient = weights @ (slope * pull[:, None])
    first, second = np.triu_indices(slope.shape[1])
    matrix = np.empty((len(weights), slope.shape[1], slope.shape[1]))
    matrix[:, first, second] = weights @ (slope[:, first] * slope[:, second] * inside[:, None])
    matrix[:, second, first] = matrix[:, first, second]
    try:
        step = np.linalg.solve(matrix, gradient[..., None])[..., 0]
    except np.linalg.LinAlgError:
        return None
    there = np.repeat(z, len(weights), axis=0)
    there[:, free] += step
    return coordinates.backward(coordinates.inside(there))


def near(steps: Array, refits: Array) -> bool:
    """Return whether steps [resamples, params] are within NEAR standard deviations of refits, RMS."""
    apart = np.sqrt(np.mean((steps - refits) ** 2, axis=0))
    return bool(np.all(apart <= NEAR * refits.std(axis=0)))
