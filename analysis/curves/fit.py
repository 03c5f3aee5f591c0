"""Fit of a whole-curve law to curves, each with its own schedule.

Curves belong to groups, such as models of one size or one run with its branches. E, A, alpha and B are those
of a group; the parameters of the kernel are shared by all groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.arrays import Array, Mask
from analysis.curves.curve import Curve
from analysis.laws.annealing import CurveLaw, Seen

OWN = 4  # parameters of a group: E, A, alpha, B
HUBER = 1e-3  # of the log loss, as Luo et al. take
ITERATIONS, TOLERANCE = 200, 1e-10
DAMPING = (1e-10, 1e10)
# Bounds of a group's coordinates: ln E, ln of the reducible loss, ln alpha, ln B.
OWN_BOUNDS = ((-7.0, 3.0), (-9.0, 3.0), (-3.0, 1.5), (-14.0, 14.0))
LINEAR = ("gamma",)  # kernel parameters that are their own coordinate; the others have their logarithm
GAMMA_BOUNDS, KERNEL_BOUNDS = (-0.5, 2.0), {"C": (-16.0, 9.0), "beta": (-2.5, 2.5), "tau": (0.0, 14.0)}


@dataclass(frozen=True)
class Prior:
    """Normal prior of the coordinates: of every group's own four, and of the kernel.

    Attributes:
        mean: centres [groups · 4 + kernel].
        sd: standard deviations; infinite for none, 0 for a coordinate that is fixed [groups · 4 + kernel].
    """

    mean: Array
    sd: Array


@dataclass(frozen=True)
class CurveFit:
    """A fitted whole-curve law.

    Attributes:
        law: the law.
        z: coordinates [groups · 4 + kernel].
        scale: sum of learning rates at which the second coordinate states the reducible loss [groups].
        objective: Huber's loss of all rows, with the prior.
        covariance: of the coordinates, from the curvature [coordinates, coordinates].
    """

    law: CurveLaw
    z: Array
    scale: Array
    objective: float
    covariance: Array

    def theta(self, group: int = 0) -> Array:
        """Return the parameters of a group in the order of `law.params`."""
        return _theta(self.law, self.z, self.scale, group)[0]

    def estimates(self, group: int = 0) -> dict[str, float]:
        """Return the parameters of a group by name."""
        return dict(zip(self.law.params, map(float, self.theta(group)), strict=True))

    def loss(self, seen: Seen, group: int = 0) -> Array:
        """Return the loss at the seen steps, nats per token [rows]."""
        return self.law.loss(self.theta(group), seen)

    def loss_and_slope(self, seen: Seen, group: int = 0) -> tuple[Array, Array]:
        """Return the loss [rows] and its derivatives by the coordinates of the fit [rows, coordinates]."""
        theta, by_z = _theta(self.law, self.z, self.scale, group)
        return _predicted(self.law, theta, by_z, len(self.z), group, seen)


class _Objective:
    """Residuals of the log loss in units of their noise, and their slopes, over all curves."""

    def __init__(
        self, law: CurveLaw, curves: Sequence[Curve], groups: Sequence[int], errors: Sequence[Array]
    ):
        self.law, self.groups, self.errors = law, groups, errors
        self.seen = [curve.schedule.at(curve.steps) for curve in curves]
        self.log_loss = [np.log(curve.loss) for curve in curves]
        sums = [[s.lr_sum for s, own in zip(self.seen, groups, strict=True) if own == g] for g in set(groups)]
        self.scale = np.array([np.median(np.concatenate(each)) for each in sums])

    def __call__(self, z: Array) -> tuple[Array, Array]:
        residuals, slopes = [], []
        thetas = [_theta(self.law, z, self.scale, group) for group in range(len(self.scale))]
        for seen, target, group, error in zip(
            self.seen, self.log_loss, self.groups, self.errors, strict=True
        ):
            loss, slope = _predicted(self.law, *thetas[group], len(z), group, seen)
            # A law may dip below 0 on the way; the logarithm then needs a floor that still points upwards.
            safe = np.maximum(loss, 1e-3)
            residuals.append((np.log(safe) - target) / error)
            slopes.append(slope / (safe * error)[:, None])
        return np.concatenate(residuals), np.concatenate(slopes)


def _predicted(
    law: CurveLaw, theta: Array, by_z: Array, n_coordinates: int, group: int, seen: Seen
) -> tuple[Array, Array]:
    """Return the loss [rows] and its derivatives by all coordinates [rows, coordinates].

    `theta` and `by_z` are those of the group.
    """
    loss, by_theta = law.loss_and_slope(theta, seen)
    own, slope = by_theta @ by_z, np.zeros((len(loss), n_coordinates))
    slope[:, OWN * group : OWN * (group + 1)] = own[:, :OWN]
    slope[:, n_coordinates - own.shape[1] + OWN :] = own[:, OWN:]
    return loss, slope


def _theta(law: CurveLaw, z: Array, scale: Array, group: int) -> tuple[Array, Array]:
    """Return the parameters of a group and their derivatives by its coordinates [params, params]."""
    n_kernel = len(law.kernel_params)
    own, kernel = z[OWN * group : OWN * (group + 1)], z[len(z) - n_kernel :]
    linear = np.array([name in LINEAR for name in law.kernel_params], bool)
    log_scale = np.log(scale[group])
    e, alpha, b = np.exp(own[[0, 2, 3]])
    a = np.exp(own[1] + alpha * log_scale)
    shape = np.where(linear, kernel, np.exp(np.where(linear, 0.0, kernel)))
    by_z = np.diag(np.concatenate([[e, a, alpha, b], np.where(linear, 1.0, shape)]))
    by_z[1, 2] = a * alpha * log_scale
    return np.concatenate([[e, a, alpha, b], shape]), by_z


def _bounds(law: CurveLaw, n_groups: int) -> Array:
    """Return the lowest and highest coordinates [coordinates, 2]."""
    kernel = [GAMMA_BOUNDS if name in LINEAR else KERNEL_BOUNDS[name] for name in law.kernel_params]
    return np.array([*OWN_BOUNDS * n_groups, *kernel])


def fit_curves(
    law: CurveLaw,
    curves: Sequence[Curve],
    groups: Sequence[int],
    starts: Sequence[Array],
    *,
    prior: Prior | None = None,
    errors: Sequence[Array] | None = None,
    width: float = HUBER,
) -> CurveFit:
    """Fit a law to curves by Huber's loss of the log loss, from several starts.

    Args:
        law: the law.
        curves: losses and schedules.
        groups: group of each curve, from 0 without a gap.
        starts: coordinates to start from, each [groups · 4 + kernel].
        prior: prior of the coordinates.
        errors: standard deviation of the log loss of every row [rows], by curve; by default all are 1.
        width: residual beyond which the loss grows linearly, in units of `errors`.

    References: Luo et al. 2025, arXiv:2503.12811, section 3.3: Huber's loss of the log loss, width 0.001.
    """
    weights = errors or [np.ones(len(curve.steps)) for curve in curves]
    objective = _Objective(law, curves, groups, weights)
    bounds = _bounds(law, max(groups) + 1)
    found = [_minimise(objective, start, bounds, prior, width) for start in starts]
    z, value, curvature = min(found, key=lambda each: each[1])
    return CurveFit(law, z, objective.scale, value, _inverse(curvature))


def _inverse(curvature: Array) -> Array:
    """Return the inverse of a curvature whose fixed coordinates have rows of 0."""
    return np.asarray(np.linalg.pinv(curvature, rcond=1e-14, hermitian=True), np.float64)


def _minimise(
    objective: _Objective, start: Array, bounds: Array, prior: Prior | None, width: float
) -> tuple[Array, float, Array]:
    """Return minimum, value and curvature from one start: Levenberg–Marquardt with iterated reweighting."""
    low, high = bounds.T
    free = np.ones(len(start), bool) if prior is None else prior.sd > 0
    z = np.clip(start, low, high)
    if prior is not None:
        z = np.where(free, z, prior.mean)
    value, gradient, curvature = _around(objective, z, prior, width)
    damping = 1e-2
    for _ in range(ITERATIONS):
        step, gain = _step(gradient, curvature, damping, free, z, low, high)
        trial = np.clip(z + step, low, high)
        there = _around(objective, trial, prior, width)
        if there[0] < value:
            z, (value, gradient, curvature) = trial, there
        damping *= 0.2 if there[0] <= value else 5.0
        if gain <= TOLERANCE * (value + 1e-300) or damping >= DAMPING[1]:
            break
        damping = max(damping, DAMPING[0])
    return z, value, np.asarray(np.where(free[:, None] & free, curvature, 0.0))


def _around(objective: _Objective, z: Array, prior: Prior | None, width: float) -> tuple[float, Array, Array]:
    """Return value, descent direction and curvature of the reweighted problem at z."""
    residual, slope = objective(z)
    size = np.abs(residual)
    inner = np.minimum(size, width)
    value = float(np.sum(inner * (size - 0.5 * inner)))
    weight = inner / np.maximum(size, 1e-300)
    gradient = -(slope.T @ (weight * residual))
    curvature = slope.T @ (slope * weight[:, None])
    if prior is not None:
        pull = np.where(prior.sd > 0, prior.sd, np.inf) ** -2.0
        off = z - prior.mean
        value += float(0.5 * np.sum(pull * off**2))
        gradient -= pull * off
        curvature += np.diag(pull)
    return value, gradient, curvature


def _step(
    gradient: Array, curvature: Array, damping: float, free: Mask, z: Array, low: Array, high: Array
) -> tuple[Array, float]:
    """Return the damped step and the decrease that it predicts; coordinates at a bound stand still."""
    outward = ((z <= low) & (gradient < 0)) | ((z >= high) & (gradient > 0))
    moving = free & ~outward
    step = np.zeros_like(z)
    matrix = curvature[np.ix_(moving, moving)]
    diagonal = np.diag(matrix)
    matrix = matrix + np.diag(damping * diagonal + 1e-14 * diagonal.max(initial=0.0) + 1e-300)
    step[moving] = np.linalg.solve(matrix, gradient[moving])
    return step, float(0.5 * np.sum(step * gradient))
