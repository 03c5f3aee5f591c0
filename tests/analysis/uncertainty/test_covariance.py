"""Gauss–Newton errors against the spread of estimates over simulated tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.approaches.parametric import fit_law
from analysis.laws import find_law
from analysis.solve.problem import Problem
from analysis.tables.table import LossTable, load_table
from analysis.uncertainty.covariance import gauss_newton_cov
from tests.fakes.tables import additive, ladder

TRUTH = np.array([1.8, 480.0, 2000.0, 0.35, 0.37])


def simulated(rng: np.random.Generator, trunk_noise: float = 0.0) -> LossTable:
    """Twelve trunks of five points each, with noise of their own and, where wanted, of their trunk."""
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e7, 1e9, 12), np.geomspace(2e8, 2e10, 5)))
    trunk = np.unique(n, return_inverse=True)[1]
    noise = 0.003 * rng.standard_normal(len(n)) + trunk_noise * rng.standard_normal(12)[trunk]
    loss = find_law("chinchilla").value(TRUTH, n, d) * np.exp(noise)
    frame = pd.DataFrame({"N": n, "D": d, "loss": loss, "trunk": trunk})
    return load_table(frame, mapping={"cluster": "trunk"} if trunk_noise else {})


@pytest.mark.parametrize(
    ("estimator", "trunk_noise", "ends"),
    [
        ("lsq", 0.0, (0.8, 1.2)),
        ("huber", 0.0, (0.75, 1.2)),
        ("lad", 0.0, (0.75, 1.25)),
        ("lsq", 0.006, (0.7, 1.2)),
    ],
)
def test_errors_are_the_spread_of_estimates(
    estimator: str, trunk_noise: float, ends: tuple[float, float]
) -> None:
    """100 estimates: their standard deviation is known to 7 %."""
    estimates, errors = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        problem = Problem(find_law("chinchilla"), simulated(rng, trunk_noise), estimator)
        (theta,) = problem.solve(TRUTH).theta
        cov = gauss_newton_cov(problem, theta)
        assert cov is not None
        estimates.append(theta[[0, 3, 4]])
        errors.append(np.sqrt(np.diag(cov))[[0, 3, 4]])
    ratio = np.median(errors, axis=0) / np.std(estimates, axis=0)
    assert ends[0] < ratio.min() <= ratio.max() < ends[1], ratio


def test_held_parameters_have_no_error_and_few_trunks_no_covariance() -> None:
    fit = fit_law(simulated(np.random.default_rng(0)), "chinchilla[E=1.8]", resamples=0)
    errors = fit.estimation.se_gauss_newton
    assert errors["E"] is None
    assert 0 < errors["alpha"] < 0.05
    few = ladder(additive, np.random.default_rng(0), seeded=())
    assert fit_law(few, resamples=0).estimation.se_gauss_newton is None
