"""The batched solver against scipy, problem by problem."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

from analysis.laws import find_law
from analysis.solve.levenberg_marquardt import huber
from analysis.solve.problem import Problem
from analysis.solve.search import multi_start, variable_projection
from analysis.tables.seed_noise import MAX_TRUNK_SHARE, trunk_share
from tests.fakes.tables import SURFACES, ladder


@pytest.mark.parametrize("estimator", ["huber", "lsq", "lsq_loss"])
@pytest.mark.parametrize(("law", "surface"), [("chinchilla", "additive"), ("joint", "joint_with_offset")])
def test_never_worse_than_scipy(law: str, surface: str, estimator: str) -> None:
    table = ladder(SURFACES[surface], np.random.default_rng(3))
    problem = Problem(find_law(law), table, estimator)
    found = multi_start(problem, np.random.default_rng(0))
    logs = np.array([name in "AB" for name in problem.law.params])

    def residual(z: np.ndarray) -> np.ndarray:
        return problem.residual(np.where(logs, np.exp(np.where(logs, z, 0)), z))

    start = np.where(logs, np.log(np.where(logs, found.theta, 1)), found.theta)
    low = [-50.0 if log else 1e-3 * (name != "E") for log, name in zip(logs, problem.law.params, strict=True)]
    reference = least_squares(
        residual,
        start * 1.02,
        bounds=(low, np.inf),
        loss="huber" if estimator == "huber" else "linear",
        f_scale=1e-3 if estimator == "huber" else 1.0,
        x_scale="jac",
        ftol=1e-15,
        xtol=1e-15,
        gtol=1e-15,
        max_nfev=3000,
    )
    assert found.objective <= reference.cost * (1 + 1e-7)
    assert found.objective == pytest.approx(problem.objective(found.theta), rel=1e-12)


def test_gls_is_least_squares_under_the_covariance_of_shared_noise() -> None:
    table = ladder(SURFACES["joint"], np.random.default_rng(5), seeded=tuple(range(6)))
    problem = Problem(find_law("joint_e0"), table, "gls")
    share = trunk_share(table)
    assert 0.1 < share <= MAX_TRUNK_SHARE
    same_trunk = table.cluster[:, None] == table.cluster[None, :]
    covariance = share * same_trunk + (1 - share) * np.eye(len(table))
    theta = problem.law.starts(table, np.random.default_rng(0), 3)
    residual = problem.residual(theta)
    quadratic = 0.5 * np.einsum("br,rs,bs->b", residual, np.linalg.inv(covariance), residual)
    np.testing.assert_allclose(problem.objective(theta), (1 - share) * quadratic, rtol=1e-10)


def test_the_share_of_noise_common_to_a_trunk_is_recovered() -> None:
    """The ladder's is one half."""
    rng = np.random.default_rng(0)
    shares = [trunk_share(ladder(SURFACES["joint"], rng, seeded=tuple(range(6)))) for _ in range(60)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.06)


def test_gls_sees_only_rows_with_weight() -> None:
    table = ladder(SURFACES["joint"], np.random.default_rng(5))
    mask = table.c <= np.median(table.c)
    whole = Problem(find_law("joint_e0"), table, "gls", shared=0.6)
    half = Problem(find_law("joint_e0"), table.select(mask), "gls", shared=0.6)
    theta = half.law.starts(table, np.random.default_rng(0), 3)
    weights = np.tile(mask.astype(float), (3, 1))
    np.testing.assert_allclose(whole.objective(theta, weights), half.objective(theta), rtol=1e-12)


def test_without_repeated_trunks_gls_is_least_squares() -> None:
    table = ladder(SURFACES["joint"], np.random.default_rng(5), seeded=())
    assert trunk_share(table) == 0.0
    theta = find_law("joint").starts(table, np.random.default_rng(0), 3)
    both = [Problem(find_law("joint"), table, estimator).objective(theta) for estimator in ("gls", "lsq")]
    np.testing.assert_array_equal(*both)


@pytest.mark.parametrize("estimator", ["huber", "lad", "lsq", "lsq_loss"])
@pytest.mark.parametrize("law", ["chinchilla", "joint", "kaplan_d_offset"])
def test_two_routes_end_in_the_same_place(law: str, estimator: str) -> None:
    problem = Problem(
        find_law(law), ladder(SURFACES["joint_with_offset"], np.random.default_rng(5)), estimator
    )
    starts = multi_start(problem, np.random.default_rng(0))
    projection = variable_projection(problem, np.random.default_rng(0))
    assert projection.objective == pytest.approx(starts.objective, rel=3e-3 if estimator == "lad" else 1e-5)


def test_gls_minimum_agrees_with_variable_projection() -> None:
    problem = Problem(find_law("joint_e0"), ladder(SURFACES["joint"], np.random.default_rng(5)), "gls")
    starts = multi_start(problem, np.random.default_rng(0))
    projection = variable_projection(problem, np.random.default_rng(0))
    assert projection.objective == pytest.approx(starts.objective, rel=1e-5)


@pytest.mark.parametrize("law", ["chinchilla", "joint_e0"])
def test_resampled_minima_are_stationary(law: str) -> None:
    """Every refit of a batch must end as low as its own multi-start."""
    table = ladder(SURFACES["joint"], np.random.default_rng(1))
    problem = Problem(find_law(law), table)
    rng = np.random.default_rng(2)
    weights = rng.multinomial(len(table), np.full(len(table), 1 / len(table)), size=20).astype(float)
    near = multi_start(problem, rng).theta
    batch = problem.solve(np.tile(near, (20, 1)), weights)
    starts = problem.law.starts(table, rng, 12)
    for row in range(20):
        alone = problem.solve(starts, np.tile(weights[row], (12, 1)))
        assert batch.objective[row] <= alone.objective.min() * (1 + 1e-2)


def test_exact_data_are_recovered() -> None:
    truth = np.array([1.9, 400.0, 900.0, 0.36, 0.41])
    law = find_law("chinchilla")
    table = ladder(lambda n, d: law.value(truth, n, d), np.random.default_rng(0), noise=0.0)
    found = multi_start(Problem(law, table), np.random.default_rng(0))
    np.testing.assert_allclose(found.theta, truth, rtol=1e-5)


def test_held_parameters_stay() -> None:
    problem = Problem(find_law("chinchilla"), ladder(SURFACES["additive"], np.random.default_rng(0)))
    start = problem.law.starts(problem.table, np.random.default_rng(0), 4)
    free = np.array([True, True, True, False, True])
    assert np.array_equal(problem.solve(start, free=free).theta[:, 3], start[:, 3])


def test_huber_is_quadratic_inside_and_linear_outside() -> None:
    np.testing.assert_allclose(huber(np.array([0.5, -3.0]), 1.0), [0.125, 2.5])
