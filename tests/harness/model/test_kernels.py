"""Hand-ordered kernels of linear maps against their textbook lines, in value and gradient."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from harness.model import kernels
from tests.agreement import assert_same_gradients, normal


@pytest.mark.parametrize(("d_in", "d_out"), [(8, 32), (32, 8)])
def test_dense(d_in, d_out):
    assert_same_gradients(
        kernels.dense, kernels.textbook_dense, (normal(24, d_in), normal(d_in, d_out, seed=1)), (0, 1)
    )


@pytest.mark.parametrize("batch", [1, 2])
def test_positions_last(batch):
    def textbook(x, w):
        return kernels.textbook_dense(x, w).reshape(batch, -1, *w.shape[1:]).transpose(2, 0, 3, 1)

    def ours(x, w):
        return jnp.stack(kernels.positions_last(x, w, batch))

    assert_same_gradients(ours, textbook, (normal(24, 8), normal(8, 3, 6, seed=1)), (0, 1))
