"""Hand-ordered kernels against their textbook lines, in value and gradient."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harness.model import kernels
from harness.recipe import counting
from tests.agreement import assert_agree
from tests.quick_compilation import OPTIONS as QUICK


def random(*shape: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def assert_same(ours, textbook, arguments, differentiate):
    """Value and vector-Jacobian product agree to 1e-5."""
    weights = random(*jax.eval_shape(textbook, *arguments).shape, seed=9)

    def scalar(function):
        found = jax.value_and_grad(lambda *a: (function(*a) * weights).sum(), argnums=differentiate)
        return jax.jit(found, compiler_options=QUICK)

    assert_agree(scalar(ours)(*arguments), scalar(textbook)(*arguments))


@pytest.mark.parametrize(("d_in", "d_out"), [(8, 32), (32, 8)])
def test_dense(d_in, d_out):
    assert_same(
        kernels.dense, kernels.textbook_dense, (random(24, d_in), random(d_in, d_out, seed=1)), (0, 1)
    )


@pytest.mark.parametrize("batch", [1, 2])
def test_positions_last(batch):
    def textbook(x, w):
        return kernels.textbook_dense(x, w).reshape(batch, -1, *w.shape[1:]).transpose(2, 0, 3, 1)

    def ours(x, w):
        return jnp.stack(kernels.positions_last(x, w, batch))

    assert_same(ours, textbook, (random(24, 8), random(8, 3, 6, seed=1)), (0, 1))


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
    q, k, v = random(*heads, 12, 8), *(random(*kv_heads, 12, 8, seed=seed) for seed in (1, 2))
    ours, textbook = (partial(f, window=window) for f in (kernels.attention, kernels.textbook_attention))
    assert_same(ours, textbook, (q, k, v), (0, 1, 2))


def test_a_window_counts_the_query_itself_and_a_short_one_is_not_multiplied_with_all_keys():
    weights = np.asarray(kernels.textbook_weights(random(1, 4, 8), random(1, 4, 8), window=3)[0])
    assert ((weights > 0).sum(axis=1) == [1, 2, 3, 3, 3, 3, 3, 3]).all()
    shape = jax.ShapeDtypeStruct((1, 16, 64), np.float32)
    compiled = jax.jit(partial(kernels.attention, window=8)).lower(shape, shape, shape).compile()
    whole = 4 * 16 * 64 * 64
    assert counting.keys_computed(64, 8) == 16
    assert whole / 4 <= compiled.cost_analysis()["flops"] < whole / 2


def test_cross_entropy():
    labels = jnp.arange(10) % 7
    ours = lambda logits: kernels.cross_entropy(logits, labels)  # noqa: E731
    textbook = lambda logits: kernels.textbook_cross_entropy(logits, labels)  # noqa: E731
    assert_same(ours, textbook, (5 * random(10, 7),), (0,))


def test_cross_entropy_and_square():
    def summed(function):
        return lambda logits: (lambda loss, square: loss + 0.3 * square)(*function(logits, labels))

    labels = jnp.arange(10) % 7
    ours, textbook = kernels.cross_entropy_and_square, kernels.textbook_cross_entropy_and_square
    assert_same(summed(ours), summed(textbook), (5 * random(10, 7),), (0,))


def test_attention_of_large_scores_stays_finite():
    q = 1e3 * random(2, 8, 4)
    assert bool(jnp.isfinite(kernels.attention(q, q, q)).all())
