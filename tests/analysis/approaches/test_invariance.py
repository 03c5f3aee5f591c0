"""What must not change an estimate: order, units, repeated rows, weights for repetitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.approaches.parametric import estimate
from analysis.tables.table import load_table
from tests.fakes.tables import additive, joint, ladder

N, D = (a.ravel() for a in np.meshgrid(np.geomspace(1e6, 1e8, 5), np.geomspace(1e8, 1e10, 4)))
COLUMNS = {"N": N, "D": D, "loss": additive(N / 20, D / 30)}


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_order_of_rows_does_not_matter(seed: int) -> None:
    table = ladder(joint, np.random.default_rng(0))
    order = np.random.default_rng(seed).permutation(len(table))
    shuffled = replace(
        table, **{k: getattr(table, k)[order] for k in ("n", "d", "c", "loss", "cluster", "row")}
    )
    np.testing.assert_allclose(estimate(shuffled, "joint_e0"), estimate(table, "joint_e0"), rtol=1e-4)


@settings(max_examples=5, deadline=None)
@given(n0=st.floats(1e-3, 1e6), d0=st.floats(1e-3, 1e6))
def test_units_of_n_and_d_only_move_the_coefficients(n0: float, d0: float) -> None:
    table = ladder(additive, np.random.default_rng(0))
    before = dict(zip(("E", "A", "B", "alpha", "beta"), estimate(table, "chinchilla"), strict=True))
    moved = replace(table, n=table.n * n0, d=table.d * d0, c=table.c * n0 * d0)
    after = dict(zip(before, estimate(moved, "chinchilla"), strict=True))
    assert after["A"] == pytest.approx(before["A"] * n0 ** before["alpha"], rel=1e-3)
    assert after["B"] == pytest.approx(before["B"] * d0 ** before["beta"], rel=1e-3)
    assert [after[k] for k in ("E", "alpha", "beta")] == pytest.approx(
        [before[k] for k in ("E", "alpha", "beta")], rel=1e-5
    )


@settings(max_examples=5, deadline=None)
@given(repeated=st.lists(st.integers(0, 19), min_size=1, max_size=30))
def test_repeated_rows_change_nothing_and_are_named(repeated: list[int]) -> None:
    frame = pd.DataFrame(COLUMNS)
    once, again = load_table(frame), load_table(pd.concat([frame, frame.iloc[repeated]]))
    np.testing.assert_array_equal(estimate(again, "chinchilla"), estimate(once, "chinchilla"))
    assert [row.reason for row in again.excluded] == [f"repeats row {row}" for row in repeated]


@settings(max_examples=5, deadline=None)
@given(times=st.integers(2, 5))
def test_a_table_several_times_over_has_the_same_minimum(times: int) -> None:
    table = ladder(joint, np.random.default_rng(1))
    columns = {k: np.tile(getattr(table, k), times) for k in ("n", "d", "c", "loss", "cluster", "row")}
    more = replace(table, **columns, seed=None, rung=None, weights=None)
    np.testing.assert_allclose(estimate(more, "joint_e0"), estimate(table, "joint_e0"), rtol=1e-4)


def test_weights_count_as_repetitions() -> None:
    table = ladder(additive, np.random.default_rng(0))
    doubled = table.select(np.ones(len(table), bool))
    twice = {
        k: np.concatenate([getattr(table, k), getattr(table, k)[:7]]) for k in ("n", "d", "c", "loss", "row")
    }
    repeated = replace(
        doubled, **twice, cluster=np.arange(len(table) + 7), seed=None, rung=None, weights=None
    )
    weighted = replace(table, weights=np.where(np.arange(len(table)) < 7, 2.0, 1.0))
    np.testing.assert_allclose(estimate(repeated, "chinchilla"), estimate(weighted, "chinchilla"), rtol=1e-4)
