"""Bits of NumPy's generator by their place: the same as those that it draws one after the other."""

from __future__ import annotations

import numpy as np
import pytest

from harness.data.tokens.random_bits import DRAWN, STRIDE, RandomBits

N = 200_003  # bits over several strides
SEEDS = ([0, 0], [7, 3], [2**32 - 1, 41])


def bits_of(bits: RandomBits, places: np.ndarray) -> np.ndarray:
    """Bits of the first seed."""
    return bits.at(np.zeros_like(places), places)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n", [1, 2, 33, DRAWN - 1, DRAWN + 1, 4 * STRIDE, 100_003])
def test_all_bits_are_those_that_numpy_draws(seed: list[int], n: int) -> None:
    bits, generator = RandomBits([seed], n), np.random.default_rng(seed)
    # In several calls, as a generator keeps half a word from one to the next.
    drawn = np.concatenate([generator.integers(0, 2, size) for size in (n // 3, n - n // 3)])
    np.testing.assert_array_equal(bits_of(bits, np.arange(n)), drawn)


def test_bits_far_on_are_found_without_those_before() -> None:
    n = 2**23
    bits = RandomBits([[5, 1]], n)
    generator = np.random.Generator(np.random.PCG64([5, 1]).advance(n // 2 - 50))
    np.testing.assert_array_equal(bits_of(bits, np.arange(n - 100, n)), generator.integers(0, 2, 100))


def test_places_and_seeds_may_come_in_any_order() -> None:
    bits = RandomBits(SEEDS, N)
    whole = np.array([np.random.default_rng(seed).integers(0, 2, N) for seed in SEEDS])
    seeds, places = np.array([[2], [0], [1], [1]]), np.array([N - 1, 0, DRAWN, DRAWN - 1, 7, 7, 120_000])
    np.testing.assert_array_equal(bits.at(seeds, places), whole[seeds, places])
    np.testing.assert_array_equal(bits.at(seeds, places % DRAWN), whole[seeds, places % DRAWN])
    nothing = np.zeros(0, np.int64)
    assert bits.at(nothing, nothing).shape == (0,)
