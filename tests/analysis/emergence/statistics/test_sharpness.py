"""The ramp test and the width of a fall: size on smooth curves, power on jumps, what they are blind to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.emergence.statistics.sharpness import (
    JUMP,
    Design,
    cache_folder,
    critical_value,
    null_of,
    p_values,
)
from analysis.emergence.statistics.width import NARROW, JumpGrid
from tests.fakes.emergence import Truth, jump, power_law, quadratic, saturation, sizes

X = np.log10(sizes() / sizes()[0])
DESIGN = Design(X, np.full(len(X), 5.0))
SD = 0.1 / np.sqrt(5)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALING_CACHE", str(tmp_path))


def noisy(curve: np.ndarray, draws: int, seed: int = 0) -> np.ndarray:
    return np.asarray(curve + SD * np.random.default_rng(seed).standard_normal((draws, len(curve))))


@pytest.mark.parametrize("floor", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0])
def test_smooth_laws_are_rejected_no_more_often_than_the_level(alpha: float, floor: float) -> None:
    y = noisy(power_law(alpha, 1.5, floor)(X), 1500)
    assert np.mean(p_values(DESIGN, y, 0, draws=4000)[1] < 0.05) <= 0.06


@pytest.mark.parametrize("truth", [quadratic(0, 1), quadratic(0.5, 2), saturation(0.2), saturation(0.8)])
def test_laws_that_bend_are_rejected_no_more_often_than_the_level(truth: Truth) -> None:
    """A quadratic with its vertex at the smallest size is the worst smooth truth: its bound is active."""
    assert np.mean(p_values(DESIGN, noisy(truth(X), 1500), 0, draws=4000)[1] < 0.05) <= 0.07


def test_a_quadratic_that_rises_first_is_no_smooth_law() -> None:
    """A plateau and a late fall would else be taken for a quadratic whose vertex lies between the sizes."""
    late = noisy(jump(3.0, 1.2, 0.9)(X), 200)
    assert np.mean(p_values(DESIGN, late, 0, draws=4000)[1] < 0.05) >= 0.95


@pytest.mark.parametrize(("drop", "centre"), [(1.0, 0.75), (1.5, 0.5), (2.0, 1.0)])
def test_jumps_are_found_and_are_narrow(drop: float, centre: float) -> None:
    y = noisy(jump(drop, centre)(X), 400)
    found = DESIGN.statistic(y) > critical_value(DESIGN, 0.05, 0, draws=4000)
    assert np.mean(found & (JumpGrid(DESIGN).fit(y).upper < NARROW)) >= 0.9


@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_place_and_share_of_a_jump_on_a_slope(alpha: float) -> None:
    found = JumpGrid(DESIGN).fit(jump(2.0, 0.75, 0.2, alpha=alpha)(X)[None])
    assert found.centre[0] == pytest.approx(0.75, abs=0.03)
    assert found.height[0] == pytest.approx(2.0, rel=0.03)
    assert found.share[0] == pytest.approx(2 / (2 + alpha * np.log(10) * np.ptp(X)), abs=0.02)


def test_a_share_is_never_above_the_whole() -> None:
    rng = np.random.default_rng(3)
    found = JumpGrid(DESIGN).fit(rng.standard_normal((300, len(X))).cumsum(axis=1))
    assert np.all((found.share >= 0) & (found.share <= 1 + 1e-9))


def test_the_largest_jump_that_a_curve_allows() -> None:
    """Its limit lies above the true jump in 95 % of cases and, without a jump, close to nothing."""
    limits = [DESIGN.largest(y) for y in noisy(jump(1.0, 0.75, JUMP, alpha=0.3)(X), 300)]
    assert np.mean(np.array(limits) >= 1) >= 0.92
    assert np.median([DESIGN.largest(y) for y in noisy(power_law(0.5, 1.0)(X), 100)]) < 0.4


def test_the_result_does_not_depend_on_units() -> None:
    y = noisy(jump(1.0, 0.75)(X), 1)[0]
    other = Design(X + 6, DESIGN.weight)
    assert other.statistic(y[None] * 3 + 2) == pytest.approx(DESIGN.statistic(y[None]))
    for found, expected in zip(
        p_values(other, y[None], 0, 1000), p_values(DESIGN, y[None], 0, 1000), strict=True
    ):
        assert found == pytest.approx(expected)


def test_simulated_nulls_are_kept_by_design_and_seed(tmp_path: Path) -> None:
    first = null_of(DESIGN, 0, 500)
    assert len(list(cache_folder().glob("*.npy"))) == 1
    assert cache_folder().is_relative_to(tmp_path)
    np.testing.assert_array_equal(null_of(DESIGN, 0, 500), first)
    assert not np.array_equal(null_of(DESIGN, 1, 500), first)
    null_of(Design(X[:9], DESIGN.weight[:9]), 0, 500)
    assert len(list(cache_folder().glob("*.npy"))) == 3


def test_a_spoilt_cache_is_written_again() -> None:
    first = null_of(DESIGN, 0, 500)
    next(cache_folder().glob("*.npy")).write_bytes(b"spoilt")
    np.testing.assert_array_equal(null_of(DESIGN, 0, 500), first)


def test_sizes_with_more_seeds_weigh_more() -> None:
    weight = np.ones(len(X))
    weight[5] = 1e-6
    y = -0.5 * X
    y[5] -= 3.0
    assert Design(X, weight).statistic(y[None])[0] < critical_value(DESIGN, 0.05, 0, 2000)


def test_a_fall_that_goes_on_has_no_upper_width() -> None:
    grid = JumpGrid(DESIGN)
    assert np.isinf(grid.fit((-0.8 * np.maximum(X - 0.4, 0))[None]).upper[0])
    assert np.isnan(grid.fit((0.8 * X)[None]).width[0])


def test_without_a_slope_the_width_is_that_between_two_levels() -> None:
    found = JumpGrid(DESIGN, slope=False).fit((-0.8 * X)[None])
    assert found.lower[0] > NARROW
    assert np.isinf(found.upper[0]) or found.upper[0] > 2


def test_seeds_make_the_limits_of_the_width_tighter_unless_sizes_scatter_more() -> None:
    """Eight sizes leave three degrees of freedom, which seeds add to."""
    y = noisy(jump(1.0, 0.5, alpha=0.3)(X), 200)[:, :8]
    grid = JumpGrid(Design(X[:8], DESIGN.weight[:8]))
    alone, pooled = grid.fit(y), grid.fit(y, 0.01, 32)
    assert np.mean(pooled.upper < NARROW) > np.mean(alone.upper < NARROW) + 0.1
    quiet = grid.fit(y, 1e-6, 32)
    np.testing.assert_array_equal(quiet.upper, alone.upper)
