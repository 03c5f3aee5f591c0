"""The order of an epoch by position: the windows of the whole permutation, which stored runs have read."""

from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.tokens.van_der_corput import Epoch, VanDerCorput


def stretch(n_windows: int, seed: int, epoch: int, first: int, n: int) -> np.ndarray:
    return VanDerCorput((Epoch(n_windows, seed, epoch),)).windows([first], [n])


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
    whole = permutation(n_windows, seed, epoch)
    first = data.draw(st.integers(0, n_windows - 1))
    n = data.draw(st.integers(0, n_windows - first))
    np.testing.assert_array_equal(stretch(n_windows, seed, epoch, first, n), whole[first : first + n])


@settings(deadline=None, max_examples=50)
@given(
    epochs=st.lists(st.builds(Epoch, st.integers(1, 3000), st.integers(0, 9), st.integers(0, 3)), min_size=1),
    data=st.data(),
)
def test_epochs_that_are_read_together_are_those_read_alone(epochs: list[Epoch], data: st.DataObject) -> None:
    first = [data.draw(st.integers(0, each.n_windows - 1)) for each in epochs]
    n = [data.draw(st.integers(0, each.n_windows - at)) for each, at in zip(epochs, first, strict=True)]
    alone = [stretch(*each, at, count) for each, at, count in zip(epochs, first, n, strict=True)]
    np.testing.assert_array_equal(VanDerCorput(tuple(epochs)).windows(first, n), np.concatenate(alone))


@pytest.mark.parametrize("n_windows", [2**15, 2**15 + 1, 2**17 - 1, 70_001])
def test_orders_beyond_the_drawn_bits_are_whole(n_windows: int) -> None:
    np.testing.assert_array_equal(stretch(n_windows, 3, 1, 0, n_windows), permutation(n_windows, 3, 1))


def test_what_stored_runs_have_read_stays() -> None:
    """The hash is that of the permutation which runs were trained on."""
    found = stretch(520_017, 11, 2, 400_000, 5000)
    assert hashlib.sha256(found.astype("<i8").tobytes()).hexdigest()[:16] == "7349bd37fd11e6f6"


def test_a_new_epoch_draws_no_permutation() -> None:
    stretch(2**19 - 5, 0, 0, 7, 16)  # Tables that all epochs share.
    tracemalloc.start()
    try:
        stretch(2**19 - 5, 0, 1, 400_000, 16)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1e6, "a permutation takes 4 MB, and hundredfold the time"
