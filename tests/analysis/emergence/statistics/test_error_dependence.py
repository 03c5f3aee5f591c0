"""Predictors of exact match from the hits of single positions."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.emergence.statistics.error_dependence import Answers, dependence


def masks(right: np.ndarray) -> np.ndarray:
    return np.asarray((right * (1 << np.arange(right.shape[-1]))).sum(axis=-1).astype(np.int64))


def test_masks_become_positions() -> None:
    found = Answers.from_masks(np.array([[0b101, 0b11]]), np.array([3, 2]))
    assert found.right[0].tolist() == [[True, False, True], [True, True, True]]
    assert found.exact.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("seed", range(8))
def test_the_product_is_never_above_the_power(seed: int) -> None:
    """(b) ≤ (a): a geometric mean is not above an arithmetic one."""
    rng = np.random.default_rng(seed)
    length = int(rng.integers(1, 12))
    right = rng.random((3, 60, length)) < rng.uniform(0.2, 1, length)
    sizes = Answers.from_masks(masks(right), np.full(60, length))
    counts = rng.multinomial(60, np.full(60, 1 / 60), 50).astype(float)
    _, power, product = sizes.predictors(counts)
    assert np.all(product <= power + 1e-12)


def test_predictors_of_plain_means() -> None:
    right = np.array([[[True, True], [True, False], [True, True], [False, True]]])
    exact, power, product = Answers.from_masks(masks(right), np.full(4, 2)).predictors(np.ones((1, 4)))
    assert exact[0] == 0.5
    assert power[0] == pytest.approx(0.75**2)
    assert product[0] == pytest.approx(0.75 * 0.75)


def test_independent_errors_have_ratio_one_and_all_positions() -> None:
    rng = np.random.default_rng(1)
    right = rng.random((4, 800, 5)) < 0.8
    found = dependence([Answers.from_masks(masks(right), np.full(800, 5))], rng)
    assert found.rho_interval[0] is not None
    assert found.rho_interval[0][0] < 1 < found.rho_interval[0][1]
    assert found.effective == pytest.approx(5, rel=0.1)


def test_answers_right_or_wrong_as_a_whole_have_one_effective_position() -> None:
    rng = np.random.default_rng(2)
    right = np.repeat(rng.random((2, 500, 1)) < 0.5, 6, axis=2)
    found = dependence([Answers.from_masks(masks(right), np.full(500, 6))], rng)
    assert found.effective == pytest.approx(1, rel=0.05)
    assert found.rho[0] == pytest.approx(2**5, rel=0.4)


def test_hardly_any_hit_gives_no_interval() -> None:
    rng = np.random.default_rng(3)
    right = rng.random((2, 300, 8)) < 0.4
    found = dependence([Answers.from_masks(masks(right), np.full(300, 8))], rng)
    assert found.rho_interval == [None]
    assert found.effective is None
