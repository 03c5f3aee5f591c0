"""The model: causality, positions, options."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from harness.model.decoder import Decoder, KeyShift, rotary_tables, rotate
from tests.quick_compilation import OPTIONS as QUICK
from tests.recipes import SHAPES, VOCAB, model, windows


@pytest.mark.parametrize("spec", SHAPES.values(), ids=list(SHAPES))
def test_a_token_does_not_see_its_future(spec):
    decoder = Decoder(spec, nnx.Rngs(0))
    tokens = jnp.asarray(windows(1)[0, :, :-1])
    changed = tokens.at[:, 9].set((tokens[:, 9] + 1) % VOCAB)
    graph, state = nnx.split(decoder)
    logits = jax.jit(lambda tokens: nnx.merge(graph, state)(tokens), compiler_options=QUICK)
    before, after = logits(tokens), logits(changed)
    np.testing.assert_array_equal(before[:, :9], after[:, :9])
    assert float(jnp.abs(before[:, 9:] - after[:, 9:]).max()) > 1e-3


def test_rotation_keeps_length_and_depends_on_distance_alone():
    spec = model()
    cosine, sine = rotary_tables(spec)
    q, k = (jax.random.normal(jax.random.key(seed), (1, spec.head_dim, 1)) for seed in (0, 1))
    q_all, k_all = (rotate(jnp.repeat(x, spec.seq_len, axis=2), cosine, sine)[0] for x in (q, k))
    np.testing.assert_allclose(jnp.linalg.norm(q_all, axis=0), jnp.linalg.norm(q), rtol=1e-5)
    scores = q_all.T @ k_all
    np.testing.assert_allclose(jnp.diagonal(scores, 3), scores[0, 3], rtol=1e-4)


def test_shifted_keys_are_mixed_with_the_key_before_in_a_share_per_channel():
    shift = KeyShift(2, 3)
    np.testing.assert_allclose(shift.gain[...], [[-2.0, 0.0, 2.0]] * 2)
    shift.gain[...] = shift.gain[...].at[1].set(1.0)
    k = jax.random.normal(jax.random.key(0), (4, 3, 5))  # two sequences of two heads
    share = np.tile(1 / (1 + np.exp([[2.0, 0.0, -2.0], [-1.0] * 3])), (2, 1))
    mixed = np.asarray(shift(k))
    np.testing.assert_allclose(mixed[:, :, 0], (1 - share) * k[:, :, 0], rtol=1e-5)
    np.testing.assert_allclose(mixed[:, :, 3], (1 - share) * k[:, :, 3] + share * k[:, :, 2], rtol=1e-5)


def test_a_fresh_model_guesses_uniformly():
    losses = Decoder(model(), nnx.Rngs(0)).losses(jnp.asarray(windows(1)[0]))
    assert abs(float(losses.mean()) - np.log(VOCAB)) < 0.05
