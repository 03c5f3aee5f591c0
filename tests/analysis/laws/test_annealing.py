"""Whole-curve laws: derivatives, limits, and schedules in few knots."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from analysis.laws.annealing import CURVE_LAWS, Schedule

COSINE = 3e-4 * (0.55 + 0.45 * np.cos(np.pi * np.linspace(0, 1, 20_001)))
WARM_UP = 3e-4 * np.minimum(1.0, np.arange(20_001) / 1_000)
KERNELS = {"multi_power": (2.0, 0.6, 0.6), "stretched": (2.0, 0.4, 0.25), "momentum": (700.0,)}
STEPS = np.arange(1_200, 20_001, 470)


def theta_of(name: str, b: float = 400.0) -> np.ndarray:
    return np.array([3.0, 0.5, 0.5, b, *KERNELS[name]])


@pytest.mark.parametrize("name", CURVE_LAWS)
def test_slopes_are_the_derivatives(name: str) -> None:
    law, theta = CURVE_LAWS[name], theta_of(name)
    seen = Schedule.compressed(np.minimum(WARM_UP, COSINE), STEPS).at(STEPS)
    _, slope = law.loss_and_slope(theta, seen)
    for column, change in enumerate(np.diag(1e-6 * theta)):
        numeric = (law.loss(theta + change, seen) - law.loss(theta - change, seen)) / (2 * change.sum())
        assert slope[:, column] == pytest.approx(numeric, rel=1e-4, abs=1e-9), law.params[column]


@pytest.mark.parametrize("name", CURVE_LAWS)
def test_a_constant_rate_leaves_the_power_law_of_the_sum(name: str) -> None:
    seen = Schedule.compressed(np.full(20_001, 3e-4), STEPS).at(STEPS)
    expected = 3.0 + 0.5 * (3e-4 * (STEPS + 1.0)) ** -0.5
    assert CURVE_LAWS[name].loss(theta_of(name), seen) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", CURVE_LAWS)
def test_a_schedule_in_few_knots_gives_the_loss_of_all_steps(name: str) -> None:
    """Every step is a knot on one side, about 240 of 20,001 on the other."""
    law, theta = CURVE_LAWS[name], theta_of(name)
    rate = np.where(np.arange(20_001) < 15_000, np.minimum(WARM_UP, COSINE), 2e-5)
    exact = Schedule(np.arange(20_001.0), rate, np.cumsum(rate))
    few = Schedule.compressed(rate, STEPS)
    assert len(few.steps) < 800
    assert law.loss(theta, few.at(STEPS)) == pytest.approx(law.loss(theta, exact.at(STEPS)), abs=2e-4)


def test_the_momentum_law_is_the_sum_of_the_paper() -> None:
    """S2 = Σ_i m_i, m_i = lambda·m_(i-1) + η_(i-1) − η_i (Tissue et al., equation 1)."""
    tau, c = 200.0, 1.5
    rate = np.where(np.arange(3_001) < 1_500, 3e-4, 5e-5)
    momentum, total = 0.0, 0.0
    for before, behind in itertools.pairwise(rate):
        momentum = np.exp(-1 / tau) * momentum + before - behind
        total += momentum
    theta = np.array([3.0, 0.0, 0.5, c * tau, tau])
    found = CURVE_LAWS["momentum"].loss(theta, Schedule.compressed(rate).at([3_000]))[0]
    assert 3.0 - found == pytest.approx(c * total, rel=0.005)


def test_logged_rates_are_joined_by_lines() -> None:
    rising = Schedule.logged([10, 20, 30], [0.5, 1.0, 1.0])
    assert rising.steps.tolist() == [0, 10, 20, 30]
    assert rising.lr_sum.tolist() == [0, 2.5, 10, 20]
    assert Schedule.logged([10, 20], [1.0, 0.5]).lr_sum.tolist() == [0, 10, 17.5]
