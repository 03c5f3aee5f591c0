"""Do nominal intervals cover simulated truths?

The ordinary suite runs few tables and fails only where a true coverage of 85 % is all but ruled out; the
slow test holds the figure itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.bootstrap import bootstrap
from analysis.frontier import six_nd_exponents
from analysis.laws import find_law
from analysis.search import multi_start
from analysis.solver import Problem
from analysis.table import LossTable, load_table


@dataclass(frozen=True)
class Truth:
    """A law with parameters (E, A, B, alpha, beta) and the ends of the sizes and token counts."""

    law: str
    theta: np.ndarray
    n: tuple[float, float]
    d: tuple[float, float]


TRUTHS = {
    "chinchilla": Truth("chinchilla", np.array([1.8, 480.0, 2000.0, 0.35, 0.37]), (1e7, 1e9), (2e8, 2e10)),
    "saturating": Truth(
        "saturating(5.3,6.24)", np.array([1.55, 1860.0, 3200.0, 0.66, 0.58]), (1.7e4, 5e5), (5e5, 1.6e7)
    ),
}
LEVEL, WANTED = 0.9, 0.85
NAMES = ("alpha", "beta", "E", "a")


def simulated(truth: Truth, rng: np.random.Generator, seeds: int, noise: float = 0.003) -> LossTable:
    """Eight sizes × five token counts, `seeds` trunks a size; trunk noise as large as that of the cells."""
    rows = []
    for trunk, n in enumerate(np.repeat(np.geomspace(*truth.n, 8), seeds)):
        common = noise * rng.standard_normal()
        for d in np.geomspace(*truth.d, 5):
            loss = find_law(truth.law).value(truth.theta, np.array([n]), np.array([d]))[0]
            own = noise * rng.standard_normal()
            rows.append({"N": n, "D": d, "loss": loss * np.exp(common + own), "trunk": trunk})
    return load_table(pd.DataFrame(rows), {"cluster": "trunk"})


def quantities(problem: Problem, theta: np.ndarray) -> np.ndarray:
    """alpha, beta, E and a under C = 6·N·D, as fits quote it, of parameter vectors [draws, params]."""
    a = six_nd_exponents(problem.law, theta, problem.table)
    return np.stack([theta[:, 3], theta[:, 4], theta[:, 0], a], axis=-1)


def covered(truth: Truth, estimator: str, seeds: int, tables: int, resamples: int) -> np.ndarray:
    """Whether each interval holds the truth, [tables, quantities]."""
    hits = []
    for seed in range(tables):
        rng = np.random.default_rng(seed)
        problem = Problem(find_law(truth.law), simulated(truth, rng, seeds), estimator)
        theta = multi_start(problem, rng, starts=12).theta
        samples = quantities(problem, bootstrap(problem, theta, resamples, seed))
        low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        (true,) = quantities(problem, truth.theta[None])
        hits.append((low <= true) & (true <= high))
    return np.array(hits)


# Shared noise is measured where sizes have several trunks, so that is where `gls` differs from least squares.
CASES = pytest.mark.parametrize(("estimator", "seeds"), [("huber", 1), ("gls", 3)])


@CASES
@pytest.mark.parametrize("law", TRUTHS)
def test_intervals_are_not_ruled_out(law: str, estimator: str, seeds: int) -> None:
    """With a true coverage of 85 % this fails for none of the four in 99.6 % of draws of seeds."""
    tables = 40
    hits = covered(TRUTHS[law], estimator, seeds, tables, resamples=150)
    least = stats.binom.ppf(0.001, tables, WANTED)
    assert dict(zip(NAMES, hits.sum(axis=0) >= least, strict=True)) == dict.fromkeys(NAMES, True)


@pytest.mark.slow
@CASES
@pytest.mark.parametrize("law", TRUTHS)
def test_intervals_cover(law: str, estimator: str, seeds: int) -> None:
    share = covered(TRUTHS[law], estimator, seeds, 300, resamples=400).mean(axis=0)
    assert dict(zip(NAMES, share >= WANTED, strict=True)) == dict.fromkeys(NAMES, True), share
