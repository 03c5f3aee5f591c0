"""Scores that others print, for comparison only: none of them is a test.

Both depend on the number and spacing of the models, and breakthroughness calls smooth curves breakthroughs.

References: Srivastava et al. 2022, arXiv:2206.04615, section 3.4 (linearity and breakthroughness).
"""

from __future__ import annotations

import numpy as np

from analysis.arrays import Array


def improvement(y: Array) -> float:
    """I(y): range of the scores in order of size, signed by whether the best comes after the worst."""
    return float(np.sign(int(np.argmax(y)) - int(np.argmin(y))) * np.ptp(y))


def linearity(y: Array) -> float | None:
    """I(y) over the root mean square of the steps between neighbouring sizes; None without any step."""
    return _over(y, float(np.mean(np.diff(y) ** 2)))


def breakthroughness(y: Array) -> float | None:
    """I(y) over the root median square of the steps; None where half of the steps are 0."""
    return _over(y, float(np.median(np.diff(y) ** 2)))


def _over(y: Array, square: float) -> float | None:
    return improvement(y) / float(np.sqrt(square)) if square > 0 else None
