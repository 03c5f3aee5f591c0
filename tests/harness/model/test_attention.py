"""Attention against its textbook lines, in value and gradient, with windows and shared keys."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harness.model.attention import attention, textbook_attention, textbook_weights
from harness.recipe import counting
from tests.agreement import assert_same_gradients, normal


@pytest.mark.parametrize(
    ("heads", "group", "window"),
    [
        ((6,), 1, None),
        ((2, 6), 3, None),
        ((6,), 1, 4),  # blocks
        ((6,), 3, 5),  # blocks that do not divide the sequence
        ((2, 6), 3, 3),
        ((2, 6), 3, 8),  # no blocks
    ],
)
def test_attention(heads, group, window):
    kv_heads = (*heads[:-1], heads[-1] // group)
    q, k, v = normal(*heads, 12, 8), *(normal(*kv_heads, 12, 8, seed=seed) for seed in (1, 2))
    ours, textbook = (partial(f, window=window) for f in (attention, textbook_attention))
    assert_same_gradients(ours, textbook, (q, k, v), (0, 1, 2))


def test_a_window_counts_the_query_itself_and_a_short_one_is_not_multiplied_with_all_keys():
    weights = np.asarray(textbook_weights(normal(1, 4, 8), normal(1, 4, 8), window=3)[0])
    assert ((weights > 0).sum(axis=1) == [1, 2, 3, 3, 3, 3, 3, 3]).all()
    shape = jax.ShapeDtypeStruct((1, 16, 64), np.float32)
    compiled = jax.jit(partial(attention, window=8)).lower(shape, shape, shape).compile()
    whole = 4 * 16 * 64 * 64
    assert counting.keys_computed(64, 8) == 16
    assert whole / 4 <= compiled.cost_analysis()["flops"] < whole / 2


def test_attention_of_large_scores_stays_finite():
    q = 1e3 * normal(2, 8, 4)
    assert bool(jnp.isfinite(attention(q, q, q)).all())
