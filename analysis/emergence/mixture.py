"""At one size with many seeds: do some seeds have the skill and others not, or do all move together?

The statistic is the largest share of the variance of ln NLL that a cut of the ordered seeds into two groups
explains; its distribution under one normal group is simulated for the same number of seeds.

References: Du et al. 2024, arXiv:2403.15796 (thresholds in loss); Hu et al. 2023, arXiv:2310.03262.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MIN_SEEDS = 16
DRAWS = 4000
LEVEL = 0.05
APART = 5.0  # standard deviations between two equal groups, for the power
SMALLEST_GROUP = 3


def split_share(values: Array) -> tuple[Array, NDArray[np.int64]]:
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


def seed_groups(ln_nll: Array, rng: np.random.Generator, level: float = LEVEL) -> dict[str, Any]:
    """Test of one group against two for the seeds of one size; needs MIN_SEEDS of them."""
    n = len(ln_nll)
    null = split_share(rng.standard_normal((DRAWS, n)))[0]
    share, lower = (found[0] for found in split_share(ln_nll[None]))
    p = float((1 + np.sum(null >= share)) / (1 + DRAWS))
    halves = rng.standard_normal((DRAWS // 4, n)) + APART * (rng.random((DRAWS // 4, n)) < 0.5)
    seen = float(np.mean(split_share(halves)[0] > np.quantile(null, 1 - level)))
    two = p < level
    if two:
        words = f"a mixture: {lower} of {n} seeds are far below the others"
    else:
        words = (
            f"one group that shifts together, as far as {n} seeds show (two equal groups {APART:g} standard "
            f"deviations apart would be seen in {seen:.0%} of cases)"
        )
    return {"n_seeds": n, "share": float(share), "p": p, "n_low": int(lower) if two else None, "power": seen,
            "mixture": two, "words": words}  # fmt: skip
