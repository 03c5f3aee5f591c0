"""Counts from shapes against the arrays and the compiler."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from harness.execution.memory import keys_by_layer
from harness.model.decoder import Decoder
from harness.recipe import counting
from tests.recipes import ALL_OPTIONS, OPTIONS, model

SHAPES = [
    model(),
    model(d_model=48, n_heads=3, d_ff=192, n_layers=3),
    model(mlp="swiglu", qk_norm=True, key_shift=True, d_ff=40, vocab_size=50),
    *(model(**changes) for changes in OPTIONS.values()),
    model(**ALL_OPTIONS),
]


@pytest.mark.parametrize("spec", SHAPES)
def test_parameter_counts_equal_the_arrays(spec):
    state = nnx.state(nnx.eval_shape(lambda: Decoder(spec, nnx.Rngs(0))))
    sizes = {path: leaf.size for path, leaf in nnx.to_flat_state(state)}
    assert counting.n_params(spec) == sum(sizes.values())
    # A tied embedding is looked up, and multiplied as a head is.
    head = "embed" if spec.tied_embeddings else "head"
    matrices = {path: n for path, n in sizes.items() if path[-1] == "kernel" or path[0] == head}
    assert counting.n_params_matmul(spec) == sum(matrices.values())
    outside = sum(n for path, n in sizes.items() if path[0] in ("embed", "head"))
    assert counting.n_params_body(spec) == sum(sizes.values()) - outside


@pytest.mark.parametrize("spec", SHAPES)
def test_forward_flops_agree_with_the_compiler(spec):
    """XLA also counts elementwise work, so the matmul count lies below it, and most of it is matmul.

    A window is computed in blocks, whose masked keys it counts too.
    """
    graph, state = nnx.split(Decoder(spec, nnx.Rngs(0), textbook=spec.window is None))
    tokens = jnp.zeros((2, spec.seq_len), jnp.int32)
    compiled = jax.jit(lambda s, t: nnx.merge(graph, s)(t)).lower(state, tokens).compile()
    masked = sum(keys_by_layer(spec)) - sum(counting.layer_keys(spec))
    counted = (counting.forward_flops_token(spec) + 4 * spec.d_model * masked) * tokens.size
    reported = compiled.cost_analysis()["flops"]
    assert counted <= reported <= 1.35 * counted


def test_only_the_keys_of_a_window_count():
    spec = model(n_layers=5, window=4, full_every=2)
    assert counting.layer_keys(spec) == [4, 16, 4, 16, 4]
    fewer = 3 * 4 * spec.d_model * (16 - 4)
    whole = counting.forward_flops_token(model(n_layers=5))
    assert counting.forward_flops_token(spec) == whole - fewer
    assert keys_by_layer(spec) == [8, 16, 8, 16, 8]


def test_flops_are_linear_in_tokens_and_three_times_forward():
    spec = SHAPES[0]
    assert counting.train_flops(spec, 1000) == 3000 * counting.forward_flops_token(spec)
    assert counting.train_flops_6nd(spec, 10) == 60 * counting.n_params_matmul(spec)
