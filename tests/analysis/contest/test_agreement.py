"""Two sweeps against each other: one law or two, and how large a difference would be found."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from analysis.contest.agreement import EDGE, Agreement, compare_laws
from analysis.tables.table import LossTable, load_table
from harness.records.errors import InputError
from tests.fakes.surfaces import SMALL_JOINT, sweep_points

pytestmark = pytest.mark.usefixtures("few_starts")

RESAMPLES = 100


@cache
def table(seed: int) -> LossTable:
    return load_table(sweep_points(SMALL_JOINT, seed=seed), count="n_params_matmul")


def compared(second: LossTable, first: LossTable | None = None) -> Agreement:
    return compare_laws(first or table(0), second, resamples=RESAMPLES)


@cache
def same() -> Agreement:
    return compared(table(1))


def test_sweeps_of_one_law_agree() -> None:
    found = same()
    assert not found.differ
    assert found.shift_interval[0] < 0 < found.shift_interval[1]
    assert 0.001 < found.found < 0.01
    assert found.forward.rms < 0.01
    assert found.backward.rms < 0.01
    assert found.forward.covered > 0.8
    assert [row.rung for row in found.rungs] == ["d16", "d32", "d48", "d64", "d96"]
    assert all(row.interval[0] < row.value < row.interval[1] for row in found.rungs)


@pytest.mark.parametrize("times", [0.97, 1.03])
def test_a_shift_of_all_losses_is_found_with_its_sign(times: float) -> None:
    found = compared(replace(table(1), loss=table(1).loss * times))
    assert found.differ
    low, high = np.exp(found.shift_interval)
    assert low < times < high
    assert np.mean(found.forward.error) == pytest.approx(1 / times - 1, abs=0.005)
    assert np.mean(found.backward.error) == pytest.approx(times - 1, abs=0.005)


def test_other_slopes_are_found_at_the_same_level() -> None:
    cells = table(1)
    tilt = (cells.n / np.exp(np.log(cells.n).mean())) ** 0.015
    found = compared(replace(cells, loss=cells.loss * tilt))
    assert found.shift_interval[0] < 0 < found.shift_interval[1]
    assert found.differ
    assert found.rungs[0].interval[1] < 0 < found.rungs[-1].interval[0]


def test_twice_the_shift_that_is_stated_is_found() -> None:
    """The noise of one pair says too little about eight of ten."""
    stated = same().found
    assert compared(replace(table(1), loss=table(1).loss * np.exp(2 * stated))).differ


def test_cells_beyond_the_other_sweep_do_not_count() -> None:
    small = table(0).select(table(0).n < 60_000 * EDGE)
    narrow = table(0).select(table(0).n < 110_000)
    found = compared(table(1), narrow)
    assert set(np.array(found.forward.rung)[found.forward.inside]) == {"d16", "d32", "d48"}
    assert found.backward.inside.all()
    with pytest.raises(InputError, match="has 2 sizes in the range of the first, and 3 or more"):
        compared(table(1), small)
