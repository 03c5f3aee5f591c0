"""The jitted step: learning, micro-batches, parameter groups, meshes, shared programs."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from harness.engine.mesh import make_mesh
from harness.engine.optim import parameter_groups
from harness.engine.step import Engine, advance, engine_for
from harness.evaluate.loss import window_losses
from harness.execution.execution import MeshConfig
from harness.execution.micro_batch import eval_batch_size, micro_batch_size
from harness.model import dropout
from harness.model.decoder import Decoder
from harness.records.errors import InputError
from tests.agreement import assert_agree
from tests.quick_compilation import OPTIONS as QUICK
from tests.recipes import SHAPES, model, optim, run_spec, windows

SPEC = run_spec()
FACTORS = np.ones(4, np.float32)


def fresh(engine: Engine):
    return engine.init(jax.random.key(0))


def test_one_batch_is_learnt_by_heart():
    engine = engine_for(SPEC, make_mesh(MeshConfig()))
    state, batch = fresh(engine), np.repeat(windows(1), 100, axis=0)
    state, metrics = advance(engine, state, batch, np.ones(100, np.float32), SPEC.optim)
    first = metrics.loss[0]
    for _ in range(3):
        state, metrics = advance(engine, state, batch, np.ones(100, np.float32), SPEC.optim)
    assert first > 3.0
    assert metrics.loss[-1] < 0.05


@cache
def first_state():
    """The first state of SPEC, which no size of micro-batches changes."""
    return jax.device_get(fresh(Engine(SPEC.model, SPEC.optim, 4, make_mesh(MeshConfig()))))


@cache
def losses_and_norms(micro_batch):
    engine = Engine(SPEC.model, SPEC.optim, micro_batch, make_mesh(MeshConfig()))
    state = jax.device_put(first_state(), engine.state_shardings)
    _, metrics = advance(engine, state, windows(4), FACTORS, SPEC.optim)
    return metrics.loss, metrics.grad_norm


@pytest.mark.parametrize("micro_batch", [1, 2])
def test_micro_batches_give_the_gradient_of_the_whole_batch(micro_batch):
    np.testing.assert_allclose(losses_and_norms(micro_batch), losses_and_norms(4), rtol=1e-5)


@pytest.mark.parametrize("shape", [MeshConfig(), MeshConfig(4, 1), MeshConfig(1, 3)])
def test_every_window_is_scored_once_however_many_devices_share_it(shape):
    engine = engine_for(replace(SPEC, optim=optim(batch_size=12)), make_mesh(shape))
    held_out, params = windows(1, 10, seed=5)[0], first_state()["params"]
    alone = engine_for(SPEC, make_mesh(MeshConfig()))
    expected = [float(alone.window_losses(params, held_out[None, None, i])[0, 0]) for i in range(10)]
    placed = jax.device_put(params, engine.state_shardings["params"])
    np.testing.assert_allclose(window_losses(engine, placed, held_out), expected, rtol=1e-5)


def test_evaluation_sets_of_any_size_share_one_program():
    engine = Engine(SPEC.model, SPEC.optim, 1, make_mesh(MeshConfig()))
    params = first_state()["params"]
    call = engine.eval_call * engine.eval_batch
    for n in (3, call + 1, 2 * call):
        assert len(window_losses(engine, params, windows(1, n)[0])) == n
    assert engine.window_losses._cache_size() == 1


def test_accelerators_take_a_whole_batch():
    wide = replace(SPEC, model=replace(SPEC.model, seq_len=128, d_model=128), optim=optim(batch_size=16))
    assert micro_batch_size(wide, 1) == 2
    assert micro_batch_size(replace(wide, model=replace(wide.model, d_model=96)), 1) == 1
    assert micro_batch_size(wide, 4) == 8
    assert micro_batch_size(wide, 1, "gpu") == 16
    assert eval_batch_size(wide.model, 1) == 2
    assert eval_batch_size(wide.model, 2, "gpu") == 256


def test_fsdp_splits_the_state():
    engine = engine_for(SPEC, make_mesh(MeshConfig(1, 4)))
    kernel = fresh(engine)["params"]["blocks"][0]["mlp"]["up"]["kernel"]
    assert kernel.addressable_shards[0].data.size == kernel.size // 4


def test_a_mesh_larger_than_the_machine_is_refused():
    with pytest.raises(InputError, match="needs 64 devices"):
        make_mesh(MeshConfig(8, 8))


def test_every_group_moves_by_its_own_rate_alone():
    engine = engine_for(SPEC, make_mesh(MeshConfig()))
    groups = jax.tree.leaves(parameter_groups(engine.abstract_state["params"]))
    assert set(groups) == {"hidden", "embed", "head", "gain"}
    before = jax.tree.leaves(jax.device_get(fresh(engine)["params"]))
    only_head = optim(hidden_lr=0.0, embed_lr=0.0, gain_lr=0.0)
    state, _ = advance(engine, fresh(engine), windows(4), FACTORS, only_head)
    after = jax.tree.leaves(jax.device_get(state["params"]))
    moved = {g for g, a, b in zip(groups, before, after, strict=True) if not np.array_equal(a, b)}
    assert moved == {"head"}


def test_a_tied_matrix_learns_at_the_rate_of_the_embedding():
    spec = run_spec(model=model(tied_embeddings=True))
    engine = engine_for(spec, make_mesh(MeshConfig()))
    params = engine.abstract_state["params"]
    assert set(jax.tree.leaves(parameter_groups(params))) == {"hidden", "embed", "gain"}
    moved = []
    for rates in ({"embed_lr": 0.0}, {"head_lr": 0.0}):
        state, metrics = advance(engine, fresh(engine), windows(4), FACTORS, optim(**rates))
        moved.append(not np.array_equal(state["params"]["embed"], fresh(engine)["params"]["embed"]))
        assert abs(metrics.loss[0] - np.log(spec.model.vocab_size)) < 0.05
    assert moved == [False, True]


@pytest.mark.parametrize("micro_batch", [1, 4])
def test_a_z_loss_is_trained_and_not_reported(micro_batch):
    shape = model(n_layers=1, z_loss=0.3)
    engine = Engine(shape, optim(), micro_batch, make_mesh(MeshConfig()))
    params, batch = fresh(engine)["params"], jnp.asarray(windows(1)[0])

    def trained(params):
        logits = engine.forward.logits(params, batch[:, :-1])
        return (
            engine.forward.losses(params, batch).mean()
            + 0.3 * (jax.nn.logsumexp(logits, axis=-1) ** 2).mean()
        )

    micro = batch.reshape(-1, micro_batch, batch.shape[1])
    loss, grads = jax.jit(engine._gradients, compiler_options=QUICK)(params, micro)
    np.testing.assert_allclose(loss, window_losses(engine, params, np.asarray(batch)).mean(), rtol=1e-6)
    expected = jax.jit(jax.grad(trained), compiler_options=QUICK)(params)
    assert_agree(grads, expected)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_the_gradient_of_a_step_is_that_of_the_textbook_model(shape):
    engine = Engine(shape, optim(), 2, make_mesh(MeshConfig()))
    params, batch = fresh(engine)["params"], jnp.asarray(windows(1)[0])
    keys = None
    if shape.dropout:
        keys = dropout.step_keys(dropout.first_key(jax.random.key(5)), jnp.int32(3), 2, 2)
    graph, state = nnx.split(nnx.eval_shape(lambda: Decoder(shape, nnx.Rngs(0), textbook=True)))

    def textbook(params):
        nnx.replace_by_pure_dict(state, params)
        decoder, own = nnx.merge(graph, state), None if keys is None else keys.reshape(4, -1)
        x = decoder.embedded(batch[:, :-1], own)
        for block in decoder.blocks:
            x, _ = block(x, 4, own)
            own = None if own is None else dropout.folded(own, dropout.NEXT)
        losses, squares = decoder.token_losses_and_squares(x, batch[:, 1:])
        return losses.mean() + shape.z_loss * squares.mean(), losses.mean()

    ours = jax.jit(engine._gradients, compiler_options=QUICK)
    theirs = jax.jit(jax.value_and_grad(textbook, has_aux=True), compiler_options=QUICK)
    (_, loss), grads = theirs(params)
    assert_agree(ours(params, batch.reshape(2, 2, -1), keys=keys), (loss, grads))


def test_rates_and_seeds_share_a_compiled_program():
    mesh = make_mesh(MeshConfig())
    other = replace(SPEC, optim=replace(SPEC.optim, lr=replace(SPEC.optim.lr, hidden=0.5)), seed=3)
    assert engine_for(SPEC, mesh) is engine_for(other, mesh)
    assert engine_for(SPEC, mesh) is not engine_for(replace(SPEC, optim=optim(beta2=0.5)), mesh)
