"""Without noise every law comes back to 1e-6, and the laws with a special case come back to it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar

from analysis.approaches.parametric import fit_law
from analysis.laws import find_law, law_names
from analysis.tables.table import LossTable, load_table

N, D = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e7, 3e9, 7), np.geomspace(2e8, 1e11, 8)))
UNIQUE = np.minimum(D, 4e9)  # longer runs read their tokens several times
TRUTH = {
    "chinchilla": (1.82, 480.0, 2100.0, 0.35, 0.37),
    "tied": (1.7, 400.0, 1500.0, 0.35),
    "joint": (1.5, 900.0, 4000.0, 0.45, 0.5, 0.6),
    "bounded": (1.6, 900.0, 4000.0, 0.45, 0.5, 4.0),
    "joint_e0": (900.0, 4000.0, 0.45, 0.5, 0.3),
    "kaplan_joint": (8.8e13**0.8, 5.4e13, 0.8, 1.0, 0.095),
    "quadrature": (1.5, 5e4, 9e5, 0.7, 0.75),
    "kaplan_n": (12.0, 0.076),
    "kaplan_d": (25.0, 0.095),
    "kaplan_c": (25.0, 0.05),
    "kaplan_n_offset": (1.5, 90.0, 0.25),
    "kaplan_d_offset": (1.5, 300.0, 0.25),
    "kaplan_c_offset": (1.5, 2000.0, 0.15),
    "overtraining": (1.51, 141.0, 190.0, 0.121),
    "data_constrained": (1.87, 521.0, 1488.0, 0.353, 0.353, 15.4, 5.3),
    "broken_n": (1.5, 200.0, 0.3, 0.1, 2e8, 0.6),
    "broken_d": (1.5, 2000.0, 0.35, 0.15, 3e9, 0.8),
    "broken_c": (1.5, 2000.0, 0.12, 0.05, 1e19, 0.8),
    "saturating(7.2,10.8)": (1.6, 480.0, 2100.0, 0.35, 0.37),
}


def table_of(law: str) -> LossTable:
    loss = find_law(law).value(np.array(TRUTH[law]), N, D, 6 * N * D, UNIQUE)
    return load_table(
        pd.DataFrame({"N": N, "D": D, "loss": loss, "n_unique_tokens": UNIQUE}),
        mapping={"unique": "n_unique_tokens"},
    )


def test_every_law_has_a_truth() -> None:
    assert {name for name in TRUTH if "(" not in name} == set(law_names())


@pytest.mark.parametrize("law", TRUTH)
def test_exact_losses_give_back_the_law(law: str) -> None:
    fit = fit_law(table_of(law), law, estimator="lsq", resamples=0)
    np.testing.assert_allclose(fit.theta, TRUTH[law], rtol=1e-6)
    assert fit.estimation.routes.variable_projection < 1e-9
    assert "routes_disagree" not in [warning.code.value for warning in fit.warnings]


def test_without_repetition_the_data_constrained_law_is_the_additive_one() -> None:
    small = D > 300 * N  # below the size that is optimal for so many tokens
    assert small.sum() > 5
    theta = np.array(TRUTH["data_constrained"])
    np.testing.assert_allclose(
        find_law("data_constrained").value(theta, N[small], D[small]),
        find_law("chinchilla").value(theta[:5], N[small], D[small]),
        rtol=1e-12,
    )


def test_repeated_tokens_are_worth_less_than_new_ones_and_more_than_none() -> None:
    law, theta = find_law("data_constrained"), np.array(TRUTH["data_constrained"])
    n, unique = np.array([1e8]), np.array([4e9])
    once, repeated, new = (
        float(law.value(theta, n, d, None, u)[0])
        for d, u in ((unique, unique), (4 * unique, unique), (4 * unique, 4 * unique))
    )
    assert new < repeated < once
    endless = float(law.value(theta, n, 1e4 * unique, None, unique)[0])
    worth = float(law.value(theta, n, (1 + theta[5]) * unique)[0])  # R_D more times the unique tokens
    assert endless == pytest.approx(worth, rel=1e-4)


def test_the_over_training_law_is_tied_where_compute_is_6nd() -> None:
    e, a, b, eta = TRUTH["overtraining"]
    tied = (e, a * 6**-eta, b * 6**-eta, 2 * eta)
    np.testing.assert_allclose(
        find_law("overtraining").value(np.array(TRUTH["overtraining"]), N, D),
        find_law("tied").value(np.array(tied), N, D),
        rtol=1e-12,
    )


def test_the_over_training_frontier_is_the_minimum_at_fixed_compute() -> None:
    law, theta, compute = find_law("overtraining"), np.array(TRUTH["overtraining"]), 1e21
    closed = law.frontier(theta)
    assert closed is not None

    def loss(log_n: float) -> float:
        n = np.array([np.exp(log_n)])
        return float(law.value(theta, n, compute / (6 * n))[0])

    best = np.exp(minimize_scalar(loss, bounds=(15, 28), method="bounded", options={"xatol": 1e-9}).x)
    assert (closed.a, closed.b) == (0.5, 0.5)
    assert closed.g * (compute / 6) ** 0.5 == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize(("x", "slope"), [(1e2, 0.3), (1e16, 0.1)])
def test_slopes_far_from_the_break(x: float, slope: float) -> None:
    law, theta = find_law("broken_n"), np.array(TRUTH["broken_n"])
    ends = np.array([x, 2 * x])
    fall = np.log(law.value(theta, ends, ends) - theta[0])
    assert (fall[0] - fall[1]) / np.log(2) == pytest.approx(slope, rel=1e-6)
