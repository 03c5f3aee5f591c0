"""Prediction intervals of the loss, calibrated on rollouts.

Around the predicted log loss at f times the largest fitted compute the variance is
    s² + max(v, k²·(ln f)², m²)

- s: the larger of the seed noise and the standard deviation of the residuals of the fit.
- v: variance of the prediction over the bootstrap.
- k²: growth of the squared rollout errors e inside the fit cells, max(Σ (w·e² − s²)·(ln f)² / Σ (ln f)⁴, 0).
  The weight w = (cells of that rollout's fit − p) / (fitted cells − p) scales an error made from fewer cells.
- m: distance to the prediction of rival laws that the contest could hardly tell from the chosen one.

Rollout errors contain parameter error and lack of fit at once, so the largest of the three counts, not their
sum. The half-width is the root times Student's t with (sizes − 1, at least 2) degrees of freedom. Runs of a
size share the effect of its shape and tuning on the loss, so sizes are independent and runs are not.

tests/analysis/forecast/test_forecast.py measures the coverage 8 to 15 times beyond 16 to 21 fitted cells.
Some of its surfaces follow no candidate law.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.arrays import Array
from analysis.contest.rollout import Rolled, residual_sd, rollout
from analysis.intervals import LEVEL
from analysis.laws import find_law
from analysis.records.fits import RolloutRow
from analysis.result import Fit
from analysis.tables.noise import seed_noise
from analysis.tables.table import LossTable

CENTRAL = 0.9  # share of the bootstrap that its spread is read off, because its tails are heavy


@dataclass(frozen=True)
class Spread:
    """Spread of log loss around a prediction.

    Attributes:
        noise: standard deviation at the fitted computes, s.
        growth: growth per unit of ln f, k.
        dof: degrees of freedom of Student's t.
    """

    noise: float
    growth: float
    dof: int

    def half_width(self, factor: Array, parameter_sd: Array | float, level: float) -> Array:
        """Return the half-width of the interval of log loss at `factor` times the largest fitted compute."""
        beyond = self.growth * np.log(np.maximum(factor, 1.0))
        deviation = np.sqrt(self.noise**2 + np.maximum(parameter_sd, beyond) ** 2)
        return np.asarray(stats.t.ppf((1 + level) / 2, self.dof) * deviation)


@dataclass(frozen=True)
class Interval:
    """Predicted losses and the ends of their intervals [cells], nats per token."""

    predicted: Array
    low: Array
    high: Array


def spread_of(rolled: Sequence[Rolled], noise: float, n_params: int, n_cells: int, n_sizes: int) -> Spread:
    """Calibrate the spread of a fit of `n_cells` cells of `n_sizes` sizes on rollouts inside them."""
    errors = np.array([entry.error for entry in rolled])
    logs = np.log(np.array([entry.factor for entry in rolled]))
    spare = np.array([entry.n_fit - n_params for entry in rolled])
    share = spare / max(n_cells - n_params, 1)
    growth = np.sum((share * errors**2 - noise**2) * logs**2) / np.sum(logs**4) if len(rolled) else 0.0
    return Spread(noise, float(np.sqrt(max(growth, 0.0))), max(n_sizes - 1, 2))


def calibrate(table: LossTable, fit: Fit, rolled: Sequence[Rolled] | None = None) -> Spread:
    """Calibrate the spread of `fit` on its own table: residuals, seed noise and the rollout inside it."""
    pure, dof = seed_noise(table)
    seeds = float(np.sqrt(pure / dof)) if dof else 0.0
    n_free = find_law(fit.law).n_free
    noise = max(seeds, residual_sd(fit.resid, n_free))
    inside = rollout(table, fit.law) if rolled is None else rolled
    return spread_of(inside, noise, n_free, len(np.unique(table.cell)), len(np.unique(table.n)))


def predict_interval(
    fit: Fit,
    spread: Spread,
    n: Array,
    d: Array,
    c: Array,
    level: float = LEVEL,
    rivals: Sequence[Fit] = (),
) -> Interval:
    """Predict the loss of cells, with the interval that one new run falls into.

    Args:
        fit: a parametric fit.  spread: from `calibrate`.
        n, d, c: parameters, tokens and FLOPs of the cells [cells].
        level: nominal share of runs inside the interval.
        rivals: fits of laws that might hold as well; their distance widens the interval.
    """
    predicted = fit.predict(n, d, c)
    parameter_sd = np.zeros_like(predicted)
    if fit.samples is not None:
        logs = np.log(find_law(fit.law).value(fit.samples, n, d, c))
        low, high = np.quantile(logs, [(1 - CENTRAL) / 2, (1 + CENTRAL) / 2], axis=0)
        parameter_sd = (high - low) / (2 * stats.norm.ppf((1 + CENTRAL) / 2))
    for rival in rivals:
        parameter_sd = np.maximum(parameter_sd, np.abs(np.log(rival.predict(n, d, c) / predicted)))
    half = spread.half_width(np.asarray(c) / (fit.largest_c or np.max(c)), parameter_sd, level)
    return Interval(predicted, predicted * np.exp(-half), predicted * np.exp(half))


def rollout_rows(table: LossTable, law: str, level: float = LEVEL) -> list[RolloutRow]:
    """Return the rollout of a law as rows of fits.json.

    The interval of a prediction is calibrated on the rollout inside its own fit cells, without a bootstrap.
    """
    rolled = rollout(table, law)
    n_params = find_law(law).n_free
    rows = []
    for entry in rolled:
        inside = [other for other in rolled if other.c <= entry.c_fit]
        sizes = len(np.unique(table.n[table.c <= entry.c_fit * (1 + 1e-12)]))
        half = None
        if inside:
            spread = spread_of(inside, entry.residual_sd, n_params, entry.n_fit, sizes)
            half = float(spread.half_width(np.array(entry.factor), 0.0, level))
        rows.append(
            RolloutRow(
                law=law,
                c_fit=entry.c_fit,
                n_fit=entry.n_fit,
                factor=entry.factor,
                n_tokens=entry.d,
                rung=table.rung[entry.row] if table.rung else None,
                n_params=entry.n,
                loss=entry.loss,
                predicted=entry.predicted,
                low=None if half is None else entry.predicted * float(np.exp(-half)),
                high=None if half is None else entry.predicted * float(np.exp(half)),
                error=entry.error,
            )
        )
    return rows
