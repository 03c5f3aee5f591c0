"""Stored losses of stretches of the evaluation set."""

from __future__ import annotations

import numpy as np
import pytest

from harness.evaluate.loss import N_BLOCKS, block_losses


@pytest.mark.parametrize("n_windows", [1, 5, N_BLOCKS, N_BLOCKS + 1, 64 * N_BLOCKS, 64 * N_BLOCKS + 7])
def test_blocks_sum_to_the_loss(n_windows: int) -> None:
    losses = np.random.default_rng(0).normal(3, 1, n_windows)
    blocks = block_losses(losses)
    assert len(blocks) == min(N_BLOCKS, n_windows)
    each, more = divmod(n_windows, len(blocks))
    sizes = np.array([each + (i < more) for i in range(len(blocks))])
    assert np.sum(sizes * blocks) / n_windows == pytest.approx(losses.mean(), rel=1e-14)
    # Neighbours go together.
    assert blocks[0] == losses[: sizes[0]].mean()
    assert blocks[-1] == losses[-sizes[-1] :].mean()
