"""Moments of Huber's influence function under Gaussian noise, of which trunks share a part.

With ψ(r) = clip(r, −δ, δ) and noise of standard deviation σ, an estimate by Huber's loss spreads as
H⁻¹·S·H⁻¹: H sums P(|r| < δ) over the rows, S the covariances of ψ. Rows of a trunk have a common part of the
noise. Given that part they are independent, and the mean of ψ is in closed form; the rest is an integral over
one standard normal variable.

References: Huber 1964, Annals of Mathematical Statistics 35 (ψ and its moments); Koenker 2005, Quantile
Regression, section 3.2, the limit of a narrow δ.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from analysis.arrays import Array

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def inside(sd: Array, width: float) -> Array:
    """Return the probability that noise lies within ±width, the mean slope of ψ."""
    return np.ones_like(sd) if np.isinf(width) else np.asarray(2 * ndtr(width / sd) - 1)


def second_moment(sd: Array, width: float) -> Array:
    """Return the mean of ψ²."""
    if np.isinf(width):
        return sd**2
    k = width / sd
    return np.asarray(sd**2 * (2 * ndtr(k) - 1 - 2 * k * _density(k)) + 2 * width**2 * ndtr(-k))


def common_part(sd: Array, share: float, width: float) -> Array:
    """Return the mean of ψ given the common part of the noise, [nodes, rows]; WEIGHTS belong to the nodes."""
    middle = np.sqrt(share) * np.multiply.outer(NODES, sd)
    if np.isinf(width) or share == 0:
        return middle
    own = np.sqrt(1 - share) * sd
    low, high = (-width - middle) / own, (width - middle) / own
    return np.asarray(
        width * (ndtr(-high) - ndtr(low))
        + middle * (ndtr(high) - ndtr(low))
        - own * (_density(high) - _density(low))
    )


def _density(x: Array) -> Array:
    return np.asarray(np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi))
