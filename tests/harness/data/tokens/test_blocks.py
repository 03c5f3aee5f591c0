"""The order of windows of a corpus that is too long for a permutation in memory."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from harness.data.tokens.blocks import BLOCKS, n_in_blocks, windows_at
from harness.data.tokens.windows import Order

SIZE = 37
N = BLOCKS * SIZE + 11


def windows(position: np.ndarray, n_windows: int, seed: int, epoch: int) -> np.ndarray:
    return windows_at(position, *(np.full(len(position), value) for value in (n_windows, seed, epoch)))


def epoch_of(seed: int, epoch: int) -> np.ndarray:
    return windows(np.arange(n_in_blocks(N)), N, seed, epoch)


@pytest.mark.parametrize("seed", [0, 5])
def test_an_epoch_reads_each_window_once(seed: int) -> None:
    assert np.array_equal(np.sort(epoch_of(seed, 0)), np.arange(BLOCKS * SIZE))


def test_any_stretch_reads_all_parts_of_the_corpus() -> None:
    order = epoch_of(1, 0)
    for k in (16, 256, BLOCKS):
        for first in (0, 5 * k, BLOCKS * 3):
            parts = order[first : first + k] * k // (BLOCKS * SIZE)
            assert len(np.unique(parts)) == k


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [epoch_of(0, 0), epoch_of(0, 1), epoch_of(1, 0)]
    for i, one in enumerate(orders):
        for other in orders[i + 1 :]:
            assert np.mean(one == other) < 0.01
            # Within blocks as well: their places in a block are unrelated.
            assert abs(np.corrcoef(one % SIZE, other % SIZE)[0, 1]) < 0.02
    assert abs(np.corrcoef(orders[0] % SIZE, np.arange(len(orders[0])) // BLOCKS)[0, 1]) < 0.02


def test_a_place_far_into_a_huge_corpus_is_found_without_what_comes_before() -> None:
    n = 78_000_000 * 16
    found = windows(np.arange(10**9, 10**9 + 4), n, 0, 3)
    assert np.array_equal(found[2:], windows(np.arange(10**9 + 2, 10**9 + 4), n, 0, 3))
    assert found.min() >= 0
    assert found.max() < n


def test_few_windows_of_several_corpora_are_those_of_each_alone() -> None:
    """Few windows take another way than many."""
    sizes, seeds, epochs = np.array([N, 40 * N, BLOCKS]), np.array([5, 0, 7]), np.array([0, 9, 2])
    at = np.array([123_456, 3_000_000, 17])
    found = windows_at(at, sizes, seeds, epochs)
    for corpus, position in enumerate(at):
        many = windows(np.arange(position, position + 500), *(a[corpus] for a in (sizes, seeds, epochs)))
        assert found[corpus] == many[0]


def test_what_stored_runs_have_read_stays() -> None:
    found = windows(np.arange(10**6, 10**6 + 5000), 20_000_003, 11, 2)
    assert hashlib.sha256(found.astype("<i8").tobytes()).hexdigest()[:16] == "ded2fd6a87ccb835"


def test_orders_of_all_batch_sizes_read_the_same_windows() -> None:
    tokens = np.arange(BLOCKS * 2 * 4 + 1000)
    small, large = (Order(len(tokens), 4, batch, 7, max_unblocked=1000) for batch in (2, 8))
    assert small.n_windows == large.n_windows == n_in_blocks((len(tokens) - 1) // 4)
    one = small.batches(tokens, 0, 4096 * 2).reshape(-1, 5)
    other = large.batches(tokens, 0, 4096 // 2).reshape(-1, 5)
    assert np.array_equal(one[: len(other)], other)
    # Across the end of an epoch, and from the middle.
    last = small.n_windows // 2 - 1
    assert np.array_equal(small.batches(tokens, last, 2)[0], small.batches(tokens, last - 1, 3)[1])
