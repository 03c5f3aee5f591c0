"""Frontier: closed form, any cost per token, published reconciliation, flatness, coverage."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.cost import cost_between, six_n
from analysis.frontier import (
    Surface,
    exponent,
    find_frontier,
    flatness,
    local_exponent,
    optimal_allocation,
    optimum,
    table_cost,
)
from analysis.laws import find_law
from analysis.records.warning_codes import WarningCode
from analysis.result import Fit
from analysis.solve.problem import Problem
from analysis.tables.table import LossTable, load_table
from analysis.uncertainty.bootstrap import bootstrap
from harness.recipe.counting import n_params, n_params_body, n_params_matmul, train_flops_token
from harness.recipe.spec import ModelSpec
from harness.records.json_files import to_json
from tests.analysis.approaches.test_isoflop import least_hits
from tests.fakes.surfaces import (
    CHINCHILLA,
    F64,
    SMALL_JOINT,
    TIED,
    Truth,
    exact_exponent,
    foreign_table,
    sweep_points,
)

BUDGETS = np.geomspace(1e18, 1e23, 11)
# Hoffmann et al.'s constants as their TeX source has them; the paper prints them rounded.
HOFFMANN = (1.69337368, 406.401018, 410.722827, 0.33917084, 0.2849083)


def fitted(truth: Truth, table: LossTable, theta: F64 | None = None, samples: F64 | None = None) -> Fit:
    """A fit with the given parameters, the true ones by default, without searching."""
    found = find_law(truth.law)
    values = np.array(truth.theta) if theta is None else theta
    return Fit(
        law=truth.law,
        approach="parametric",
        estimator="given",
        count=table.count,
        nobs=len(table),
        n_clusters=len(table),
        estimates=dict(zip(found.params, values.tolist(), strict=True)),
        level=0.9,
        samples=samples,
    )


def rectangle(noise: float = 0.0, seed: int = 0) -> LossTable:
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e8, 1e10, 6), np.geomspace(2e9, 6.4e10, 6)))
    shocks = noise * np.random.default_rng(seed).standard_normal(len(n))
    loss = CHINCHILLA.loss(n, d) * np.exp(shocks)
    return foreign_table(pd.DataFrame({"n": n, "d": d, "c": 6 * n * d, "loss": loss, "trunk": range(len(n))}))


@pytest.mark.parametrize("truth", [CHINCHILLA, TIED, SMALL_JOINT])
def test_search_meets_the_closed_form(truth: Truth) -> None:
    closed = find_law(truth.law).frontier(np.array(truth.theta))
    assert closed is not None
    n, d, loss = (value[0] for value in optimum(truth.surface(), BUDGETS))
    np.testing.assert_allclose(n, closed.g * (BUDGETS / 6) ** closed.a, rtol=1e-5)
    np.testing.assert_allclose(d, (BUDGETS / 6) ** closed.b / closed.g, rtol=1e-5)
    np.testing.assert_allclose(loss, truth.loss(n, d), rtol=1e-12)
    assert exponent(BUDGETS, n[None])[0] + exponent(BUDGETS, d[None])[0] == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("theta", "published"), [(CHINCHILLA.theta, 0.788), (HOFFMANN, 0.751)])
def test_pearce_and_song_reconciliation(theta: tuple[float, ...], published: float) -> None:
    """Body parameters against 6·N_body·D, with N_total = N_body + 47491·N_body^(1/3) in the law."""
    truth = Truth("chinchilla", theta)
    surface = Surface("body", lambda n, d: truth.loss(n + 47491 * np.cbrt(n), d), six_n, (10, 1e13))
    flops = np.geomspace(1e10, 1e23, 400)
    n = optimum(surface, flops)[0][0]
    inside = (n >= 768) & (n <= 1.5e9)
    assert local_exponent(surface, flops[inside]) == pytest.approx(published, abs=0.003)


def shape(d_model: int) -> ModelSpec:
    return ModelSpec(3, d_model, d_model // 16, 4 * d_model, 512, 128, "gelu", True, True, 1e4, 1e-6)


def test_cost_passes_through_the_rungs() -> None:
    table = load_table(sweep_points(SMALL_JOINT))
    np.testing.assert_allclose(table_cost(table)(table.n) * table.d, table.c, rtol=1e-9)


@pytest.mark.parametrize("count", [n_params, n_params_matmul, n_params_body])
def test_cost_of_larger_models_is_what_their_shape_takes(count: Callable[[ModelSpec], int]) -> None:
    """The quick grid's rungs, and models of up to seven times its largest width."""
    rungs, larger = ([shape(d_model) for d_model in ds] for ds in ([16, 32, 48, 64, 96], [128, 320, 640]))
    n, cost = (np.array([float(of(each)) for each in rungs]) for of in (count, train_flops_token))
    found = cost_between(n, cost)(np.array([float(count(each)) for each in larger]))
    np.testing.assert_allclose(found, [train_flops_token(each) for each in larger], rtol=0.005)


@pytest.mark.parametrize("flops_per_n", [2.0, 6.0, 8.0])
def test_cost_in_proportion_to_size_stays_so(flops_per_n: float) -> None:
    sizes = np.geomspace(1e6, 1e9, 40)
    larger = np.array([2e9, 1e11])
    np.testing.assert_allclose(cost_between(sizes, flops_per_n * sizes)(larger), flops_per_n * larger)


def test_exact_flops_change_the_exponent_and_the_sum() -> None:
    table = load_table(sweep_points(SMALL_JOINT, seed_sd=0.0))
    budgets = np.geomspace(table.c.min() * 4, table.c.max(), 12)
    fit = fitted(SMALL_JOINT, table)
    exact = find_frontier(fit, table, budgets)
    plain = find_frontier(fit, table, budgets, cost=six_n)
    assert exact.a == pytest.approx(exact_exponent(SMALL_JOINT, budgets), abs=0.01)
    assert plain.a == pytest.approx(SMALL_JOINT.a, abs=1e-6)
    assert exact.a > plain.a + 0.005
    assert plain.a + plain.b == pytest.approx(1, abs=1e-9)
    assert exact.a + exact.b > 1.001


def test_flatness_band_holds_losses_within_a_thousandth() -> None:
    surface = CHINCHILLA.surface()
    n, _, loss = (value[0] for value in optimum(surface, BUDGETS))
    band = flatness(surface, BUDGETS, n)
    for column in band.T:
        excess = CHINCHILLA.loss(column, BUDGETS / (6 * column)) / loss - 1
        np.testing.assert_allclose(excess, 1e-3, rtol=0.2)
    assert np.all((band[:, 0] < n) & (n < band[:, 1]))


def test_rows_are_those_of_the_fits_file() -> None:
    table = rectangle()
    rows = find_frontier(fitted(CHINCHILLA, table), table, BUDGETS).rows()
    assert [row.flops for row in rows] == BUDGETS.tolist()
    assert np.isnan([rows[0].n_low, rows[0].d_low, rows[0].loss_low]).all()
    assert all(row.flat_low < row.n_opt < row.flat_high for row in rows)


def test_far_budgets_are_warned_of_wherever_they_are_asked_for() -> None:
    """The curve, its text, its table and the record all say how far beyond the fit a budget lies."""
    table = rectangle()
    fit = fitted(CHINCHILLA, table)
    largest = float(table.c.max())
    far = 3000 * largest
    for known in (replace(fit, largest_c=largest), replace(fit, largest_c=None)):
        for found in (find_frontier(known, table, [largest, far]), find_frontier(known, table, far)):
            assert [warning.code for warning in found.warnings] == [WarningCode.EXTRAPOLATION]
            assert "3,000 times the largest fitted C" in repr(found)
            assert found.frame().factor.max() == pytest.approx(3000)
            assert to_json(found.rows())[-1]["factor"] == pytest.approx(3000)
            assert "3000 times" in found._repr_html_()
    near = find_frontier(fit, table, 29 * largest)
    assert near.warnings == ()
    assert "times" not in repr(near)
    blind = optimal_allocation(replace(fit, largest_c=largest), far)
    assert [warning.code for warning in blind.warnings] == [WarningCode.EXTRAPOLATION]
    assert np.isnan(optimal_allocation(replace(fit, largest_c=None), far).frame().factor.astype(float)).all()


def covered(truths: int, flops: F64, resamples: int = 100) -> dict[str, int]:
    """How often nominal 90 % intervals of the frontier hold the truth at one budget, and of its exponent."""
    n, d, loss = (float(value[0, 0]) for value in optimum(CHINCHILLA.surface(), flops[:1]))
    hits = dict.fromkeys(("n_opt", "d_opt", "loss", "a"), 0)
    for seed in range(truths):
        table = rectangle(noise=0.003, seed=seed)
        problem = Problem(find_law("chinchilla"), table)
        theta = problem.solve(np.array([CHINCHILLA.theta])).theta[0]
        fit = fitted(CHINCHILLA, table, theta, bootstrap(problem, theta, resamples, seed))
        found = find_frontier(fit, table, flops)
        assert found.a_interval is not None
        for name, truth, (low, high) in (
            ("n_opt", n, found.n_interval[0]),
            ("d_opt", d, found.d_interval[0]),
            ("loss", loss, found.loss_interval[0]),
            ("a", CHINCHILLA.a, found.a_interval),
        ):
            hits[name] += low <= truth <= high
    return hits


def test_coverage() -> None:
    hits = covered(100, np.array([1e22, 1e23]))
    assert min(hits.values()) >= least_hits(100, 0.85), hits


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("RUN_SLOW") != "1", reason="takes minutes: set RUN_SLOW=1")
def test_coverage_in_full() -> None:
    hits = covered(600, np.array([1e22, 1e23]), resamples=400)
    assert all(0.85 <= count / 600 <= 0.96 for count in hits.values()), hits
