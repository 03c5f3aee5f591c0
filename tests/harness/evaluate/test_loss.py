"""Stored losses of parts of the evaluation set."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.tables.seed_noise import interaction_variance
from harness.evaluate.loss import N_BLOCKS, block_losses


@pytest.mark.parametrize("n_windows", [1, 5, N_BLOCKS, N_BLOCKS + 1, 64 * N_BLOCKS, 64 * N_BLOCKS + 7])
def test_blocks_sum_to_the_loss(n_windows: int) -> None:
    losses = np.random.default_rng(0).normal(3, 1, n_windows)
    blocks = block_losses(losses)
    assert len(blocks) == min(N_BLOCKS, n_windows)
    each, more = divmod(n_windows, len(blocks))
    sizes = np.array([each + (i < more) for i in range(len(blocks))])
    assert np.sum(sizes * blocks) / n_windows == pytest.approx(losses.mean(), rel=1e-14)
    # Each block reaches over the whole set.
    assert blocks[0] == losses[:: len(blocks)].mean()
    assert blocks[-1] == losses[len(blocks) - 1 :: len(blocks)].mean()


def test_blocks_tell_the_error_of_a_set_of_windows_spread_evenly() -> None:
    """Text whose difficulty drifts, and end points that read it differently: 2,048 windows of 32,768.

    Neighbouring windows in one block would take the drift, which any such set samples alike, for its error.
    """
    rng = np.random.default_rng(1)
    drift, everything = np.sin(np.linspace(0, 12, 32768)), 3 + rng.normal(0, 0.5, (12, 32768))
    everything += rng.normal(0, 0.3, (12, 1)) * drift
    samples = [everything[:, first::16] for first in range(16)]
    off = [np.log(sample.mean(axis=1)) - np.log(everything.mean(axis=1)) for sample in samples]
    actual = np.mean([np.var(each - each.mean(), ddof=0) * 12 / 11 for each in off])
    blocks = [np.log([block_losses(row) for row in sample]) for sample in samples]
    stated = np.mean([interaction_variance(each) / N_BLOCKS for each in blocks])
    # The sets are samples without replacement of 1/16 of the windows.
    assert stated * (1 - 1 / 16) == pytest.approx(actual, rel=0.25)
    neighbours = np.log([np.mean(np.array_split(row, N_BLOCKS), axis=1) for row in samples[0]])
    assert interaction_variance(neighbours) / N_BLOCKS > 3 * actual
