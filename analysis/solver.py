"""Robust least squares for many problems at once: every start and every bootstrap resample is one row.

Levenberg–Marquardt on Σ w·ρ(r) with Huber's ρ, vectorised over a batch of parameter vectors and weights.
`gls` is least squares on residuals freed of the noise that the points of a trunk share.
A law is solved in centred units (each axis divided by its geometric mean) and in coordinates z, in
which coefficients are logarithms; results come back in natural units.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.laws.law import Law, centre_of
from analysis.noise import TrunkNoise, trunk_share
from analysis.table import LossTable

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

ESTIMATORS = ("huber", "lad", "lsq", "lsq_loss", "gls")
LAD_DELTA = 1e-7  # Huber this narrow is least absolute deviations to seven digits
FIRST_DELTA = 0.1  # continuation: start where the objective is least squares, then narrow
NARROWING = 0.2
TOLERANCE = 1e-11  # of the predicted decrease, relative to the objective
ITERATIONS, WIDE_ITERATIONS = 300, 25  # at the wanted width, at each wider one
DAMPING_LIMITS = (1e-12, 1e9)


@dataclass(frozen=True)
class Solution:
    """Minima of a batch: theta [batch, params] in natural units, objective [batch], converged [batch]."""

    theta: Array
    objective: Array
    converged: Mask

    @property
    def best(self) -> int:
        return int(np.argmin(self.objective))


@dataclass(frozen=True)
class Problem:
    """One law on one table under one estimator.

    `shared` is the part of the noise common to a trunk, for `gls`; measured on the table where None.
    """

    law: Law
    table: LossTable
    estimator: str = "huber"
    delta: float = 1e-3
    shared: float | None = None

    @property
    def width(self) -> float:
        """Residual beyond which Huber's ρ grows linearly."""
        return {"huber": self.delta, "lad": LAD_DELTA}.get(self.estimator, np.inf)

    @property
    def weights(self) -> Array:
        return np.ones(len(self.table)) if self.table.weights is None else self.table.weights

    @cached_property
    def _trunk_noise(self) -> TrunkNoise:
        shared = trunk_share(self.table) if self.shared is None else self.shared
        return TrunkNoise.of(self.table.cluster, shared)

    def independent(self, values: Array, weights: Array) -> Array:
        """Residuals [batch, rows] or their slopes [batch, rows, params] as the estimator weighs them."""
        return self._trunk_noise.remove(values, weights) if self.estimator == "gls" else values

    def residual(self, theta: Array, loss: Array | None = None) -> Array:
        """Measured minus predicted, in log loss (in loss for `lsq_loss`), [..., rows]."""
        table = self.table
        loss = table.loss if loss is None else loss
        predicted = self.law.value(theta, table.n, table.d, table.c, table.unique_d)
        if self.estimator == "lsq_loss":
            return loss - predicted
        return np.log(loss) - np.log(predicted)

    def objective(self, theta: Array, weights: Array | None = None, loss: Array | None = None) -> Array:
        """The minimised sum in natural units: Σ w·huber, Σ w·|r| for `lad`, Σ w·r²/2 for least squares.

        For `gls` r is the residual freed of its trunk's shared noise.
        """
        used = self.weights if weights is None else weights
        residual = self.independent(
            self.residual(theta, loss), np.broadcast_to(used, (*theta.shape[:-1], used.shape[-1]))
        )
        sums = np.sum(used * huber(residual, self.width), axis=-1)
        return sums / LAD_DELTA if self.estimator == "lad" else sums

    def solve(
        self,
        starts: Array,
        weights: Array | None = None,
        free: Mask | None = None,
        iterations: int = ITERATIONS,
        losses: Array | None = None,
    ) -> Solution:
        """Minimise from every start [batch, params].

        `weights` [batch, rows] replace the table's (a resample is a weighting); `free` [params] holds
        the other parameters at their start; `losses` [batch, rows] replace the table's.
        """
        coordinates = _Coordinates(self.law, self.table)
        starts = np.atleast_2d(starts)
        shape = (len(starts), len(self.table))
        batch_weights = np.broadcast_to(self.weights if weights is None else weights, shape)
        losses = self.table.loss if losses is None else losses
        measured = losses if self.estimator == "lsq_loss" else np.log(losses)
        seen = _Seen(np.broadcast_to(measured, shape), batch_weights)
        z, converged = coordinates.inside(coordinates.forward(starts)), np.zeros(len(starts), bool)
        usable = np.ones(len(self.law.params), bool) if free is None else free
        *wider, last = _narrowing(self.width)
        for width in wider:
            z, _ = _minimise(self, coordinates, z, seen, usable, width, WIDE_ITERATIONS)
        z, converged = _minimise(self, coordinates, z, seen, usable, last, iterations)
        theta = coordinates.backward(z)
        return Solution(theta, self.objective(theta, batch_weights, losses), converged)


class _Seen(NamedTuple):
    """What each of a batch is fitted to, [batch, rows]: log losses (losses for `lsq_loss`) and weights."""

    measured: Array
    weights: Array

    def of(self, running: NDArray[np.int64]) -> _Seen:
        return _Seen(self.measured[running], self.weights[running])


class _Coordinates:
    """The map between natural parameters and z: centred columns, logarithms of coefficients."""

    def __init__(self, law: Law, table: LossTable) -> None:
        self.law = law
        self.centre = centre_of(table)
        self.n, self.d = table.n / self.centre["n"], table.d / self.centre["d"]
        self.c = table.c / self.centre["c"]
        self.u = self.d if table.unique_d is None else table.unique_d / self.centre["d"]
        logarithmic = {term.coefficient for term in law.terms} | set(law.scales)
        self.is_log = np.array([name in logarithmic for name in law.params])
        limits = np.array([law.bounds[name] for name in law.params], dtype=float)
        with np.errstate(divide="ignore"):
            limits[self.is_log] = np.log(limits[self.is_log])
        self.low, self.high = limits[:, 0], limits[:, 1]

    def forward(self, theta: Array) -> Array:
        centred = self.law.rescale(theta, {axis: 1 / value for axis, value in self.centre.items()})
        return np.where(self.is_log, np.log(np.where(self.is_log, centred, 1.0)), centred)

    def backward(self, z: Array) -> Array:
        return self.law.rescale(self.centred(z), self.centre)

    def centred(self, z: Array) -> Array:
        return np.where(self.is_log, np.exp(np.where(self.is_log, z, 0.0)), z)

    def inside(self, z: Array) -> Array:
        return np.clip(z, self.low, self.high)

    def residual(self, z: Array, measured: Array, in_loss: bool) -> Array:
        predicted = self.law.value(self.centred(z), self.n, self.d, self.c, self.u)
        return measured - (predicted if in_loss else np.log(predicted))

    def slope(self, z: Array, in_loss: bool) -> Array:
        """Derivative of the prediction (of its logarithm) by z, [batch, rows, params]."""
        theta = self.centred(z)
        jacobian = self.law.jacobian(theta, self.n, self.d, self.c, self.u)
        jacobian = jacobian * np.where(self.is_log, theta, 1.0)[:, None, :]
        if in_loss:
            return jacobian
        return jacobian / self.law.value(theta, self.n, self.d, self.c, self.u)[..., None]


def huber(residual: Array, width: float) -> Array:
    """r²/2 within `width`, width·(|r| − width/2) beyond."""
    size = np.abs(residual)
    if np.isinf(width):
        return 0.5 * size**2
    inner = np.minimum(size, width)
    return inner * (size - 0.5 * inner)


def _narrowing(width: float) -> Iterator[float]:
    """Widths from FIRST_DELTA down to `width`; only `width` for least squares."""
    current = FIRST_DELTA
    while current > width:
        yield current
        current *= NARROWING
    yield width


def _minimise(
    problem: Problem,
    coordinates: _Coordinates,
    z: Array,
    seen: _Seen,
    free: Mask,
    width: float,
    iterations: int,
) -> tuple[Array, Mask]:
    """Levenberg–Marquardt on every row of z [batch, params]; rows that have converged leave the loop.

    The step solves (H + λ·(M + diag M))·s = g, with H from the rows inside `width` (Newton's matrix of
    Huber's loss) and M from all rows weighted by width/|r| (the majorising quadratic of iterated
    reweighting). Small λ ends in a Newton step, large λ in a descent that always succeeds.
    """
    in_loss = problem.estimator == "lsq_loss"

    def total(z: Array, seen: _Seen) -> Array:
        residual = problem.independent(coordinates.residual(z, seen.measured, in_loss), seen.weights)
        return np.asarray(np.sum(seen.weights * huber(residual, width), axis=-1))

    z, converged = z.copy(), np.zeros(len(z), bool)
    damping = np.full(len(z), 1e-2)
    value = total(z, seen)
    running = np.arange(len(z))
    for _ in range(iterations):
        here, fitted = z[running], seen.of(running)
        step, gain = _step(problem, coordinates, here, fitted, free, width, damping[running])
        there = coordinates.inside(here + step)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            trial = total(there, fitted)
        better = trial < value[running]
        z[running[better]] = there[better]
        value[running[better]] = trial[better]
        damping[running] = np.clip(damping[running] * np.where(better, 0.2, 5.0), *DAMPING_LIMITS)
        done = (gain <= TOLERANCE * (value[running] + 1e-300)) | (damping[running] >= DAMPING_LIMITS[1])
        converged[running[done]] = True
        running = running[~done]
        if len(running) == 0:
            break
    return z, converged


def _step(
    problem: Problem,
    coordinates: _Coordinates,
    z: Array,
    seen: _Seen,
    free: Mask,
    width: float,
    damping: Array,
) -> tuple[Array, Array]:
    """The damped step [batch, params] and the decrease that it predicts [batch]."""
    in_loss, weights = problem.estimator == "lsq_loss", seen.weights
    residual = problem.independent(coordinates.residual(z, seen.measured, in_loss), weights)
    slope = problem.independent(coordinates.slope(z, in_loss), weights)
    size = np.abs(residual)
    pull = np.clip(residual, -width, width)
    gradient = np.einsum("brp,br->bp", slope, weights * pull)
    outward = ((z <= coordinates.low) & (gradient < 0)) | ((z >= coordinates.high) & (gradient > 0))
    moving = free & ~outward
    gradient = np.where(moving, gradient, 0.0)
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
