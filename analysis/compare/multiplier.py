"""Multipliers of compute, tokens and parameters at equal loss, from a law of both arms and their difference.

The base arm follows a law L(N, D). The loss of the other arm is L(N, D)·exp(δ(N, D)). Each arm spends the
FLOPs per token that its own runs have at size N. The second arm is trained as well as C allows:

- compute multiplier: compute with which the base arm, also at its best, reaches that loss, over C;
- token multiplier: tokens that the base arm needs for the loss of the second arm at the same N, over its D;
- parameter multiplier: parameters that the base arm needs for that loss at the same D, over its N.

Above 1 the second arm is the better one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.arrays import Array
from analysis.averaging.average import LawAverage
from analysis.compare.difference import Difference
from analysis.cost import Cost, cost_between
from analysis.frontier import Surface, optimum, table_reach
from analysis.laws import Law
from analysis.tables.table import LossTable

REACH = np.log(100.0)  # the largest multiplier that is looked for, and one over the smallest
STEP = 0.35  # of ln C between searched optima of the base arm
FINE = 0.01  # of the interpolated logarithms in which a loss is looked up
WINDOW, WINDOW_POINTS = np.log(4.0), 33  # around the base arm's best N, where that of the other is searched
PLANES = 5  # drawn planes for each drawn law


@dataclass(frozen=True)
class Arms:
    """What the multipliers are read off.

    Attributes:
        average: laws of both arms together, the difference taken out.
        difference: of log loss, second arm less base arm.
        first, second: FLOPs per token of each arm as a function of N.
        reach: sizes between which an optimum is searched.
    """

    average: LawAverage
    difference: Difference
    first: Cost
    second: Cost
    reach: tuple[float, float]

    @classmethod
    def of(cls, first: LossTable, second: LossTable, average: LawAverage, difference: Difference) -> Arms:
        """Make it from the rows of both arms."""
        costs = [cost_between(table.n, table.c / table.d) for table in (first, second)]
        low, high = zip(table_reach(first), table_reach(second), strict=True)
        return cls(average, difference, costs[0], costs[1], (min(low), max(high)))


@dataclass(frozen=True)
class Multipliers:
    """Logarithms of drawn multipliers [draws, flops], clipped to ±REACH, and their weights [draws]."""

    compute: Array
    tokens: Array
    params: Array
    weights: Array


def draw_multipliers(arms: Arms, flops: Array, seed: int = 0) -> Multipliers:
    """Draw the multipliers at each budget of the second arm.

    Args:
        arms: laws, difference and costs.
        flops: budgets C [flops], FLOPs.
        seed: of the drawn planes.

    References: Hoffmann et al. 2022, arXiv:2203.15556, section 3.3 (the frontier).
    """
    rng = np.random.default_rng(seed)
    found, weights = [], []
    for entry in arms.average.kept:
        samples = entry.samples if len(entry.samples) else entry.theta[None]
        planes = arms.difference.draws(PLANES * len(samples), rng).reshape(PLANES, len(samples), -1)
        found.append(_of_law(arms, entry.law, samples, planes, flops))
        weights.append(np.full(PLANES * len(samples), entry.weight / (PLANES * len(samples))))
    compute, tokens, params = (np.concatenate(parts) for parts in zip(*found, strict=True))
    total = np.concatenate(weights)
    return Multipliers(compute, tokens, params, total / total.sum())


def _of_law(arms: Arms, law: Law, theta: Array, planes: Array, flops: Array) -> tuple[Array, Array, Array]:
    """Return log multipliers of compute, tokens and parameters, each [planes · draws, flops].

    Args:
        arms: costs and the centre of the planes.
        law: the law.  theta: its estimates [draws, params].
        planes: drawn differences [planes, draws, columns].
        flops: budgets [flops].
    """
    draws, n_flops = len(theta), len(flops)
    surface = Surface(law.name, lambda n, d: law.value(theta, n, d), arms.second, arms.reach)
    best_n = np.log(optimum(surface, flops, draws)[0])
    log_n = best_n[..., None] + np.linspace(-WINDOW, WINDOW, WINDOW_POINTS)
    log_d = np.log(flops)[:, None] - np.log(arms.second(np.exp(log_n)))
    flat = (draws, -1)
    base = np.log(law.value(theta, np.exp(log_n).reshape(flat), np.exp(log_d).reshape(flat)))
    total = base.reshape(log_n.shape) + arms.difference.at(log_n, log_d, planes[:, :, None, None, :])
    at, loss = _lowest(total)
    n = best_n + WINDOW * (at / (WINDOW_POINTS // 2) - 1)
    d = np.log(flops) - np.log(arms.second(np.exp(n)))
    spent = np.arange(np.log(flops.min()) - REACH - STEP, np.log(flops.max()) + REACH + 2 * STEP, STEP)
    own = Surface(law.name, surface.loss, arms.first, arms.reach)
    curve = np.log(optimum(own, np.exp(spent), draws)[2])
    compute = _where(spent, curve, loss) - np.log(flops)
    shape = (len(planes) * draws, n_flops)
    # Along one axis, at the best cell of the second arm.
    many = np.tile(theta, (len(planes), 1))
    along = [
        _along(law, many, n.reshape(shape), d.reshape(shape), loss.reshape(shape), axis) for axis in (1, 0)
    ]
    clipped = [np.clip(values.reshape(shape), -REACH, REACH) for values in (compute, *along)]
    return clipped[0], clipped[1], clipped[2]


def _lowest(values: Array) -> tuple[Array, Array]:
    """Return place and value of the minimum along the last axis [..., points], by a parabola through it."""
    best = np.clip(np.argmin(values, axis=-1), 1, values.shape[-1] - 2)[..., None]
    left, mid, right = (np.take_along_axis(values, best + k, -1)[..., 0] for k in (-1, 0, 1))
    bend = left - 2 * mid + right
    step = np.where(bend > 0, (left - right) / (2 * np.where(bend > 0, bend, 1)), 0)
    step = np.clip(step, -1, 1)
    return best[..., 0] + step, mid + (right - left) / 2 * step + bend / 2 * step**2


def _where(x: Array, curves: Array, values: Array) -> Array:
    """Return at which x each falling curve [draws, x] has the values [planes, draws, flops]; ±inf outside."""
    from scipy.interpolate import CubicSpline

    fine = np.arange(x[0], x[-1], FINE)
    smooth = np.minimum.accumulate(CubicSpline(x, curves, axis=1)(fine), axis=1)
    found = np.empty_like(values)
    for draw, curve in enumerate(smooth):
        found[:, draw] = np.interp(values[:, draw], curve[::-1], fine[::-1], left=np.inf, right=-np.inf)
    return found


def _along(law: Law, theta: Array, log_n: Array, log_d: Array, log_loss: Array, axis: int) -> Array:
    """Return how far ln N (axis 0) or ln D (1) must move for a log loss, all [draws, flops].

    The law falls along both axes, so halving an interval finds it.
    """
    low, high = np.full_like(log_n, -REACH), np.full_like(log_n, REACH)
    for _ in range(40):
        middle = (low + high) / 2
        n, d = log_n + middle * (axis == 0), log_d + middle * (axis == 1)
        above = np.log(law.value(theta, np.exp(n), np.exp(d))) > log_loss
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.asarray((low + high) / 2)
