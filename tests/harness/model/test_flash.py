"""Kernels of attention by platform: equal to the reference where it can be run, refused where it cannot."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harness.engine.mesh import make_mesh
from harness.execution.execution import Execution, MeshConfig, attention_on, check_platform
from harness.execution.hardware import platform_here
from harness.execution.memory import device_memory
from harness.model import flash, partition
from harness.model.attention import attention
from harness.records.errors import InputError
from tests.agreement import assert_agree
from tests.quick_compilation import OPTIONS as QUICK
from tests.recipes import model, run_spec


def outcome(apply, shape: tuple[int, ...], group: int = 1) -> list[np.ndarray]:
    """Value and gradients for q, k and v, of which `group` heads share keys."""
    rng = np.random.default_rng(3)
    shared = (*shape[:-3], shape[-3] // group, *shape[-2:])
    q, k, v, g = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in (shape, shared, shared, shape))

    def value_and_gradients(q, k, v, g):  # type: ignore[no-untyped-def]
        value, pull = jax.vjp(apply, q, k, v)
        return value, *pull(g)

    found = jax.jit(value_and_gradients, compiler_options=QUICK)(q / shape[-2] ** 0.5, k, v, g)
    return [np.asarray(leaf) for leaf in found]


OTHERS = {
    "splash": partial(flash.splash_attention, interpret=True),
    "cudnn": partial(flash._by_heads_inside, implementation="xla"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(
    ("shape", "group", "window"),
    [((3, 16, 128), 1, None), ((2, 2, 32, 256), 1, None), ((4, 16, 128), 2, 50)],
)
def test_kernels_equal_the_reference(
    name: str, shape: tuple[int, ...], group: int, window: int | None
) -> None:
    found, expected = (
        outcome(partial(apply, window=window), shape, group) for apply in (OTHERS[name], attention)
    )
    assert_agree(found, expected)


def test_splash_runs_on_a_mesh() -> None:
    shape = (4, 2, 16, 128)
    with partition.on(make_mesh(MeshConfig(data=4, tensor=2))):
        ours = outcome(jax.jit(OTHERS["splash"]), shape)
    np.testing.assert_allclose(ours[0], outcome(attention, shape)[0], rtol=0, atol=2e-5)


@pytest.mark.parametrize(("group", "window"), [(1, None), (2, 50)])
def test_cudnn_is_lowered_for_gpus(monkeypatch: pytest.MonkeyPatch, group: int, window: int | None) -> None:
    # The lowering asks for the installed cuDNN, which only machines with a GPU have.
    monkeypatch.setattr("jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 91000)
    q, k = (jax.ShapeDtypeStruct((2, heads, 16, 128), jnp.bfloat16) for heads in (4, 4 // group))
    loss = jax.grad(lambda q, k, v: flash.cudnn_attention(q, k, v, window).astype(jnp.float32).sum())
    lowered = jax.jit(loss).trace(q, k, k).lower(lowering_platforms=("cuda",)).as_text()
    assert (r"sliding_window_length\22: 50" in lowered) == (window is not None)
    assert "__cudnn$fmhaSoftmaxBackward" in lowered


HALF = model(precision="bf16", seq_len=256, n_heads=2, d_model=32)


@pytest.mark.parametrize(
    ("shape", "platform", "stages", "expected"),
    [
        (HALF, "cpu", 1, "xla"),
        (HALF, "gpu", 1, "cudnn"),
        (HALF, "tpu", 1, "splash"),
        (HALF, "tpu", 2, "xla"),
        (model(seq_len=256), "gpu", 1, "xla"),  # fp32
        (model(precision="bf16", n_heads=4, d_model=48), "gpu", 1, "xla"),  # heads of 12
        (model(precision="bf16", seq_len=192), "tpu", 1, "xla"),
    ],
)
def test_the_platform_chooses(shape, platform: str, stages: int, expected: str) -> None:
    assert attention_on(shape, Execution(), platform, stages) == expected
    assert attention_on(shape, Execution(attention="xla"), platform, stages) == "xla"


@pytest.mark.parametrize(
    ("asked", "platform", "message"),
    [
        ("cudnn", "cpu", "execution.attention=cudnn needs a GPU, and the platform is cpu; leave"),
        ("splash", "gpu", "execution.attention=splash needs a TPU, and the platform is gpu; leave"),
    ],
)
def test_kernels_that_are_not_there_are_refused(asked: str, platform: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_platform([run_spec(model=HALF)], MeshConfig(), Execution(attention=asked), platform)


def test_fp16_is_refused_on_tpus() -> None:
    recipe = run_spec(model=model(precision="fp16"))
    check_platform([recipe], MeshConfig(), Execution(), "gpu")
    with pytest.raises(InputError, match=r"model\.precision=fp16 is not there on TPUs"):
        check_platform([recipe], MeshConfig(), Execution(), "tpu")


def test_kernels_in_blocks_keep_no_scores() -> None:
    kept = {name: device_memory(HALF, MeshConfig(), "none", 4, 1, name) for name in ("xla", "splash")}
    scores = 2 * HALF.seq_len * HALF.n_heads
    tokens = 4 * HALF.seq_len * HALF.n_layers
    apart = kept["xla"].activations - kept["splash"].activations
    assert apart == tokens * (scores - 4 * HALF.n_heads)


def test_the_platform_is_found_without_opening_it(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    assert platform_here(tmp_path) == "gpu"
    monkeypatch.delenv("JAX_PLATFORMS")
    assert platform_here(tmp_path) == "cpu"
    monkeypatch.setattr("harness.execution.hardware._installed", lambda package: package != "libtpu")
    assert platform_here(tmp_path) == "cpu"
    (tmp_path / "nvidia0").touch()
    assert platform_here(tmp_path) == "gpu"
    monkeypatch.setattr("harness.execution.hardware._installed", lambda package: package == "libtpu")
    (tmp_path / "accel0").touch()
    assert platform_here(tmp_path) == "tpu"
