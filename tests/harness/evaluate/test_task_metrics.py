"""Metrics of answers: against their definitions, resampling and each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.tasks.items import Group
from harness.evaluate.decoding import edit_distance
from harness.evaluate.task_metrics import answer_rows, choice_rows, product_row
from harness.evaluate.token_scores import Scores


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_the_product_of_accuracies_is_at_most_a_power_of_their_mean(seed: int, n_positions: int) -> None:
    rng = np.random.default_rng(seed)
    hits = rng.random((30, n_positions)) < rng.random(n_positions)
    product = product_row(hits, 0.0)["value"]
    assert product <= hits.mean() ** n_positions + 1e-12
    scores = Scores(np.full(hits.shape, -0.5), np.ones(hits.shape), np.zeros(hits.shape, int))
    group = Group(
        "copy", n_positions, 0, "test", n_positions, (26,) * n_positions, np.zeros((30, 9)), 9, np.zeros((0,))
    )
    found = {row["metric"]: row for row in answer_rows(group, scores, hits)}
    assert found["p_answer"]["value"] == pytest.approx(np.exp(-0.5 * n_positions))
    assert found["nll_per_token"]["chance"] == pytest.approx(np.log(26))


def test_the_error_of_a_product_is_that_of_resampling() -> None:
    rng = np.random.default_rng(1)
    skill = rng.random((2_000, 1)) < 0.7
    hits = skill & (rng.random((2_000, 3)) < [0.9, 0.8, 0.7])
    drawn = rng.integers(0, 2_000, (1_000, 2_000))
    spread = hits[drawn].mean(axis=1).prod(axis=1).std()
    assert product_row(hits, 0.0)["sem"] == pytest.approx(spread, rel=0.1)


def test_choices_and_edits() -> None:
    grade, brier = choice_rows(np.log([0.6, 0.1]), np.log([[0.2, 0.2], [0.1, 0.3]]))
    assert grade["value"] == 0.5
    assert grade["chance"] == pytest.approx(1 / 3)
    expected = [(0.4**2 + 2 * 0.2**2), (0.8**2 + 0.2**2 + 0.6**2)]
    assert brier["value"] == pytest.approx(np.mean(expected))
    pairs = (("abc", "abc"), ("abc", "bc"), ("abcd", "bcda"), ("", "ab"))
    assert [edit_distance(*pair) for pair in pairs] == [0, 1, 2, 2]
