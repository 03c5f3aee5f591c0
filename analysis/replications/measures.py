"""Measures of intervals: coverage with its own interval, interval score, spread over replications."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import beta, t

from analysis.arrays import Array, Interval
from analysis.intervals import NORMAL
from analysis.records.replications import CoverageRecord, SpreadRecord


def coverage(inside: Sequence[int], of: Sequence[int], level: float) -> CoverageRecord:
    """Return the share of intervals that hold the truth, with its interval.

    Args:
        inside: intervals that hold the truth, by replication [n].
        of: intervals, by replication [n].
        level: confidence of the interval of the share.
    """
    hits, trials = (np.asarray(values, dtype=float) for values in (inside, of))
    hits, trials = hits[trials > 0], trials[trials > 0]
    if not len(trials):
        return CoverageRecord(0, 0, None, None)
    share = float(hits.sum() / trials.sum())
    return CoverageRecord(int(trials.sum()), int(hits.sum()), share, share_interval(hits, trials, level))


def share_interval(hits: Array, trials: Array, level: float) -> Interval:
    """Return the interval of a share whose trials come in clusters.

    The exact binomial interval is taken at the effective number of trials. This number follows from the
    variance between clusters. If no cluster differs from another, it is the number of clusters.

    Args:
        hits: hits by cluster [n].
        trials: trials by cluster [n].
        level: its confidence.

    References: Clopper & Pearson, Biometrika 26 (1934) 404; for clusters Korn & Graubard, Survey
    Methodology 24 (1998) 193.
    """
    n, total = len(trials), float(trials.sum())
    share = float(hits.sum()) / total
    effective = total
    if (trials > 1).any():
        effective = float(n)
        if n > 1 and 0 < share < 1:
            variance = n / (n - 1) * float(((hits - share * trials) ** 2).sum()) / total**2
            # With few clusters their variance is uncertain, which widens the interval.
            tail = (1 + level) / 2
            fewer = (NORMAL.inv_cdf(tail) / float(t.ppf(tail, n - 1))) ** 2
            effective = min(total, share * (1 - share) / variance * fewer) if variance > 0 else float(n)
    found, rest = share * effective, (1 - share) * effective
    tail = (1 - level) / 2
    low = 0.0 if found <= 0 else float(beta.ppf(tail, found, rest + 1))
    high = 1.0 if rest <= 0 else float(beta.ppf(1 - tail, found + 1, rest))
    return low, high


def spread(values: Sequence[float]) -> SpreadRecord:
    """Return the distribution of one or more numbers."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return SpreadRecord(
        len(values), float(np.mean(values)), middle, (low, high), (float(min(values)), float(max(values)))
    )


def widest_over_median(widths: Array) -> float:
    """Return the widest over the median width of a column, the largest over columns.

    Args:
        widths: widths of intervals [replications, cells].
    """
    return float((widths.max(axis=0) / np.median(widths, axis=0)).max())
