"""Loss against the learning rate of one parameter group: a parabola, its minimum, and its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.approaches.slice_minimum import parabola_window
from analysis.arrays import Array, Codes
from analysis.tables.seed_noise import Noise

FEWEST_RATES = 3  # that determine a parabola


@dataclass(frozen=True)
class RateCurve:
    """Finished runs of one cell (rung, n_tokens, batch) that differ in one group's peak rate and the seed.

    Attributes:
        rung: size by name.  d_model: width.  n_params_matmul: N.  n_tokens: D, tokens.
        batch_tokens: B, tokens of a batch.
        recipe_rate: rate of the recipe.
        rate, loss, seed: of every run [runs]; loss in nats per token.
        diverged: rates at which a run diverged.
    """

    rung: str
    d_model: int
    n_params_matmul: int
    n_tokens: int
    batch_tokens: int
    recipe_rate: float
    rate: Array
    loss: Array
    seed: Codes
    diverged: tuple[float, ...] = ()

    @property
    def rates(self) -> Array:
        """Rates of the finished runs, each once, ascending."""
        return np.unique(self.rate)

    @property
    def losses(self) -> Array:
        """Geometric mean loss over seeds at each of `rates`, nats per token."""
        return np.array([np.exp(np.log(self.loss[self.rate == rate]).mean()) for rate in self.rates])

    @property
    def edge(self) -> str | None:
        """The end of the rates with the lowest loss, `lowest` or `highest`; None if it lies between."""
        lowest = int(np.argmin(self.losses))
        return {0: "lowest", len(self.rates) - 1: "highest"}.get(lowest)

    @property
    def stopped(self) -> bool:
        """Whether a run above the highest finished rate diverged."""
        return any(rate > self.rates[-1] for rate in self.diverged)


@dataclass(frozen=True)
class Parabola:
    """Parabola ln loss = level + slope·u + curvature·u² with u = ln(rate) − centre.

    Attributes:
        level: mean over the offsets of the seeds.
        slope, curvature, centre: see the formula.
        cov: covariance of (slope, curvature) per unit variance of ln loss.
        sum_squares, dof: sum of squares and degrees of freedom of the residuals.
        window: lowest and highest rate that it was fitted to.
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
        """Position of the minimum, u."""
        return -self.slope / (2 * self.curvature)

    @property
    def rate(self) -> float:
        """Rate at the minimum."""
        return float(np.exp(self.centre + self.vertex))

    @property
    def loss(self) -> float:
        """Loss at the minimum, nats per token."""
        return float(np.exp(self.level - self.slope**2 / (4 * self.curvature)))

    @property
    def interior(self) -> bool:
        """Whether the parabola has a minimum between the rates it was fitted to."""
        return self.curvature > 0 and self.window[0] < self.rate < self.window[1]

    @property
    def half_width(self) -> float:
        """Factor in the rate that costs 1 % of the loss."""
        return float(np.exp(np.sqrt(np.log(1.01) / self.curvature)))

    def se(self, noise: Noise) -> float:
        """Return the standard error of ln(rate) at the minimum, to first order."""
        gradient = np.array([-1.0, -2 * self.vertex]) / (2 * self.curvature)
        return float(noise.sd * np.sqrt(gradient @ self.cov @ gradient))

    def interval(self, noise: Noise, level: float) -> tuple[float, float] | None:
        """Return the confidence interval of the rate at the minimum; None if the curvature is within noise.

        The interval holds every u at which slope + 2·curvature·u = 0 is not rejected at 1 − `level`. It is
        exact for a ratio of normal estimates, for which a symmetric interval is too short.

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
        """Return the relative loss of `rate` above the minimum, and its standard error."""
        u = np.log(rate) - self.centre
        gradient = np.array([u - self.vertex, u**2 - self.vertex**2])
        excess = float(np.expm1(self.curvature * (u - self.vertex) ** 2))
        return excess, float(noise.sd * np.sqrt(gradient @ self.cov @ gradient))


def fit_parabola(curve: RateCurve) -> Parabola | None:
    """Fit a parabola by least squares to the five rates nearest to the lowest loss, or to all if fewer.

    Every seed has an offset of its own, because runs of one seed share data and initialisation. None with
    fewer than three rates, or if the lowest loss lies at an end.
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
