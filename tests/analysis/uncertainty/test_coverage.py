"""Do nominal intervals cover simulated truths?

The ordinary suite runs few tables and fails only where a true coverage of 86 % is all but ruled out; the slow
tests hold the figures themselves: 200 tables a case know a coverage of 90 % to 2 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.approaches.parametric import stretch_of
from analysis.frontier import six_nd_exponents
from analysis.intervals import percentile_interval
from analysis.laws import find_law
from analysis.solve.problem import Problem
from analysis.solve.search import multi_start
from analysis.tables.table import LossTable, load_table
from analysis.uncertainty.bootstrap import bootstrap
from analysis.uncertainty.one_step import LEAST_ROWS

LEVEL, LEAST, MOST = 0.9, 0.86, 0.94
TABLES, STANDARD_ERROR = 200, 0.02
NAMES = ("alpha", "beta", "E", "a", "loss at 10 C")


@dataclass(frozen=True)
class Truth:
    """A law with parameters (E, A, B, alpha, beta) and the ends of the sizes and token counts of a grid."""

    law: str
    theta: np.ndarray
    n: tuple[float, float] = (3e7, 3e9)
    d: tuple[float, float] = (1e9, 1e11)


SURFACES = {
    "symmetric": Truth("chinchilla", np.array([1.7, 400.0, 400.0, 0.34, 0.34])),
    "chinchilla": Truth("chinchilla", np.array([1.8172, 482.01, 2085.43, 0.3478, 0.3658])),
    "alpha three times beta": Truth("chinchilla", np.array([1.7, 4e4, 40.0, 0.6, 0.2])),
}
SATURATING = Truth(
    "saturating(5.3,6.24)", np.array([1.55, 1860.0, 3200.0, 0.66, 0.58]), (1.7e4, 5e5), (5e5, 1.6e7)
)


def grid(truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Eight sizes × six token counts."""
    axes = np.meshgrid(np.geomspace(*truth.n, 8), np.geomspace(*truth.d, 6))
    return axes[0].ravel(), axes[1].ravel()


def isoflop(truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Six budgets over 1,000 times, seven sizes within four times of each optimum."""
    closed = find_law(truth.law).frontier(truth.theta)
    assert closed is not None
    c = np.repeat(np.geomspace(1e18, 1e21, 6), 7)
    n = closed.g * (c / 6) ** closed.a * np.tile(np.geomspace(0.25, 4, 7), 6)
    return n, c / (6 * n)


DESIGNS = {"grid": grid, "isoflop": isoflop}


def single_runs(truth: Truth, design: str, noise: float, rng: np.random.Generator) -> LossTable:
    """One run a cell, independent noise."""
    n, d = DESIGNS[design](truth)
    loss = find_law(truth.law).value(truth.theta, n, d) * np.exp(noise * rng.standard_normal(len(n)))
    return load_table(pd.DataFrame({"N": n, "D": d, "loss": loss}))


def trunks(truth: Truth, seeds: int, rng: np.random.Generator, noise: float = 0.003) -> LossTable:
    """Eight sizes × five token counts, `seeds` trunks a size; trunk noise as large as that of the cells."""
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(*truth.n, 8), np.geomspace(*truth.d, 5)))
    n, d = np.tile(n, seeds), np.tile(d, seeds)
    trunk = np.unique(n, return_inverse=True)[1] * seeds + np.repeat(np.arange(seeds), 40)
    common = rng.standard_normal(8 * seeds)[trunk]
    loss = find_law(truth.law).value(truth.theta, n, d) * np.exp(
        noise * (common + rng.standard_normal(len(n)))
    )
    return load_table(
        pd.DataFrame({"N": n, "D": d, "loss": loss, "trunk": trunk}), mapping={"cluster": "trunk"}
    )


def quantities(truth: Truth, theta: np.ndarray, table: LossTable) -> np.ndarray:
    """alpha, beta, E, a under C = 6·N·D and the loss at ten times the compute of the true optimum."""
    law = find_law(truth.law)
    (a,) = six_nd_exponents(law, truth.theta[None], table)
    size = np.exp(np.mean(np.log(table.n))) * (table.c.max() / np.exp(np.mean(np.log(table.c)))) ** a
    far = np.array([size * 10**a])
    loss = law.value(theta, far, 10 * table.c.max() / (6 * far))[:, 0]
    return np.stack(
        [theta[:, 3], theta[:, 4], theta[:, 0], six_nd_exponents(law, theta, table), loss], axis=1
    )


def hits(
    truth: Truth, table: LossTable, seed: int, resamples: int, estimator: str, kind: str = "cluster"
) -> list[bool]:
    """Whether each interval of a fit holds the truth; as `fit_law` makes them, without its warnings.

    The minimum next to the truth stands for that of a search, which takes as long as the resamples.
    """
    problem = Problem(find_law(truth.law), table, estimator)
    (theta,) = problem.solve(truth.theta).theta
    samples = bootstrap(problem, theta, resamples, seed, kind)
    draws = quantities(truth, samples, table)
    (true,) = quantities(truth, truth.theta[None], table)
    ends = [percentile_interval(column, LEVEL, stretch_of(problem, kind)) for column in draws.T]
    return [bool(low <= value <= high) for (low, high), value in zip(ends, true, strict=True)]


def not_ruled_out(found: list[list[bool]]) -> dict[str, bool]:
    """With a true coverage of LEAST this is False for one in 1,000 draws of seeds."""
    least = stats.binom.ppf(0.001, len(found), LEAST)
    return dict(zip(NAMES, (np.sum(found, axis=0) >= least).tolist(), strict=True))


def outside(found: list[list[bool]]) -> dict[str, float]:
    """The quantities whose coverage is more than a standard error outside LEAST to MOST."""
    shares = dict(zip(NAMES, np.mean(found, axis=0).tolist(), strict=True))
    return {
        name: share
        for name, share in shares.items()
        if not LEAST - STANDARD_ERROR <= share <= MOST + STANDARD_ERROR
    }


def fits(truth: Truth, tables: list[LossTable], **options: Any) -> list[list[bool]]:
    return [hits(truth, table, seed, **options) for seed, table in enumerate(tables)]


def tables_of(name: str, design: str, noise: float, count: int) -> list[LossTable]:
    truth = SURFACES[name]
    return [single_runs(truth, design, noise, np.random.default_rng(seed)) for seed in range(count)]


POWERS = {  # of N, D or C alone, with the parameters of the truth
    "kaplan_n": (100.0, 0.15),
    "kaplan_d": (100.0, 0.15),
    "kaplan_n_offset": (1.7, 400.0, 0.34),
}


def lines_covered(law: str, rows: int, estimator: str, count: int, resamples: int) -> int:
    """How many intervals of the exponent hold the truth, on rows of one axis over 1,000 times."""
    found = find_law(law)
    theta, at = np.array(POWERS[law]), found.params.index(found.terms[0].exponent)
    x, hits = np.geomspace(1e6, 1e9, rows), 0
    for seed in range(count):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame({law[7].upper(): x, "loss": found.value(theta, x, x)})
        frame["loss"] *= np.exp(0.005 * rng.standard_normal(rows))
        problem = Problem(found, load_table(frame, axes=law[7]), estimator)
        samples = bootstrap(problem, problem.solve(theta).theta[0], resamples, seed)
        ends = percentile_interval(samples[:, at], LEVEL, stretch_of(problem, "cluster"))
        hits += ends is not None and ends[0] <= theta[at] <= ends[1]
    return hits


@pytest.mark.parametrize(("law", "rows"), [("kaplan_n", 7), ("kaplan_d", 5)])
def test_laws_of_one_axis_with_few_rows_are_not_ruled_out(law: str, rows: int) -> None:
    assert lines_covered(law, rows, "huber", 40, 60) >= stats.binom.ppf(0.001, 40, LEAST)


@pytest.mark.slow
@pytest.mark.parametrize("law", POWERS)
@pytest.mark.parametrize("rows", [5, 7, 10, 20])
@pytest.mark.parametrize("estimator", ["huber", "lsq"])
def test_laws_of_one_axis_cover(law: str, rows: int, estimator: str) -> None:
    """With an offset and few rows the intervals are wide and cover more."""
    share = lines_covered(law, rows, estimator, TABLES, 300) / TABLES
    assert share >= LEAST - 2 * STANDARD_ERROR
    assert share <= MOST + STANDARD_ERROR or law.endswith("_offset")


ALL_NAMES = dict.fromkeys(NAMES, True)
CASES = [
    pytest.param("symmetric", "grid", 0.005, "huber", "cluster", id="symmetric"),
    pytest.param("chinchilla", "isoflop", 0.002, "huber", "cluster", id="chinchilla"),
    pytest.param("alpha three times beta", "grid", 0.002, "lsq", "cluster", id="lsq"),
    pytest.param("chinchilla", "isoflop", 0.005, "lsq", "residual", id="residuals"),
]


@pytest.mark.parametrize(("surface", "design", "noise", "estimator", "kind"), CASES)
def test_intervals_are_not_ruled_out(
    surface: str, design: str, noise: float, estimator: str, kind: str
) -> None:
    tables = tables_of(surface, design, noise, 30)
    found = fits(SURFACES[surface], tables, estimator=estimator, kind=kind, resamples=100)
    assert not_ruled_out(found) == ALL_NAMES


# Shared noise is measured where sizes have several trunks, so that is where `gls` differs from least squares.
TRUNKS = pytest.mark.parametrize(("estimator", "seeds"), [("huber", 1), ("gls", 3)])
LAWS = pytest.mark.parametrize(
    "truth", [SURFACES["chinchilla"], SATURATING], ids=["chinchilla", "saturating"]
)


@TRUNKS
@LAWS
def test_intervals_with_shared_noise_are_not_ruled_out(truth: Truth, estimator: str, seeds: int) -> None:
    tables = [trunks(truth, seeds, np.random.default_rng(seed)) for seed in range(30)]
    assert not_ruled_out(fits(truth, tables, estimator=estimator, resamples=100)) == ALL_NAMES


@pytest.mark.slow
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("noise", [0.002, 0.005])
@pytest.mark.parametrize(
    ("estimator", "kind"),
    [("huber", "cluster"), ("huber", "residual"), ("lsq", "cluster"), ("lsq", "residual")],
)
def test_intervals_cover(surface: str, design: str, noise: float, estimator: str, kind: str) -> None:
    tables = tables_of(surface, design, noise, TABLES)
    found = fits(SURFACES[surface], tables, estimator=estimator, kind=kind, resamples=300)
    assert outside(found) == {}


@pytest.mark.slow
@TRUNKS
@LAWS
def test_intervals_with_shared_noise_cover(truth: Truth, estimator: str, seeds: int) -> None:
    tables = [trunks(truth, seeds, np.random.default_rng(seed)) for seed in range(TABLES)]
    assert outside(fits(truth, tables, estimator=estimator, resamples=300)) == {}


@pytest.mark.slow
def test_one_newton_step_keeps_the_level_on_long_tables() -> None:
    """Two thousand separate runs, 200 tables; the draws of fifty refits and 250 steps."""
    truth = SURFACES["chinchilla"]
    problems = [Problem(find_law(truth.law), _long_table(truth, seed)) for seed in range(TABLES)]
    inside = np.zeros(len(truth.theta))
    for seed, problem in enumerate(problems):
        theta = multi_start(problem, np.random.default_rng(seed)).theta
        low, high = np.quantile(bootstrap(problem, theta, 300, seed), [0.05, 0.95], axis=0)
        inside += (low <= truth.theta) & (truth.theta <= high)
    print(dict(zip(find_law(truth.law).params, inside / TABLES, strict=True)))
    assert inside.min() / TABLES >= LEAST - 2 * STANDARD_ERROR
    assert inside.max() / TABLES <= MOST + 2 * STANDARD_ERROR


def _long_table(truth: Truth, seed: int) -> LossTable:
    rng = np.random.default_rng(seed)
    n, d = (np.exp(rng.uniform(*np.log(ends), LEAST_ROWS)) for ends in (truth.n, truth.d))
    loss = find_law(truth.law).value(truth.theta, n, d) * np.exp(0.003 * rng.standard_normal(LEAST_ROWS))
    return load_table(pd.DataFrame({"N": n, "D": d, "loss": loss}))
