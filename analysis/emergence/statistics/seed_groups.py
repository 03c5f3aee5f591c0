"""Test of one group against a two-component mixture for the seeds of one size.

At the size where a skill appears, either some seeds have it and others do not, or all seeds shift together.
The statistic is the largest share of the variance of ln NLL that a cut of the ordered seeds into two groups
explains. For normal components of equal variance this cut maximises the likelihood ratio, if every seed is
assigned to one component. The null distribution is simulated for one normal group of as many seeds.

References: Du et al. 2024, arXiv:2403.15796 (thresholds in loss); Hu et al. 2023, arXiv:2310.03262.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from analysis.arrays import Array, Codes
from analysis.emergence.statistics.sharpness import SIGNIFICANCE
from analysis.holm import holm
from analysis.records.emergence import SeedGroupRecord

MIN_SEEDS = 16  # power .9 against two groups that lie APART, before Holm's correction
DRAWS = 20_000
APART = 5.0  # standard deviations between the means of the two equal groups that the power refers to
SMALLEST_GROUP = 3  # a cut that splits off one outlier is no mixture


@dataclass(frozen=True)
class SeedSplit:
    """Best cut of the seeds of one size into two groups, before Holm's correction.

    Attributes:
        at: the size, in the unit of its axis.
        n_seeds: number of seeds.
        share: share of the variance of ln NLL that the cut explains.
        p: Monte-Carlo p-value of the share under one normal group.
        n_low: seeds below the cut.
    """

    at: float
    n_seeds: int
    share: float
    p: float
    n_low: int


def split_share(values: Array) -> tuple[Array, Codes]:
    """Return the share of the sum of squares that the best cut explains, and the number of values below it.

    Args:
        values: one group of seeds a row [groups, seeds].
    """
    ordered = np.sort(values, axis=1)
    n = ordered.shape[1]
    free = ordered - ordered.mean(axis=1, keepdims=True)
    left = np.arange(SMALLEST_GROUP, n - SMALLEST_GROUP + 1)
    below = np.cumsum(free, axis=1)[:, left - 1]
    between = below**2 * n / (left * (n - left))
    best = np.argmax(between, axis=1)
    total = np.maximum(np.sum(free**2, axis=1), 1e-300)
    return between[np.arange(len(values)), best] / total, left[best]


@lru_cache
def _one_group(n_seeds: int) -> Array:
    """Return the simulated null; equal numbers of seeds share one, because the share has no scale."""
    rng = np.random.default_rng(n_seeds)
    return split_share(rng.standard_normal((DRAWS, n_seeds)))[0]


@lru_cache
def _power(n_seeds: int, significance: float) -> float:
    """Return the power against two groups of equal probability, APART standard deviations apart."""
    rng = np.random.default_rng([n_seeds, 2])
    shape = DRAWS // 10, n_seeds
    halves = rng.standard_normal(shape) + APART * (rng.random(shape) < 0.5)
    return float(np.mean(split_share(halves)[0] > np.quantile(_one_group(n_seeds), 1 - significance)))


def split_seeds(ln_nll: Array, at: float) -> SeedSplit:
    """Test one group against two for the seeds of the size `at`, of which there are MIN_SEEDS or more."""
    n = len(ln_nll)
    share, below = (float(found[0]) for found in split_share(ln_nll[None]))
    p = float((1 + np.sum(_one_group(n) >= share)) / (1 + DRAWS))
    return SeedSplit(at, n, share, p, int(below))


def judged(splits: Sequence[SeedSplit], significance: float = SIGNIFICANCE) -> list[SeedGroupRecord]:
    """Correct the tests of several tasks and sizes for their number (Holm) and say what each found."""
    found = []
    for split, p in zip(splits, holm([split.p for split in splits]), strict=True):
        n, power, mixture = split.n_seeds, _power(split.n_seeds, significance / len(splits)), p < significance
        words = (
            f"a mixture: {split.n_low} of {n} seeds are far below the others"
            if mixture
            else f"one group that shifts together, as far as {n} seeds show (two equal groups {APART:g} "
            f"standard deviations apart would be seen in {power:.0%} of cases)"
        )
        low = split.n_low if mixture else None
        found.append(SeedGroupRecord(split.at, n, split.share, split.p, low, p, power, mixture, words))
    return found
