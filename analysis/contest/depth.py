"""How much of the difference between two laws is a power of depth, if depth moves in one of the sweeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.arrays import Array, Interval

FOUND_WITH = 0.8  # probability with which the stated power would have been found


@dataclass(frozen=True)
class DepthPower:
    """The loss as a power of depth at equal N and D.

    Attributes:
        power: exponent of n_layers.  interval: its interval.
        p: of the test that it is zero.
        left: p of the test that nothing is left of the difference without it.
        found: power that the test finds with probability FOUND_WITH.
    """

    power: float
    interval: Interval
    p: float
    left: float
    found: float


def depth_power(contrasts: Array, per_power: Array, level: float) -> DepthPower:
    """Estimate a power of depth from the difference of two laws, by generalised least squares.

    Args:
        contrasts: draws of mean and slopes of the difference of log loss [draws, contrasts].
        per_power: the same contrasts of ln(n_layers of one sweep / n_layers of the other) [contrasts].
        level: share of the interval; the test of the power rejects at 1 - level.

    References:
        Aitken 1936, Proceedings of the Royal Society of Edinburgh 55 (generalised least squares).
    """
    centre, spread = np.median(contrasts, axis=0), np.cov(contrasts.T)
    weighted = np.linalg.solve(spread, per_power)
    precision = float(per_power @ weighted)
    power, se = float(centre @ weighted) / precision, precision**-0.5
    low, high = np.quantile(contrasts @ weighted / precision, [(1 - level) / 2, (1 + level) / 2])
    rest = centre - power * per_power
    wald = float(rest @ np.linalg.solve(spread, rest))
    return DepthPower(
        power=power,
        interval=(float(low), float(high)),
        p=float(2 * stats.norm.sf(abs(power) / se)),
        left=float(stats.chi2.sf(wald, len(centre) - 1)),
        found=se * float(stats.norm.ppf((1 + level) / 2) + stats.norm.ppf(FOUND_WITH)),
    )
