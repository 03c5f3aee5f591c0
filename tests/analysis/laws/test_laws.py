"""Laws: derivatives, starts, units, frontier, and a law that arrives as one more file."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from analysis.approaches.parametric import fit_law
from analysis.laws import LAWS, find_law, law_names
from analysis.laws.law import Term, power_sum
from harness.records.errors import InputError
from tests.fakes.tables import additive, ladder

TABLE = ladder(additive, np.random.default_rng(0))
UNIQUE = np.minimum(TABLE.d, 3e6)  # the longer runs repeat their tokens


def check_jacobian(name: str) -> None:
    law = find_law(name)
    theta = law.starts(TABLE, np.random.default_rng(1), 3)
    jacobian = law.jacobian(theta, TABLE.n, TABLE.d, TABLE.c, UNIQUE)
    for index in range(len(law.params)):
        step = 1e-6 * np.maximum(np.abs(theta[:, index]), 1e-3)
        above, below = theta.copy(), theta.copy()
        above[:, index] += step
        below[:, index] -= step
        ends = (law.value(t, TABLE.n, TABLE.d, TABLE.c, UNIQUE) for t in (above, below))
        difference = np.subtract(*ends) / (2 * step[:, None])
        scale = np.abs(jacobian[..., index]).max()
        np.testing.assert_allclose(difference / scale, jacobian[..., index] / scale, atol=1e-7)


NAMES = [*law_names(), "saturating(5.3,6.2383)"]


@pytest.mark.parametrize("name", NAMES)
def test_jacobian_matches_differences(name: str) -> None:
    check_jacobian(name)


@pytest.mark.parametrize("name", NAMES)
def test_starts_are_finite_and_near_the_losses(name: str) -> None:
    law = find_law(name)
    theta = law.starts(TABLE, np.random.default_rng(0), 50)
    middle = np.median(law.value(theta, TABLE.n, TABLE.d, TABLE.c))
    assert theta.shape == (50, len(law.params))
    assert 0.5 * TABLE.loss.min() < middle < 2 * TABLE.loss.max()


@settings(max_examples=25, deadline=None)
@given(n0=st.floats(1e-3, 1e6), d0=st.floats(1e-3, 1e6))
def test_rescale_is_a_change_of_units(n0: float, d0: float) -> None:
    law = find_law("joint")
    theta = np.array([1.2, 300.0, 900.0, 0.5, 0.6, 0.4])
    changed = law.rescale(theta, {"n": n0, "d": d0, "c": 1.0})
    np.testing.assert_allclose(
        law.value(changed, TABLE.n * n0, TABLE.d * d0), law.value(theta, TABLE.n, TABLE.d), rtol=1e-10
    )


@pytest.mark.parametrize(("name", "gamma"), [("chinchilla", 1.0), ("quadrature", 0.5)])
def test_laws_of_a_fixed_power_are_joint_at_that_gamma(name: str, gamma: float) -> None:
    theta = np.array([1.8, 480.0, 2000.0, 0.35, 0.37])
    both = (
        find_law(name).value(theta, TABLE.n, TABLE.d),
        find_law("joint").value(np.append(theta, gamma), TABLE.n, TABLE.d),
    )
    np.testing.assert_allclose(*both, rtol=1e-14)


@pytest.mark.parametrize("gamma", [0.3, 1.0])
def test_closed_frontier_is_the_minimum_at_fixed_compute(gamma: float) -> None:
    law = find_law("joint")
    theta = np.array([1.0, 480.0, 2000.0, 0.35, 0.45, gamma])
    closed = law.frontier(theta)
    assert closed is not None
    for compute in (1e15, 1e21):

        def loss(log_n: float, compute: float = compute) -> float:
            n = np.array([np.exp(log_n)])
            return float(law.value(theta, n, compute / (6 * n))[0])

        best = minimize_scalar(loss, bounds=(5, 30), method="bounded", options={"xatol": 1e-9}).x
        assert np.exp(best) == pytest.approx(closed.g * (compute / 6) ** closed.a, rel=1e-4)


def test_one_axis_has_no_frontier() -> None:
    assert find_law("kaplan_n").frontier(np.array([1.0, 0.1])) is None


def test_unknown_law_lists_and_suggests() -> None:
    with pytest.raises(
        InputError, match=r"'chinchila'.*did you mean chinchilla\?.*joint, joint_e0, kaplan_c"
    ):
        find_law("chinchila")


def test_a_new_law_is_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = (Term("A", "alpha", "n"), Term("B", "alpha", "d"))
    law = power_sum("tied_test", "E + A·N^-alpha + B·D^-alpha", terms, offset=True)
    monkeypatch.setitem(LAWS, law.name, law)
    fit = fit_law(TABLE, "tied_test", resamples=0)
    assert list(fit.params.index) == ["E", "A", "B", "alpha"]
    check_jacobian("tied_test")
    assert 0.3 < fit.params["alpha"] < 0.5
    assert fit.frontier.a == pytest.approx(0.5)
