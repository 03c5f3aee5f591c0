"""Each doubt fires on the table that deserves it, and a good grid is quiet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.approaches.parametric import fit_law
from analysis.frontier import extrapolation_warning
from analysis.laws import find_law
from analysis.records.warning_codes import WarningCode
from analysis.solve.problem import Problem
from analysis.solve.search import multi_start, variable_projection
from analysis.tables.table import LossTable, load_table
from analysis.uncertainty.fit_warnings import (
    condition_number,
    exponents_apart,
    identifiability_warnings,
)

TRUTH = np.array([1.8, 480.0, 900.0, 0.45, 0.3])


def grid(sizes: np.ndarray, tokens: np.ndarray, noise: float = 0.001, truth: np.ndarray = TRUTH) -> LossTable:
    n, d = (axis.ravel() for axis in np.meshgrid(sizes, tokens, indexing="ij"))
    loss = find_law("chinchilla").value(truth, n, d) * np.exp(
        noise * np.random.default_rng(0).standard_normal(len(n))
    )
    return load_table(pd.DataFrame({"N": n, "D": d, "loss": loss}))


GOOD = grid(np.geomspace(1e5, 1e9, 7), np.geomspace(1e7, 1e11, 6))


def codes(table: LossTable, law: str = "chinchilla") -> set[WarningCode]:
    return {warning.code for warning in fit_law(table, law, resamples=0).warnings}


def test_a_good_grid_is_quiet() -> None:
    assert codes(GOOD) == set()


def test_one_ray() -> None:
    """D = 20·N: alpha and beta cannot be told apart."""
    table = GOOD.select(np.ones(len(GOOD), bool))
    sizes = np.geomspace(1e6, 1e9, 10)
    loss = find_law("chinchilla").value(TRUTH, sizes, 20 * sizes)
    ray = replace(
        table.select(np.arange(len(table)) < 10), n=sizes, d=20 * sizes, c=120 * sizes**2, loss=loss * 1.0
    )
    found = codes(ray)
    assert WarningCode.COLLINEAR in found


@pytest.mark.parametrize("seed", range(3))
def test_one_ray_gives_no_confident_exponent(seed: int) -> None:
    sizes = np.geomspace(1e7, 1e10, 12)
    noise = np.exp(0.003 * np.random.default_rng(seed).standard_normal(12))
    loss = find_law("chinchilla").value(TRUTH, sizes, 20 * sizes) * noise
    fit = fit_law(load_table(pd.DataFrame({"N": sizes, "D": 20 * sizes, "loss": loss})), resamples=100)
    assert fit.frontier.a_interval is not None
    assert fit.frontier.a_interval[1] - fit.frontier.a_interval[0] > 0.3
    assert WarningCode.COLLINEAR in {warning.code for warning in fit.warnings}


def test_few_sizes_and_tokens() -> None:
    found = codes(grid(np.geomspace(1e6, 1e7, 3), np.geomspace(1e8, 5e8, 3)))
    assert {WarningCode.FEW_SIZES, WarningCode.FEW_TOKENS} <= found


TIED = np.array([1.7, 400.0, 400.0, 0.34, 0.34])


def valleys(law: str, noise: float, tokens: tuple[float, float], resamples: int, count: int) -> int:
    """In how many tables of a truth with alpha = beta the data do not tell the two apart."""
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(3e7, 3e9, 8), np.geomspace(*tokens, 6)))
    found = 0
    for seed in range(count):
        shocks = noise * np.random.default_rng(seed).standard_normal(len(n))
        loss = find_law("chinchilla").value(TIED, n, d) * np.exp(shocks)
        fit = fit_law(load_table(pd.DataFrame({"N": n, "D": d, "loss": loss})), law, resamples=resamples)
        found += WarningCode.FLAT_VALLEY in {warning.code for warning in fit.warnings}
    return found


@pytest.mark.usefixtures("few_starts_here")
@pytest.mark.parametrize("resamples", [0, 60])
def test_equal_exponents_that_are_known_are_no_flat_valley(resamples: int) -> None:
    """A grid that determines a to some hundredths; the objective hardly tells tied from untied exponents."""
    assert valleys("chinchilla", 0.003, (1e9, 1e11), resamples, 8) == 0


@pytest.mark.usefixtures("few_starts_here")
@pytest.mark.parametrize("resamples", [0, 60])
def test_exponents_that_nobody_can_tell_apart_are_a_flat_valley(resamples: int) -> None:
    assert valleys("chinchilla", 0.015, (1e10, 1e11), resamples, 6) >= 4


def test_unequal_exponents_are_no_flat_valley_however_wide_their_intervals() -> None:
    uneven = grid(
        np.geomspace(1e6, 1e9, 8), np.geomspace(1e9, 1e11, 6), 0.01, np.array([1.7, 4e4, 40, 0.6, 0.2])
    )
    assert WarningCode.FLAT_VALLEY not in codes(uneven)


def test_a_law_of_one_exponent_has_no_valley() -> None:
    problem = Problem(find_law("tied"), GOOD)
    assert exponents_apart(problem, np.array([1.8, 480.0, 900.0, 0.4]), None) is None


@pytest.mark.slow
def test_flat_valleys_in_full() -> None:
    """At most 5 % of well-determined tables, at least 80 % of undetermined ones."""
    assert valleys("chinchilla", 0.004, (1e9, 1e11), 200, 100) <= 5
    assert valleys("joint[gamma=0.5:2]", 0.002, (1e9, 1e11), 200, 40) <= 4
    assert valleys("chinchilla", 0.015, (1e10, 1e11), 200, 100) >= 80


def test_irreducible_loss_far_below_the_data() -> None:
    table = grid(np.geomspace(1e5, 1e6, 6), np.geomspace(1e6, 1e7, 6))
    assert WarningCode.E_NOT_BRACKETED in codes(table)


def test_bound() -> None:
    no_offset = grid(np.geomspace(1e5, 1e9, 6), np.geomspace(1e7, 1e11, 6))
    below = replace(no_offset, loss=no_offset.loss - 1.8 + 1e-3)
    shrunk = replace(below, loss=below.loss**1.1)
    assert WarningCode.ACTIVE_BOUND in codes(shrunk)


def test_few_clusters() -> None:
    table = replace(GOOD, cluster=np.arange(len(GOOD)) % 4)
    assert codes(table) == {WarningCode.FEW_CLUSTERS}


def test_disagreeing_routes_and_lonely_starts() -> None:
    problem = Problem(find_law("chinchilla"), GOOD)
    starts = multi_start(problem, np.random.default_rng(0))
    projection = variable_projection(problem, np.random.default_rng(0))
    stuck = replace(starts, objective=1.01 * starts.objective, agreeing=0.02)
    found = {warning.code for warning in identifiability_warnings(problem, stuck, projection)}
    assert found == {WarningCode.ROUTES_DISAGREE, WarningCode.FEW_STARTS_AGREE}
    apart = replace(projection, theta=projection.theta + np.array([0, 0, 0, 0.05, 0]))
    assert {w.code for w in identifiability_warnings(problem, starts, apart)} == {WarningCode.ROUTES_DISAGREE}


def test_condition_grows_towards_the_ray() -> None:
    near = replace(GOOD, d=20 * GOOD.n * np.exp(0.01 * np.sin(np.arange(len(GOOD)))))
    condition = [condition_number(Problem(find_law("chinchilla"), t), TRUTH) for t in (GOOD, near)]
    assert condition[0] < 100
    assert condition[1] > 10 * condition[0]


@pytest.mark.parametrize(("factor", "warns"), [(29.0, False), (31.0, True)])
def test_extrapolation_beyond_thirty_times(factor: float, warns: bool) -> None:
    found = extrapolation_warning(1e20, factor * 1e20)
    assert (found is not None) == warns
    if found:
        assert found.code is WarningCode.EXTRAPOLATION
