"""The law of a smooth metric along one axis: nll = E + A·10^(−alpha·x), x in decades, E ≥ 0.

Least squares in ln nll on size means. Only the level is linear there, so the two shape numbers (alpha, and
the share of E in the curve at its middle) are searched on a grid and polished, for all draws at once. The
intervals are a parametric bootstrap: noise of the size of the residuals is laid on the fitted curve and the
curve fitted again; their coverage is tested in tests/analysis/emergence/statistics/test_coverage.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.arrays import Array
from analysis.emergence.statistics.gauss_newton_2d import polish
from analysis.result import LEVEL

ALPHAS = np.geomspace(0.01, 6, 45)  # per decade of the axis, as powers of 10
FLOORS = np.concatenate([[0.0], np.geomspace(0.02, 0.98, 13)])  # share of E at the middle of the axis
DRAWS = 300
FREE = 3
MIN_VALUES = 4  # sizes below which there is no law
KEEP = 0.1  # p-value of the F test above which the floor is not needed


@dataclass(frozen=True)
class SmoothLaw:
    """E + A·10^(−alpha·x) with draws of a bootstrap.

    Attributes:
        params: (E, A, alpha); E and A in nats per token, x counted in decades from `origin`.
        draws: the same by bootstrap, shape (draws, 3).
        residual_sd: of ln nll, with three degrees of freedom spent.
        mixed: whether every other draw, from the first on, is of the law without E.
    """

    params: Array
    draws: Array
    origin: float
    residual_sd: float
    mixed: bool

    def curve(self, x: Array) -> Array:
        """nats per token at x decades."""
        return curve_of(self.params[None], x - self.origin)[0]

    def band(self, x: Array, level: float = LEVEL) -> tuple[Array, Array]:
        """Where the curve itself may lie at `x` with share `level`."""
        drawn = np.log(curve_of(self.draws, x - self.origin)) - np.log(self.curve(x))
        return _around(np.log(self.curve(x)), drawn, level)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Of alpha, by percentiles; where E is not needed, the union of those with and without it."""
        ends = [(1 - level) / 2, (1 + level) / 2]
        alpha = self.draws[:, 2]
        parts = [alpha[::2], alpha[1::2]] if self.mixed else [alpha]
        low, high = zip(*(np.quantile(part, ends) for part in parts), strict=True)
        return float(min(low)), float(max(high))


def _around(centre: Array, deviations: Array, level: float) -> tuple[Array, Array]:
    low, high = np.quantile(deviations, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.exp(centre + low), np.exp(centre + high)


def curve_of(params: Array, x: Array) -> Array:
    """E + A·10^(−alpha·x) of each row (E, A, alpha) of `params`, shape (draws, sizes)."""
    e, a, alpha = (params[:, i, None] for i in range(3))
    return np.asarray(e + a * 10 ** (-alpha * x))


def fit_smooth_law(
    x: Array, ln_nll: Array, weight: Array, rng: np.random.Generator, draws: int = DRAWS
) -> SmoothLaw:
    """Fit size means `ln_nll` at `x` decades; `weight` is the number of seeds of each.

    Where a floor is not needed (F test), every other draw comes from the straight line without one: E ≥ 0
    alone would push alpha up and leave the intervals too short on that side.
    """
    origin = float(x.mean())
    grid = _Shapes(x - origin, weight)
    params, rss = grid.fit(ln_nll[None])
    freedom = max(len(x) - FREE, 1)
    sd = float(np.sqrt(rss[0] / freedom))  # of one seed where weights count seeds
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
    """The curve with noise: Student's t rather than normal, as its size is estimated from few residuals."""
    scale = np.sqrt(freedom / rng.chisquare(freedom, draws))[:, None]
    return np.asarray(curve + rng.standard_normal((draws, len(curve))) * scale * sd / np.sqrt(weight))


class _Shapes:
    """ln of every curve of the grid, freed of its level."""

    def __init__(self, x: Array, weight: Array) -> None:
        self.x, self.weight = x, weight
        alpha, floor = (grid.ravel() for grid in np.meshgrid(ALPHAS, FLOORS, indexing="ij"))
        self.alpha, self.floor = alpha, floor
        self.shape = np.log(floor[:, None] + (1 - floor[:, None]) * 10 ** (-alpha[:, None] * x))
        self.free = self._freed(self.shape)
        self.size = np.sum(self.free**2 * weight, axis=1)

    def _freed(self, y: Array) -> Array:
        return np.asarray(y - (y @ self.weight / self.weight.sum())[:, None])

    def fit(self, y: Array) -> tuple[Array, Array]:
        """Parameters, shape (draws, 3), and residual sums of squares of each row of `y`."""
        rest = self._freed(y)
        distance = self.size - 2 * (rest * self.weight) @ self.free.T
        best = np.argmin(distance, axis=1)
        ends = (float(ALPHAS[0]), 0.0), (float(ALPHAS[-1]), float(FLOORS[-1]))
        start = self.alpha[best], self.floor[best]
        alpha, floor, rss = polish(rest, self.weight, self._model, *start, *ends)
        shape = np.log(floor[:, None] + (1 - floor[:, None]) * 10 ** (-alpha[:, None] * self.x))
        scale = np.exp((y - shape) @ self.weight / self.weight.sum())
        return np.stack([scale * floor, scale * (1 - floor), alpha], axis=1), rss

    def line(self, y: Array) -> tuple[Array, Array]:
        """The same with E = 0: a straight line."""
        rest = self._freed(y)
        free = self.x - self.x @ self.weight / self.weight.sum()
        slope = rest @ (self.weight * free) / np.sum(self.weight * free**2)
        level = y @ self.weight / self.weight.sum() - slope * (self.x @ self.weight) / self.weight.sum()
        rss = np.sum((rest - slope[:, None] * free) ** 2 * self.weight, axis=1)
        return np.stack([np.zeros(len(y)), np.exp(level), -slope / np.log(10)], axis=1), rss

    def _model(self, alpha: Array, floor: Array) -> tuple[Array, Array, Array]:
        """ln of the curve and its derivatives by alpha and the floor, freed of their levels."""
        power = 10 ** (-alpha[:, None] * self.x)
        curve = floor[:, None] + (1 - floor[:, None]) * power
        by_alpha = -np.log(10) * self.x * (1 - floor[:, None]) * power / curve
        return self._freed(np.log(curve)), self._freed(by_alpha), self._freed((1 - power) / curve)


def improves(x: Array, y: Array, weight: Array) -> float:
    """One-sided p-value that `y` falls along `x`: Student's t of the slope of a weighted line."""
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
