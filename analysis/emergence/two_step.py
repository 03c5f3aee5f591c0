"""Exact match of larger models in two steps: size → NLL by the smooth law, NLL → exact match by a sigmoid.

exact = chance + (1 − chance)/(1 + exp(slope·(nll − middle))), least squares on size means. Both steps are
bootstrapped with noise of the size of their residuals; the band is for the mean over seeds. It assumes that
both curves go on as they are: a forecast of a jump is not to be had from it.

References: Bhagia et al. 2024, arXiv:2412.04403, section 3 (two-step prediction).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.emergence.smooth_law import LEVEL, SmoothLaw, _curve

Array = NDArray[np.float64]

FACTORS = (2.0, 4.0, 8.0)  # times the largest model
SLOPES = np.geomspace(0.2, 60, 70)  # per nat
MIDDLES = 80
RISE = 0.05  # exact match has to rise so far above chance before it is forecast
MIN_SIZES = 7


@dataclass(frozen=True)
class _Sigmoids:
    """All sigmoids of a grid at given NLL."""

    slope: Array
    middle: Array
    chance: float

    @staticmethod
    def over(nll: Array, chance: float) -> _Sigmoids:
        middles = np.linspace(0.0, 1.3 * float(nll.max()), MIDDLES)
        slope, middle = (part.ravel() for part in np.meshgrid(SLOPES, middles, indexing="ij"))
        return _Sigmoids(slope, middle, chance)

    def at(self, nll: Array, which: Any = slice(None)) -> Array:
        """Exact match, shape (sigmoids, sizes)."""
        z = self.slope[which, None] * (nll - self.middle[which, None])
        return np.asarray(self.chance + (1 - self.chance) / (1 + np.exp(np.clip(z, -500, 500))))

    def fit(self, nll: Array, exact: Array) -> tuple[NDArray[np.int64], Array]:
        """The best sigmoid of each row of `exact`, and its residual sum of squares."""
        shape = self.at(nll)
        rss = np.sum(exact**2, axis=1)[:, None] - 2 * exact @ shape.T + np.sum(shape**2, axis=1)
        best = np.argmin(rss, axis=1)
        return best, np.maximum(rss[np.arange(len(exact)), best], 0.0)


def forecast(
    law: SmoothLaw, x: Array, exact: Array, chance: float, rng: np.random.Generator, level: float = LEVEL
) -> list[dict[str, float]]:
    """Exact match at FACTORS times the largest size; empty where it has not risen or sizes are few."""
    if len(x) < MIN_SIZES or not float(exact.max()) > chance + RISE:
        return []
    nll = law.curve(x)
    grid = _Sigmoids.over(nll, chance)
    best, rss = grid.fit(nll, exact[None])
    freedom = len(x) - 2
    draws = len(law.draws)
    scale = np.sqrt(float(rss[0]) / rng.chisquare(freedom, draws))[:, None]
    noisy = grid.at(nll, best) + rng.standard_normal((draws, len(x))) * scale
    drawn = grid.fit(nll, noisy)[0]
    ahead = x[-1] + np.log10(FACTORS)
    central = grid.at(law.curve(ahead), best)[0]
    each = _curve(law.draws, ahead - law.origin)
    z = grid.slope[drawn, None] * (each - grid.middle[drawn, None])
    spread = chance + (1 - chance) / (1 + np.exp(np.clip(z, -500, 500)))
    low, high = np.quantile(spread, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [
        {"factor": f, "exact": float(e), "low": float(a), "high": float(b)}
        for f, e, a, b in zip(FACTORS, central, low, high, strict=True)
    ]
