"""Half-precision activations over fp32 parameters, and dynamic loss scaling."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harness.engine import loss_scale
from harness.engine.mesh import make_mesh
from harness.engine.step import advance, engine_for
from harness.execution.execution import MeshConfig
from tests.recipes import model, run_spec, windows

STEPS = 24


def spec(precision: str):
    return run_spec(model=model(n_layers=1, qk_norm=True, key_shift=True, precision=precision))


def trained(precision: str, scale: float | None = None):
    recipe = spec(precision)
    engine = engine_for(recipe, make_mesh(MeshConfig()))
    state = engine.init(jax.random.key(0))
    if scale is not None:
        state["loss_scale"]["scale"] = jnp.float32(scale)
    return advance(engine, state, windows(STEPS), np.ones(STEPS, np.float32), recipe.optim)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_as_fp32_does(precision: str) -> None:
    state, metrics = trained(precision)
    _, exact = trained("fp32")
    np.testing.assert_allclose(metrics.loss, exact.loss, atol=0.03)
    assert not np.array_equal(metrics.loss, exact.loss)
    assert metrics.loss[-1] < metrics.loss[0] - 0.5
    assert {leaf.dtype for leaf in jax.tree.leaves(state["params"])} == {np.dtype("float32")}


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", "bf16"), ("fp16", "f16")])
def test_products_are_half_and_statistics_whole(precision: str, dtype: str) -> None:
    engine = engine_for(spec(precision), make_mesh(MeshConfig()))
    params = engine.abstract_state["params"]
    lines = jax.make_jaxpr(engine.forward.losses)(params, windows(1)[0]).pretty_print().splitlines()
    products = [line for line in lines if "dot_general" in line]
    assert products
    names = ("exp", "log", "rsqrt", "reduce_sum", "reduce_max")
    statistics = [line for line in lines if any(f"= {name}" in line for name in names)]
    assert statistics
    assert not [line for line in statistics if f":{dtype}[" in line]
    assert [line for line in products if ":f32[64,32]" in line]  # logits


def test_a_step_that_overflows_is_left_out_and_the_scale_halved() -> None:
    recipe = spec("fp16")
    engine = engine_for(recipe, make_mesh(MeshConfig()))
    state = engine.init(jax.random.key(0))
    state["loss_scale"]["scale"] = jnp.float32(2.0**40)
    before = jax.device_get(state["params"])
    state, metrics = advance(engine, state, windows(1), np.ones(1, np.float32), recipe.optim)
    assert jax.tree.all(jax.tree.map(np.array_equal, before, jax.device_get(state["params"])))
    assert float(state["loss_scale"]["scale"]) == 2.0**39
    assert np.isfinite(metrics.loss).all()
    _, metrics = trained("fp16", 2.0**30)
    assert metrics.loss[-1] < metrics.loss[0] - 0.3


def test_the_scale_doubles_after_good_steps() -> None:
    state = loss_scale.initial() | {"good_steps": jnp.int32(loss_scale.STEPS_TO_DOUBLE - 1)}
    after = loss_scale.adjust(state, jnp.bool_(True))
    assert (float(after["scale"]), int(after["good_steps"])) == (2 * loss_scale.FIRST, 0)
    assert float(loss_scale.adjust(state, jnp.bool_(False))["scale"]) == loss_scale.FIRST / 2
    assert not bool(loss_scale.all_finite({"a": jnp.ones(2), "b": jnp.array([1.0, jnp.inf])}))
