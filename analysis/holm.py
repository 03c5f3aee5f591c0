"""Holm's correction for multiple tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values after Holm's step-down correction, in the given order.

    Tests whose corrected p-value is below a level are rejected. The family-wise error rate, the chance of any
    false rejection, then stays below that level, whether the tests are independent or not.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]

    References: Holm 1979, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6.
    """
    order = np.argsort(p)
    corrected = np.empty(len(p))
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = running
    return [float(value) for value in corrected]
