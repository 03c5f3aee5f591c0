"""Two-step prediction of exact match: size → NLL by the smooth law, NLL → exact match by a sigmoid.

exact = chance + (1 − chance)·exp(−(nll/scale)^steepness). Steepness 1 is the model of independent errors in
1/scale positions; every steepness is a straight line in ln(−ln exact) against ln nll. Least squares on size
means. Both steps are bootstrapped with noise of the size of their residuals, and the band is for the mean
over seeds. Both curves are extrapolated as they are: a jump that has not begun cannot be predicted.

References: Bhagia et al. 2024, arXiv:2412.04403, section 3 (two-step prediction, with another sigmoid);
Schaeffer et al. 2023, arXiv:2304.15004, section 2.
"""

from __future__ import annotations

import numpy as np

from analysis.arrays import Array
from analysis.emergence.statistics.gauss_newton_2d import polish
from analysis.emergence.statistics.smooth_law import SmoothLaw, curve_of
from analysis.intervals import LEVEL
from analysis.records.emergence import ForecastRow

FACTORS = (2.0, 4.0, 8.0)  # sizes to predict, over the largest one
STEEPNESS = np.geomspace(0.3, 6, 25)
SCALES = 30
RISE = 0.05  # range of exact match below which its sigmoid is not determined
MIN_SIZES = 7


class _Sigmoids:
    """Sigmoids in ln NLL with parameters steepness and ln scale, fitted at the sizes of `nll`."""

    def __init__(self, nll: Array, chance: float) -> None:
        self.log, self.chance = np.log(nll), chance
        self.ends = float(self.log.min() - 3), float(self.log.max() + 3)

    def at(self, log_nll: Array, steep: Array, scale: Array) -> Array:
        """Return exact match [sigmoids, sizes] at ln NLL [sizes] or [sigmoids, sizes]."""
        return self._model(log_nll, steep, scale)[0]

    def _model(self, log_nll: Array, steep: Array, scale: Array) -> tuple[Array, Array, Array]:
        """Return exact match and its derivatives with respect to steepness and ln scale."""
        from_scale = log_nll - scale[:, None]
        # exp(−rate) is 0 long before e^50, and its derivative must not become 0·∞.
        rate = np.exp(np.minimum(steep[:, None] * from_scale, 50))
        by_power = -(1 - self.chance) * np.exp(-rate) * rate
        exact = self.chance + (1 - self.chance) * np.exp(-rate)
        return exact, by_power * from_scale, -by_power * steep[:, None]

    def fit(self, exact: Array) -> tuple[Array, Array, Array]:
        """Return steepness, ln scale and residual sum of squares of the best sigmoid of each row."""
        mesh = np.meshgrid(STEEPNESS, np.linspace(*self.ends, SCALES), indexing="ij")
        steep, scale = (part.ravel() for part in mesh)
        shape = self.at(self.log, steep, scale)
        best = np.argmin(np.sum(shape**2, axis=1) - 2 * exact @ shape.T, axis=1)
        low, high = (STEEPNESS[0], self.ends[0]), (STEEPNESS[-1], self.ends[1])
        ones = np.ones(len(self.log))
        return polish(
            exact, ones, lambda a, b: self._model(self.log, a, b), steep[best], scale[best], low, high
        )


def forecast(
    law: SmoothLaw,
    x: Array,
    largest: float,
    exact: Array,
    chance: float,
    rng: np.random.Generator,
    level: float = LEVEL,
) -> tuple[ForecastRow, ...]:
    """Return exact match at FACTORS times the largest size.

    Nothing is predicted if the sizes are too few or exact match has not risen.

    Args:
        law: fitted law of the smooth metric.
        x: positions of the sizes, decades [sizes].
        largest: the largest size, in the unit of the axis.
        exact: exact match, means over seeds [sizes].
        chance: exact match of guessing.
        level: confidence of the band.
    """
    if len(x) < MIN_SIZES or np.ptp(exact) < RISE:
        return ()
    grid = _Sigmoids(law.curve(x), chance)
    steep, scale, rss = grid.fit(exact[None])
    draws, freedom = len(law.draws), len(x) - 2
    # Divided by χ², as the residual variance is estimated from few sizes: the noise is Student's t.
    spread = np.sqrt(float(rss[0]) / rng.chisquare(freedom, draws))[:, None]
    noisy = grid.at(grid.log, steep, scale) + rng.standard_normal((draws, len(x))) * spread
    ahead = x[-1] + np.log10(FACTORS)
    central = grid.at(np.log(law.curve(ahead)), steep, scale)[0]
    each = grid.at(np.log(curve_of(law.draws, ahead - law.origin)), *grid.fit(noisy)[:2])
    low, high = np.quantile(each, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return tuple(
        ForecastRow(factor, float(value), float(a), float(b), at=largest * factor)
        for factor, value, a, b in zip(FACTORS, central, low, high, strict=True)
    )
