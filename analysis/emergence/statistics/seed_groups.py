"""At one size with many seeds: do some seeds have the skill and others not, or do all move together?

The statistic is the largest share of the variance of ln NLL that a cut of the ordered seeds into two groups
explains; its distribution under one normal group is simulated for the same number of seeds. Tests of several
tasks and sizes are corrected for their number.

References: Du et al. 2024, arXiv:2403.15796 (thresholds in loss); Hu et al. 2023, arXiv:2310.03262.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from analysis.arrays import Array, Codes
from analysis.emergence.statistics.sharpness import SIGNIFICANCE
from analysis.holm import holm

MIN_SEEDS = 16
DRAWS = 20_000
APART = 5.0  # standard deviations between two equal groups, for the power
SMALLEST_GROUP = 3


def split_share(values: Array) -> tuple[Array, Codes]:
    """Share of each row's sum of squares that the best cut explains, and how many lie below that cut."""
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
    """The statistic where there is one normal group; the same draws for every task, size and axis."""
    rng = np.random.default_rng(n_seeds)
    return split_share(rng.standard_normal((DRAWS, n_seeds)))[0]


@lru_cache
def _power(n_seeds: int, level: float) -> float:
    """How often two equal groups that lie APART are seen at this level."""
    rng = np.random.default_rng([n_seeds, 2])
    shape = DRAWS // 10, n_seeds
    halves = rng.standard_normal(shape) + APART * (rng.random(shape) < 0.5)
    return float(np.mean(split_share(halves)[0] > np.quantile(_one_group(n_seeds), 1 - level)))


def seed_groups(ln_nll: Array) -> dict[str, Any]:
    """Test of one group against two for the seeds of one size; needs MIN_SEEDS of them."""
    n = len(ln_nll)
    share, below = (float(found[0]) for found in split_share(ln_nll[None]))
    p = float((1 + np.sum(_one_group(n) >= share)) / (1 + DRAWS))
    return {"n_seeds": n, "share": share, "p": p, "n_low": int(below)}


def judged(groups: Sequence[Mapping[str, Any]], significance: float = SIGNIFICANCE) -> list[dict[str, Any]]:
    """What `seed_groups` found for several tasks and sizes, corrected for their number (Holm), in words."""
    found = []
    for group, p in zip(groups, holm([group["p"] for group in groups]), strict=True):
        n, power = group["n_seeds"], _power(group["n_seeds"], significance / len(groups))
        words = (
            f"a mixture: {group['n_low']} of {n} seeds are far below the others"
            if p < significance
            else f"one group that shifts together, as far as {n} seeds show (two equal groups {APART:g} "
            f"standard deviations apart would be seen in {power:.0%} of cases)"
        )
        own = {"p_holm": p, "power": power, "mixture": p < significance, "words": words}
        found.append({**group, "n_low": group["n_low"] if p < significance else None, **own})
    return found
