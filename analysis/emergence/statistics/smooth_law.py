"""Power law with an offset for a smooth metric: nll = E + A·10^(−alpha·x), x in decades, E ≥ 0.

Weighted least squares in ln nll on size means. Only the level is linear in ln nll. The two shape parameters
are alpha and the share of E at the centre of the axis. They start at the best point of a grid, and
Gauss-Newton refines them for all draws at once. Intervals are a parametric bootstrap: noise of the size of
the residuals is added to the fitted curve, which is then fitted again. Their coverage is tested in
tests/analysis/emergence/statistics/test_coverage.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.arrays import Array
from analysis.emergence.statistics.gauss_newton_2d import polish
from analysis.intervals import LEVEL

ALPHAS = np.geomspace(0.01, 6, 45)  # exponents
FLOORS = np.concatenate([[0.0], np.geomspace(0.02, 0.98, 13)])  # share of E at the centre of the axis
DRAWS = 300
FREE = 3  # parameters
MIN_VALUES = 4  # sizes that a law with three parameters needs
KEEP = 0.1  # p-value of the F test above which E is not needed


@dataclass(frozen=True)
class SmoothLaw:
    """Fitted law E + A·10^(−alpha·(x − origin)) with its bootstrap.

    Attributes:
        params: (E, A, alpha); E and A in nats per token, alpha per decade.
        draws: bootstrap estimates of params [draws, 3].
        origin: centre of the sizes, decades.
        residual_sd: standard deviation of the residuals of ln nll, on sizes − 3 degrees of freedom.
        mixed: whether draws 0, 2, 4, … come from the law without E.
    """

    params: Array
    draws: Array
    origin: float
    residual_sd: float
    mixed: bool

    def curve(self, x: Array) -> Array:
        """Return the prediction at `x` decades, nats per token."""
        return curve_of(self.params[None], x - self.origin)[0]

    def band(self, x: Array, level: float = LEVEL) -> tuple[Array, Array]:
        """Return the pointwise confidence band of the curve at `x` decades, nats per token."""
        drawn = np.log(curve_of(self.draws, x - self.origin)) - np.log(self.curve(x))
        return _around(np.log(self.curve(x)), drawn, level)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return the percentile interval of alpha; the union of both laws if E is not needed."""
        ends = [(1 - level) / 2, (1 + level) / 2]
        alpha = self.draws[:, 2]
        parts = [alpha[::2], alpha[1::2]] if self.mixed else [alpha]
        low, high = zip(*(np.quantile(part, ends) for part in parts), strict=True)
        return float(min(low)), float(max(high))


def _around(centre: Array, deviations: Array, level: float) -> tuple[Array, Array]:
    """Return the band of percentiles about a centre, both in logarithms, on the scale of the metric."""
    low, high = np.quantile(deviations, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.exp(centre + low), np.exp(centre + high)


def curve_of(params: Array, x: Array) -> Array:
    """Return E + A·10^(−alpha·x) for each row (E, A, alpha) of `params` [draws, sizes]."""
    e, a, alpha = (params[:, i, None] for i in range(3))
    return np.asarray(e + a * 10 ** (-alpha * x))


def fit_smooth_law(
    x: Array, ln_nll: Array, weight: Array, rng: np.random.Generator, draws: int = DRAWS
) -> SmoothLaw:
    """Fit the law to size means and bootstrap it.

    If an F test says that E is not needed, every other draw comes from the pure power law. With draws under
    E ≥ 0 only, alpha is biased upwards and the lower end of its interval is too high.

    Args:
        x: positions of the sizes, decades [sizes].
        ln_nll: means of ln NLL over seeds [sizes].
        weight: number of seeds [sizes].
    """
    origin = float(x.mean())
    grid = _Shapes(x - origin, weight)
    params, rss = grid.fit(ln_nll[None])
    freedom = max(len(x) - FREE, 1)
    sd = float(np.sqrt(rss[0] / freedom))  # of one seed, because weights count seeds
    drawn = grid.fit(_noisy(np.log(curve_of(params, x - origin)[0]), sd, weight, freedom, rng, draws))[0]
    line, line_rss = grid.line(ln_nll[None])
    needless = (line_rss[0] - rss[0]) * freedom <= rss[0] * stats.f.ppf(1 - KEEP, 1, freedom)
    if needless:
        line_sd = float(np.sqrt(line_rss[0] / (freedom + 1)))
        straight = np.log(curve_of(line, x - origin)[0])
        drawn[::2] = grid.line(_noisy(straight, line_sd, weight, freedom + 1, rng, draws))[0][::2]
    return SmoothLaw(params[0], drawn, origin, sd / float(np.sqrt(weight.mean())), bool(needless))


def _noisy(
    curve: Array, sd: float, weight: Array, freedom: int, rng: np.random.Generator, draws: int
) -> Array:
    """Add noise to a curve: Student's t, not normal, because its scale is estimated from few residuals."""
    scale = np.sqrt(freedom / rng.chisquare(freedom, draws))[:, None]
    return np.asarray(curve + rng.standard_normal((draws, len(curve))) * scale * sd / np.sqrt(weight))


class _Shapes:
    """Grid of ln curves, centred: least squares over the level is done by subtracting the weighted mean."""

    def __init__(self, x: Array, weight: Array) -> None:
        self.x, self.weight = x, weight
        alpha, floor = (grid.ravel() for grid in np.meshgrid(ALPHAS, FLOORS, indexing="ij"))
        self.alpha, self.floor = alpha, floor
        self.shape = np.log(floor[:, None] + (1 - floor[:, None]) * 10 ** (-alpha[:, None] * x))
        self.free = self._freed(self.shape)
        self.size = np.sum(self.free**2 * weight, axis=1)

    def _freed(self, y: Array) -> Array:
        """Subtract the weighted mean of each row."""
        return np.asarray(y - (y @ self.weight / self.weight.sum())[:, None])

    def fit(self, y: Array) -> tuple[Array, Array]:
        """Return parameters [draws, 3] and residual sums of squares [draws] of the rows of `y`."""
        rest = self._freed(y)
        # The squared distance to each grid curve, less |rest|², which is the same for all of them.
        distance = self.size - 2 * (rest * self.weight) @ self.free.T
        best = np.argmin(distance, axis=1)
        ends = (float(ALPHAS[0]), 0.0), (float(ALPHAS[-1]), float(FLOORS[-1]))
        start = self.alpha[best], self.floor[best]
        alpha, floor, rss = polish(rest, self.weight, self._model, *start, *ends)
        shape = np.log(floor[:, None] + (1 - floor[:, None]) * 10 ** (-alpha[:, None] * self.x))
        scale = np.exp((y - shape) @ self.weight / self.weight.sum())
        return np.stack([scale * floor, scale * (1 - floor), alpha], axis=1), rss

    def line(self, y: Array) -> tuple[Array, Array]:
        """Return the same for E = 0, a straight line in ln nll."""
        rest = self._freed(y)
        free = self.x - self.x @ self.weight / self.weight.sum()
        slope = rest @ (self.weight * free) / np.sum(self.weight * free**2)
        level = y @ self.weight / self.weight.sum() - slope * (self.x @ self.weight) / self.weight.sum()
        rss = np.sum((rest - slope[:, None] * free) ** 2 * self.weight, axis=1)
        return np.stack([np.zeros(len(y)), np.exp(level), -slope / np.log(10)], axis=1), rss

    def _model(self, alpha: Array, floor: Array) -> tuple[Array, Array, Array]:
        """Return the centred ln curve and its derivatives with respect to alpha and the share of E."""
        power = 10 ** (-alpha[:, None] * self.x)
        curve = floor[:, None] + (1 - floor[:, None]) * power
        by_alpha = -np.log(10) * self.x * (1 - floor[:, None]) * power / curve
        return self._freed(np.log(curve)), self._freed(by_alpha), self._freed((1 - power) / curve)


def improves(x: Array, y: Array, weight: Array) -> float:
    """Return the one-sided p-value of a falling slope: Student's t of a weighted line of `y` on `x`.

    >>> x = np.arange(5.0)
    >>> round(improves(x, np.array([4.0, 3.1, 1.9, 1.1, 0.0]), np.ones(5)), 5)
    3e-05
    >>> improves(x, x, np.ones(5))
    1.0
    """
    k = len(x)
    if k < 3:
        return 1.0
    centred = x - np.average(x, weights=weight)
    size = float(np.sum(weight * centred**2))
    slope = float(np.sum(weight * centred * y)) / size
    rest = y - np.average(y, weights=weight) - slope * centred
    error = np.sqrt(float(np.sum(weight * rest**2)) / (k - 2) / size)
    if error == 0:
        return 0.0 if slope < 0 else 1.0
    return float(stats.t.cdf(slope / error, k - 2))
