"""Bits of NumPy's generator by their place: the same as those that it draws one after the other."""

from __future__ import annotations

import numpy as np
import pytest

from harness.data.tokens.random_bits import DRAWN, STRIDE, RandomBits

SEEDS = ([0, 0], [7, 3], [2**32 - 1, 41])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n", [1, 2, 33, DRAWN - 1, DRAWN + 1, 4 * STRIDE, 100_003])
def test_all_bits_are_those_that_numpy_draws(seed: list[int], n: int) -> None:
    bits, generator = RandomBits(seed, n), np.random.default_rng(seed)
    # In several calls, as a generator keeps half a word from one to the next.
    drawn = np.concatenate([generator.integers(0, 2, size) for size in (n // 3, n - n // 3)])
    np.testing.assert_array_equal(bits.at(np.arange(n)), drawn)


def test_bits_far_on_are_found_without_those_before() -> None:
    n = 2**23
    bits = RandomBits([5, 1], n)
    generator = np.random.Generator(np.random.PCG64([5, 1]).advance(n // 2 - 50))
    np.testing.assert_array_equal(bits.at(np.arange(n - 100, n)), generator.integers(0, 2, 100))


def test_places_may_come_in_any_order() -> None:
    bits = RandomBits([1, 2], 50_000)
    whole = bits.at(np.arange(50_000))
    places = np.array([49_999, 0, DRAWN, DRAWN - 1, 7, 7, 20_000])
    np.testing.assert_array_equal(bits.at(places), whole[places])
    assert bits.at(np.zeros(0, np.int64)).shape == (0,)
