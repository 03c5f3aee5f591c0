"""Intervals from samples, and the one default of their confidence."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from analysis.arrays import Array, Interval

NORMAL = NormalDist()


LEVEL = 0.9  # confidence of every interval unless another level is asked for


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
