"""Intervals from samples or a standard error, and the one default of their confidence."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from analysis.arrays import Array, Interval

NORMAL = NormalDist()
LEVEL = 0.9  # confidence of every interval unless another level is asked for


def normal_interval(value: float, error: float | None, level: float = LEVEL) -> Interval | None:
    """Return the interval of a normal estimate from its standard error; None without one."""
    half = NORMAL.inv_cdf((1 + level) / 2) * (error or 0.0)
    return (value - half, value + half) if half else None


def percentile_interval(samples: Array, level: float, stretch: float = 1.0) -> Interval | None:
    """Return the central `level` share of the samples; for normal samples `stretch` times as wide.

    None if they have no spread: a single draw, a fixed parameter, or one that every draw leaves at its bound.
    An interval without width would claim certainty.

    References: Hesterberg 2015, arXiv:1411.5279, section 3.3, expanded percentiles.
    """
    if len(samples) == 0 or not np.all(np.isfinite(samples)):
        return None
    # Other percentiles instead of longer distances from the estimate: the ends stay inside the samples, so
    # a parameter that cannot be negative gets no negative end.
    tail = (1 - level) / 2 if stretch == 1 else NORMAL.cdf(-stretch * NORMAL.inv_cdf((1 + level) / 2))
    low, high = np.quantile(samples, [tail, 1 - tail])
    return (float(low), float(high)) if low < high else None


def interval_score(low: Array, high: Array, value: Array, level: float) -> Array:
    """Return the interval score: the width, plus 2/α times the distance of a value outside; lower is better.

    Args:
        low: lower ends [n].
        high: upper ends [n].
        value: what came true [n].
        level: share 1 − α of the intervals.

    Returns:
        The scores [n], in the units of the value.

    References: Gneiting & Raftery 2007, JASA 102, section 6.2.
    """
    outside = np.maximum(low - value, 0.0) + np.maximum(value - high, 0.0)
    return np.asarray(high - low + 2 / (1 - level) * outside)
