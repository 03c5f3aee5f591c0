"""Depth in the difference of two laws: a planted power, what is left beside it, when nothing is said."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from analysis.contest.agreement import Agreement, compare_laws
from analysis.contest.depth import depth_power
from analysis.same_law import depth_line
from analysis.tables.table import LossTable, load_table
from tests.fakes.surfaces import SMALL_JOINT, sweep_points

pytestmark = pytest.mark.usefixtures("few_starts")

DEPTHS = {"d16": 2, "d32": 2, "d48": 3, "d64": 4, "d96": 6}


@cache
def wide(seed: int) -> LossTable:
    return load_table(sweep_points(SMALL_JOINT, seed=seed), count="n_params_matmul")


def deep(power: float, seed: int = 1) -> LossTable:
    """A sweep whose rungs move in depth, and whose loss is a power of depth at equal N and D."""
    table = wide(seed)
    assert table.rung is not None
    depths = np.array([DEPTHS[name] for name in table.rung])
    return replace(table, n_layers=depths, loss=table.loss * (depths / 3) ** power)


def compared(first: LossTable, second: LossTable) -> Agreement:
    return compare_laws(first, second, resamples=100)


@pytest.mark.parametrize("power", [-0.03, 0.05])
def test_a_planted_power_is_found_and_nothing_else(power: float) -> None:
    found = compared(wide(0), deep(power))
    assert found.differ
    assert found.depth is not None
    assert found.depth.power == pytest.approx(power, abs=0.012)
    assert found.depth.interval[0] < found.depth.power < found.depth.interval[1]
    assert found.depth.p < 0.01 < 0.1 < found.depth.left


def test_without_one_none_is_found() -> None:
    found = compared(wide(0), deep(0.0)).depth
    assert found is not None
    # Of 30 such pairs 4 had p below 0.1, and the powers a standard deviation of 0.004.
    assert found.p > 0.02
    assert abs(found.power) < 0.012
    assert 0.007 < found.found < 0.015


def test_a_tilt_that_depth_does_not_make_is_left() -> None:
    table = deep(0.0)
    tilted = replace(table, loss=table.loss * (table.d / 4e6) ** 0.02)
    found = compared(wide(0), tilted).depth
    assert found is not None
    assert found.left < 0.01


def test_nothing_is_said_if_depth_is_unknown_or_the_same() -> None:
    assert compared(wide(0), wide(1)).depth is None
    assert compared(deep(0.0, 0), deep(0.0)).depth is None, "the first law is of no one depth"
    assert compared(replace(wide(0), n_layers=None), deep(0.0)).depth is None


def test_power_and_interval_of_known_draws() -> None:
    """Two contrasts of sd 1, the second moved by 3 along a power of 1: a weighted mean by hand."""
    rng = np.random.default_rng(0)
    draws = rng.multivariate_normal([1.0, 4.0], [[1.0, 0.0], [0.0, 4.0]], 40_000)
    found = depth_power(draws, np.array([1.0, 2.0]), level=0.9)
    assert found.power == pytest.approx((1 * 1 + 2 * 4 / 4) / (1 + 4 / 4), abs=0.02)
    assert found.interval == pytest.approx((1.5 - 1.645 / 2**0.5, 1.5 + 1.645 / 2**0.5), abs=0.03)
    assert found.found == pytest.approx((1.645 + 0.842) / 2**0.5, abs=0.02)
    # What is left: (-0.5, 1) with variances 1 and 4.
    assert found.left == pytest.approx(0.48, abs=0.02)
    said = depth_line(found, "results/deep")
    assert said.startswith(
        "depth: at equal N and D the losses of results/deep vary as n_layers^1.495 [0.340, "
    )
