"""Shares of the sources over any stretch of a run, and how fast any place is found."""

from itertools import pairwise

import numpy as np
import pytest

from harness.data.tokens.interleave import PERIOD, Interleaving, in_period

DRAWN = tuple(float(w) for w in np.random.default_rng(0).dirichlet(np.full(12, 0.6)))
MIXTURES = [(0.7, 0.3), (1.0,), (0.5, 0.25, 0.25), (1, 1, 1), (0.613, 0.0112, 0.2, 0.1758), (9, 0, 1), DRAWN]


@pytest.mark.parametrize("weights", MIXTURES)
def test_every_stretch_has_its_shares_to_within_a_window(weights: tuple[float, ...]) -> None:
    order = Interleaving(in_period(weights))
    shares = np.array(weights) / sum(weights)
    np.testing.assert_allclose(order.weights, shares, atol=1 / PERIOD)
    n = min(2 * order.period, 30_000)
    drawn = order.sources(0, n)
    counted = np.cumsum(drawn[:, None] == np.arange(len(weights)), axis=0)
    exact = np.arange(1, n + 1)[:, None] * np.array(order.weights)
    assert np.abs(counted - exact).max() < 1
    # A stretch is the difference of two beginnings, so it errs by less than two windows.
    for first, last in pairwise(np.sort(np.random.default_rng(1).integers(0, n, 40))):
        part = counted[last] - counted[first]
        assert np.abs(part - (last - first) * np.array(order.weights)).max() < 2


@pytest.mark.parametrize("weights", [(0.7, 0.3), DRAWN])
def test_any_place_is_found_without_those_before_it(weights: tuple[float, ...]) -> None:
    order = Interleaving(in_period(weights))
    far = 7 * order.period + 13
    np.testing.assert_array_equal(order.sources(far, 50), order.sources(far % order.period, 50))
    for position in (0, 1, order.period, far):
        before = order.before(position)
        assert before.sum() == position
        step = order.before(position + 1) - before
        assert step.tolist() == np.eye(len(weights), dtype=int)[order.sources(position, 1)[0]].tolist()


def test_periods_are_short_where_weights_are_round() -> None:
    assert in_period([0.7, 0.2, 0.1]) == (7, 2, 1)
    assert in_period([1, 1, 1]) == (1, 1, 1)
    assert sum(in_period([np.pi, 1])) <= PERIOD
    assert in_period([1, 0]) == (1, 0)
