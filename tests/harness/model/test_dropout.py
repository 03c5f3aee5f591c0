"""Dropout: shares, means, and masks that depend on run, step, sequence and place alone."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from harness.engine.mesh import make_mesh
from harness.engine.step import Engine
from harness.evaluate.loss import window_losses
from harness.execution.execution import MeshConfig
from harness.execution.memory import device_memory
from harness.model import dropout
from tests.recipes import model, optim, windows

RUN = dropout.first_key(jax.random.key(0))


def keys(step: int = 0, batch: int = 4) -> jax.Array:
    return dropout.step_keys(RUN, jnp.int32(step), 1, batch)[0]


def test_a_share_is_dropped_and_the_mean_stays() -> None:
    x = dropout.dropped(jnp.ones((4 * 500, 16)), keys(), 0.2)
    assert np.unique(x).tolist() == [0.0, np.float32(1.25)]
    assert abs(float((x == 0).mean()) - 0.2) < 0.01
    assert dropout.dropped(jnp.ones((8, 4), jnp.bfloat16), keys(), 0.5).dtype == jnp.bfloat16


def test_masks_differ_by_run_step_sequence_and_place() -> None:
    other = dropout.step_keys(dropout.first_key(jax.random.key(1)), jnp.int32(0), 1, 4)[0]
    places = [dropout.folded(keys(), place) for place in range(4)]
    every = np.concatenate([keys(), keys(1), other, *places])
    assert len(np.unique(every, axis=0)) == len(every)
    # A sequence has its key however the batch is cut.
    np.testing.assert_array_equal(dropout.step_keys(RUN, jnp.int32(0), 2, 2).reshape(4, -1), keys())


def test_nothing_is_dropped_in_evaluation_and_each_step_drops_anew() -> None:
    shape, mesh = model(n_layers=1, dropout=0.5), make_mesh(MeshConfig())
    engine = Engine(shape, optim(), 4, mesh)
    plain = Engine(replace(shape, dropout=0.0), optim(), 4, mesh)
    state = engine.init(jax.random.key(0))
    params, batch = state["params"], windows(1)
    expected = window_losses(plain, plain.init(jax.random.key(0))["params"], batch[0])
    np.testing.assert_array_equal(window_losses(engine, params, batch[0]), expected)
    still = dict.fromkeys(("hidden", "embed", "head", "gain"), np.float32(0))
    same = np.stack([batch] * 3)
    state, metrics = engine.advance(state, same, np.ones(3, np.float32), still)
    assert len(np.unique(metrics["loss"])) == 3
    assert int(state["dropout"]["step"]) == 3
    # Without a learning rate only the step changes the mask: the same step gives the same loss.
    state["dropout"]["step"] = jnp.int32(0)
    again = engine.advance(state, same, np.ones(3, np.float32), still)[1]
    np.testing.assert_array_equal(again["loss"], metrics["loss"])


def test_masks_take_a_byte_for_each_entry() -> None:
    kept = [device_memory(model(dropout=rate), MeshConfig(), "none", 4, 1).activations for rate in (0.0, 0.1)]
    spec = model()
    assert kept[1] - kept[0] == 2 * spec.n_layers * 4 * spec.seq_len * spec.d_model
