"""Breakthroughness and linearity of BIG-bench, for comparison only: neither is a test.

Both depend on the number and spacing of the models, and breakthroughness calls smooth curves breakthroughs.

References: Srivastava et al. 2022, arXiv:2206.04615, section 3.4 (linearity and breakthroughness).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from analysis.arrays import Array


def improvement(y: Array) -> float:
    """Return I(y): the range of scores `y` in order of size, negative if the worst comes after the best.

    >>> improvement(np.array([0.0, 0.25, 1.0])), improvement(np.array([1.0, 0.5, 0.0]))
    (1.0, -1.0)
    """
    return float(np.sign(int(np.argmax(y)) - int(np.argmin(y))) * np.ptp(y))


def linearity(y: Array) -> float | None:
    """Return I(y) over the root mean square of the steps between sizes; None if all scores are equal."""
    return _over(y, np.mean)


def breakthroughness(y: Array) -> float | None:
    """Return I(y) over the root median square of the steps; None if half of the steps are 0.

    The median leaves out a single large step, so that a jump scores high.

    >>> steady, leap = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 0.1, 0.2, 3.0])
    >>> print(f"{breakthroughness(steady):.1f} {breakthroughness(leap):.1f}")
    3.0 30.0
    """
    return _over(y, np.median)


def _over(y: Array, middle: Callable[[Array], np.floating[Any]]) -> float | None:
    square = float(middle(np.diff(y) ** 2)) if len(y) > 1 else 0.0
    return improvement(y) / float(np.sqrt(square)) if square > 0 else None
