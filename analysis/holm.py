"""Holm's correction for multiple tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float]) -> list[float]:
    """Correct p-values so that the chance of any false finding among all tests stays below the level.

    Args:
        p: p-values of the single tests.

    Returns:
        Corrected p-values in the order of `p`: step-down, never smaller than one that came before, at most 1.

    References: Holm 1979, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6.

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p)
    corrected = np.empty(len(p))
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = running
    return [float(value) for value in corrected]
