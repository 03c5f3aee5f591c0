"""Which source each window of a mixture comes from: shares that hold over any stretch, at any place at once.

Among the first n windows, source i has n·w_i windows to within one, for all n and all sources. So a short run
and a long one read the same mixture, whatever their batch size.

References: Tijdeman 1980, "The chairman assignment problem", Discrete Mathematics 32 (rule and bound).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Int64

# Windows after which the assignment repeats, at most: weights of five decimals are exact.
PERIOD = 100_000


def in_period(weights: Sequence[float]) -> tuple[int, ...]:
    """Return how many windows each source has in a period.

    The period is the shortest in which the counts have just the shares of the weights. If it would be longer
    than PERIOD, the shares are rounded to 1/PERIOD. Windows that rounding leaves over go to
    the sources that lost the largest part of one.

    >>> in_period([0.7, 0.3]), in_period([1, 1, 0, 1]), in_period([0.7, 0.30003])
    ((7, 3), (1, 1, 0, 1), (69998, 30002))
    """
    shares = np.asarray(weights, float) / sum(weights)
    periods = np.arange(1, PERIOD + 1)
    exact = np.flatnonzero(np.abs(shares[:, None] * periods % 1 - 0.5).min(axis=0) >= 0.5 - 1e-6)
    period = int(periods[exact[0]]) if len(exact) else PERIOD
    counts = np.floor(shares * period + 1e-6).astype(int)
    order = np.argsort(counts - shares * period, kind="stable")
    counts[order[: period - counts.sum()]] += 1
    return tuple(counts.tolist())


@dataclass(frozen=True)
class Interleaving:
    """Assignment of windows to sources.

    Attributes:
        counts: windows of each source in one period.

    >>> order = Interleaving((2, 1))
    >>> order.sources(0, 6).tolist(), order.before(6).tolist()
    ([0, 1, 0, 0, 1, 0], [4, 2])
    """

    counts: tuple[int, ...]

    @property
    def period(self) -> int:
        """Number of windows after which the assignment repeats."""
        return sum(self.counts)

    @cached_property
    def weights(self) -> tuple[float, ...]:
        """Share of each source, the sum being 1."""
        return tuple(count / self.period for count in self.counts)

    def sources(self, first: int, n: int) -> Int64[np.ndarray, "n"]:
        """Return the source of each of the windows `first` to `first + n` − 1."""
        table, _ = _assignment(self.counts)
        return table[np.arange(first, first + n) % self.period]

    def before(self, position: int) -> Int64[np.ndarray, "sources"]:
        """Return how many of the first `position` windows each source has."""
        rounds, rest = divmod(position, self.period)
        _, counted = _assignment(self.counts)
        return rounds * np.array(self.counts, np.int64) + counted[rest]


@lru_cache(maxsize=4)
def _assignment(
    counts: tuple[int, ...],
) -> tuple[Int64[np.ndarray, "period"], Int64[np.ndarray, "period+1 sources"]]:
    """Return the source of each window of a period, and how many each source has before each window.

    Of the sources that may have the next window without running ahead, the one whose time runs out first gets
    it.
    """
    period = sum(counts)
    sources = [source for source, count in enumerate(counts) if count]
    # The bound is 1 − 1/slack windows; all numbers are integers, so the choice is the same everywhere.
    slack = max(2 * len(sources) - 2, 1)
    steps = [slack * counts[source] for source in sources]
    behind = [0] * len(sources)
    table = np.empty(period, np.int64)
    for place in range(period):
        best, least = 0, math.inf
        for index, step in enumerate(steps):
            behind[index] += step
            left = (period * (slack - 1) - behind[index]) / step
            if behind[index] >= period and left < least:
                best, least = index, left
        behind[best] -= slack * period
        table[place] = sources[best]
    counted = np.zeros((period + 1, len(counts)), np.int64)
    np.cumsum(table[:, None] == np.arange(len(counts)), axis=0, out=counted[1:])
    return table, counted
