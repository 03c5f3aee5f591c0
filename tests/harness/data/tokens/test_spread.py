"""The order of an epoch by position: the windows of the whole permutation, which stored runs have read."""

from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.tokens.spread import Spread


def permutation(n_windows: int, seed: int, epoch: int) -> np.ndarray:
    """The whole order at once, straight from its definition."""
    rng = np.random.default_rng([seed, epoch])
    n_bits = (n_windows - 1).bit_length()
    position = np.arange(1 << n_bits)
    window = np.zeros_like(position)
    # Reversed bits: bit `level` of the position, the lowest first, is appended to the window number. Every
    # prefix of a window number has a random flip of its own.
    for level in range(n_bits):
        flips = rng.integers(0, 2, 1 << level)
        window = window << 1 | ((position >> level & 1) ^ flips[window])
    return np.asarray(window[window < n_windows])


@settings(deadline=None)
@given(data=st.data(), n_windows=st.integers(1, 3000), seed=st.integers(0, 9), epoch=st.integers(0, 3))
def test_any_stretch_is_that_of_the_whole_permutation(
    data: st.DataObject, n_windows: int, seed: int, epoch: int
) -> None:
    whole, order = permutation(n_windows, seed, epoch), Spread(n_windows, seed, epoch)
    first = data.draw(st.integers(0, n_windows - 1))
    n = data.draw(st.integers(0, n_windows - first))
    np.testing.assert_array_equal(order.windows(first, n), whole[first : first + n])


@pytest.mark.parametrize("n_windows", [2**15, 2**15 + 1, 2**17 - 1, 70_001])
def test_orders_beyond_the_drawn_bits_are_whole(n_windows: int) -> None:
    np.testing.assert_array_equal(Spread(n_windows, 3, 1).windows(0, n_windows), permutation(n_windows, 3, 1))


def test_what_stored_runs_have_read_stays() -> None:
    """The hash is that of the permutation which runs were trained on."""
    found = Spread(520_017, 11, 2).windows(400_000, 5000)
    assert hashlib.sha256(found.astype("<i8").tobytes()).hexdigest()[:16] == "7349bd37fd11e6f6"


def test_a_new_epoch_draws_no_permutation() -> None:
    Spread(2**19 - 5, 0, 0).windows(7, 16)  # Tables that all epochs share.
    tracemalloc.start()
    try:
        Spread(2**19 - 5, 0, 1).windows(400_000, 16)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1e6, "a permutation takes 4 MB, and hundredfold the time"
