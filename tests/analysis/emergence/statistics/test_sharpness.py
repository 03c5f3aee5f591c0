"""The ramp test and the width of a fall: size on smooth curves, power on jumps, what they are blind to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.emergence.statistics.sharpness import (
    MATERIAL,
    Design,
    cache_folder,
    critical_value,
    null_of,
    p_value,
)
from analysis.emergence.statistics.width import NARROW, LogisticGrid
from tests.fakes.emergence import jump, power_law, sizes

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
    found = DESIGN.statistic(y) > critical_value(DESIGN, 0.05, 0, draws=4000)
    # A law that levels off fast is no quadratic: the ramp alone wrinkles it a little more often.
    assert found.mean() <= 0.12
    material = [DESIGN.best_ramp(row).share >= MATERIAL for row in y[:300]]
    assert np.mean(found[:300] & material) <= 0.06
    assert np.mean(found & (LogisticGrid(DESIGN).fit(y).upper < NARROW)) <= 0.02


@pytest.mark.parametrize(("drop", "centre"), [(1.0, 0.75), (1.5, 0.5), (2.0, 1.0)])
def test_jumps_are_found_and_are_narrow(drop: float, centre: float) -> None:
    y = noisy(jump(drop, centre)(X), 400)
    found = DESIGN.statistic(y) > critical_value(DESIGN, 0.05, 0, draws=4000)
    assert np.mean(found & (LogisticGrid(DESIGN).fit(y).upper < NARROW)) >= 0.9


def test_the_ramp_is_where_the_jump_is() -> None:
    ramp = DESIGN.best_ramp(jump(2.0, 0.75, width=0.2)(X))
    assert 0.5 < ramp.start < 0.75 < ramp.end < 1.0
    assert ramp.share > 0.7


def test_the_result_does_not_depend_on_units() -> None:
    y = noisy(jump(1.0, 0.75)(X), 1)[0]
    other = Design(X + 6, DESIGN.weight)
    assert other.statistic(y[None] * 3 + 2) == pytest.approx(DESIGN.statistic(y[None]))
    assert p_value(other, y, 0, 1000) == pytest.approx(p_value(DESIGN, y, 0, 1000))


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
    found = LogisticGrid(DESIGN).fit((-0.8 * X)[None])
    assert found.lower[0] > NARROW
    assert np.isinf(found.upper[0]) or found.upper[0] > 2
    assert np.isnan(LogisticGrid(DESIGN).fit((0.8 * X)[None]).width[0])
