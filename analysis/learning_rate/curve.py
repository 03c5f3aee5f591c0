"""Loss against the learning rate of one parameter group: a parabola, its minimum, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.approaches.slice_minimum import parabola_window
from analysis.arrays import Array, Codes
from analysis.tables.noise import Noise

FEWEST_RATES = 3  # a parabola needs as many


@dataclass(frozen=True)
class RateCurve:
    """Finished runs of one cell (rung, n_tokens) that differ in one group's peak rate and in the seed.

    Attributes:
        rate, loss, seed: of every run.  recipe_rate: what the recipe uses.
        diverged: rates at which a run diverged.
    """

    rung: str
    d_model: int
    n_params_matmul: int
    n_tokens: int
    recipe_rate: float
    rate: Array
    loss: Array
    seed: Codes
    diverged: tuple[float, ...] = ()

    @property
    def rates(self) -> Array:
        """The rates tried, each once, lowest first."""
        return np.unique(self.rate)

    @property
    def losses(self) -> Array:
        """Geometric mean loss over seeds at each of `rates`."""
        return np.array([np.exp(np.log(self.loss[self.rate == rate]).mean()) for rate in self.rates])

    @property
    def edge(self) -> str | None:
        """Which end of the rates has the lowest loss; None where it lies between."""
        lowest = int(np.argmin(self.losses))
        return {0: "lowest", len(self.rates) - 1: "highest"}.get(lowest)

    @property
    def stopped(self) -> bool:
        """Whether the runs beyond the highest finished rate diverged."""
        return any(rate > self.rates[-1] for rate in self.diverged)


@dataclass(frozen=True)
class Parabola:
    """ln loss = level + slope·u + curvature·u², u = ln(rate) − centre, fitted to the rates of `window`.

    Attributes:
        cov: covariance of (slope, curvature) per unit variance of ln loss.
        sum_squares, dof: of the residuals.  level: mean over the offsets of the seeds.
    """

    level: float
    slope: float
    curvature: float
    centre: float
    cov: Array
    sum_squares: float
    dof: int
    window: tuple[float, float]

    @property
    def vertex(self) -> float:
        """u of the minimum."""
        return -self.slope / (2 * self.curvature)

    @property
    def rate(self) -> float:
        return float(np.exp(self.centre + self.vertex))

    @property
    def loss(self) -> float:
        return float(np.exp(self.level - self.slope**2 / (4 * self.curvature)))

    @property
    def interior(self) -> bool:
        """Whether it has a minimum, between the rates it was fitted to."""
        return self.curvature > 0 and self.window[0] < self.rate < self.window[1]

    @property
    def half_width(self) -> float:
        """Factor in the rate that costs 1 % of the loss."""
        return float(np.exp(np.sqrt(np.log(1.01) / self.curvature)))

    def se(self, noise: Noise) -> float:
        """Standard error of ln(rate) at the minimum, to first order."""
        gradient = np.array([-1.0, -2 * self.vertex]) / (2 * self.curvature)
        return float(noise.sd * np.sqrt(gradient @ self.cov @ gradient))

    def interval(self, noise: Noise, level: float) -> tuple[float, float] | None:
        """Rates at which the parabola may have its minimum; None where its curvature is within the noise.

        The set of u where slope + 2·curvature·u = 0 is not rejected at 1 − `level`: exact for a ratio of
        normal estimates, where a symmetric interval is too short.

        References: Fieller 1954, J. R. Stat. Soc. B 16, 175-185.
        """
        t = float(stats.t.ppf((1 + level) / 2, noise.dof)) * noise.sd
        (var_b, cov_bc), (_, var_c) = self.cov * t**2
        square = 4 * (self.curvature**2 - var_c)
        if self.curvature <= 0 or square <= 0:
            return None
        half = 2 * (self.slope * self.curvature - cov_bc)
        root = np.sqrt(max(half**2 - square * (self.slope**2 - var_b), 0.0))
        low, high = (float(np.exp(self.centre + (-half + sign * root) / square)) for sign in (-1, 1))
        return low, high

    def cost(self, rate: float, noise: Noise) -> tuple[float, float]:
        """Relative loss of `rate` above the minimum, and its standard error."""
        u = np.log(rate) - self.centre
        gradient = np.array([u - self.vertex, u**2 - self.vertex**2])
        excess = float(np.expm1(self.curvature * (u - self.vertex) ** 2))
        return excess, float(noise.sd * np.sqrt(gradient @ self.cov @ gradient))


def fit_parabola(curve: RateCurve) -> Parabola | None:
    """Least squares through the five rates nearest to the lowest loss (all, where there are fewer).

    Every seed has an offset of its own, since runs of one seed share their data and their start. None with
    fewer than three rates or with the lowest loss at an end.
    """
    if len(curve.rates) < FEWEST_RATES or curve.edge:
        return None
    chosen = parabola_window(np.log(curve.rates), np.log(curve.losses))
    used = np.isin(curve.rate, curve.rates[chosen])
    x, y, seeds = np.log(curve.rate[used]), np.log(curve.loss[used]), curve.seed[used]
    centre = float(x.mean())
    u = x - centre
    offsets = (seeds[:, None] == np.unique(seeds)).astype(float)
    design = np.column_stack([u, u**2, offsets])
    found = np.linalg.lstsq(design, y, rcond=None)[0]
    resid = y - design @ found
    return Parabola(
        level=float(found[2:].mean()),
        slope=float(found[0]),
        curvature=float(found[1]),
        centre=centre,
        cov=np.linalg.pinv(design.T @ design)[:2, :2],
        sum_squares=float(resid @ resid),
        dof=len(y) - design.shape[1],
        window=(float(curve.rate[used].min()), float(curve.rate[used].max())),
    )
