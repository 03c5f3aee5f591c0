"""Steps compiled for devices that are not here, and memory counted from shapes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest

from harness.aot import __main__ as aot
from harness.aot.topology import Topology
from harness.config.settings import load
from harness.engine.mesh import make_mesh
from harness.engine.step import engine_for
from harness.execution.execution import Execution, MeshConfig
from harness.execution.memory import device_memory, local_params
from harness.grid.rules import Rung, model_spec
from harness.recipe import counting
from harness.recipe.spec import GROUPS, ModelSpec
from harness.records.errors import InputError
from tests.recipes import model, optim, run_spec

WIDE = model(
    d_model=1024, n_layers=8, n_heads=16, d_ff=4096, vocab_size=32768, seq_len=1024, precision="bf16"
)
APART = MeshConfig(data=2, fsdp=4, expert=2)


def experts(d_model: int, n_layers: int) -> ModelSpec:
    """Eight experts, of which each token uses two, as `model=moe` has them."""
    shape = {"n_heads": d_model // 64, "d_ff": 2 * d_model, "vocab_size": 512, "seq_len": 512}
    of_experts = {"n_experts": 8, "n_active_experts": 2, "capacity_factor": 1.25}
    return model(d_model=d_model, n_layers=n_layers, precision="bf16", **shape, **of_experts)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_step_is_lowered_for_every_platform(precision: str) -> None:
    engine = engine_for(run_spec(model=model(precision=precision)), make_mesh(MeshConfig()))
    shape = jax.ShapeDtypeStruct((2, 1, 4, 17), np.int32)
    rates = dict.fromkeys(GROUPS, jax.ShapeDtypeStruct((), np.float32))
    export = jax.export.export(jax.jit(engine._advance), platforms=["cpu", "cuda", "tpu"])
    lowered = export(engine.abstract_state, shape, jax.ShapeDtypeStruct((2,), np.float32), rates)
    assert lowered.platforms == ("cpu", "cuda", "tpu")


def test_parameters_of_a_device() -> None:
    n, ends = counting.n_params(WIDE), 2 * 32768 * 1024
    assert local_params(WIDE, MeshConfig()) == n
    assert local_params(WIDE, MeshConfig(fsdp=2, tensor=4, data=8)) == n / 8
    assert local_params(WIDE, MeshConfig(stage=4)) == (n - ends) / 4 + ends


def test_rematerialisation_keeps_less() -> None:
    kept = [
        device_memory(WIDE, MeshConfig(data=4), remat, 32, 1, "splash") for remat in ("none", "dots", "full")
    ]
    sizes = [memory.activations for memory in kept]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[2] == 8 * 8 * 1024 * 1024 * 2  # eight layers, eight sequences a device, bf16
    ends = kept[0].gradients + kept[0].block + kept[0].logits
    assert kept[0].total == kept[0].state + kept[0].activations + ends
    assert kept[1].total == kept[1].state + kept[1].activations + kept[1].logits


NARROW_ENDS = replace(WIDE, vocab_size=4096, n_layers=12)
ON_H100 = replace(WIDE, vocab_size=8192)
# Peak MiB of a device by XLA for v5e:4x4, and for h100:8 in the last cases (jax 0.10.2, libtpu 0.0.42.1):
# 32 sequences of 1,024 tokens, 64 with a small vocabulary, and 256 of 512 with experts.
COMPILED = [
    (WIDE, MeshConfig(data=4, fsdp=4), "none", "splash", 2026),
    (WIDE, MeshConfig(data=4, fsdp=4), "none", "xla", 2529),
    (WIDE, MeshConfig(data=4, fsdp=4), "dots", "splash", 1434),
    (WIDE, MeshConfig(data=4, fsdp=4), "full", "splash", 985),
    (WIDE, MeshConfig(data=4, tensor=4), "none", "splash", 2502),
    (WIDE, MeshConfig(data=4, tensor=4), "full", "splash", 1064),
    (experts(512, 6), APART, "none", "splash", 1954),
    (experts(512, 12), APART, "none", "splash", 3689),
    (experts(1024, 6), APART, "none", "splash", 4506),
    (experts(512, 6), APART, "dots", "splash", 1318),
    (experts(512, 12), APART, "dots", "splash", 2085),
    (experts(512, 6), APART, "full", "splash", 572),
    (experts(512, 12), APART, "full", "splash", 796),
    (experts(1024, 6), APART, "full", "splash", 1633),
    (NARROW_ENDS, MeshConfig(data=4, fsdp=4), "full", "splash", 1198),
    (replace(NARROW_ENDS, mlp="swiglu"), MeshConfig(fsdp=16), "none", "splash", 3288),
    (ON_H100, MeshConfig(fsdp=8), "none", "xla", 6463),
    (ON_H100, MeshConfig(fsdp=8), "dots", "xla", 3285),
    (ON_H100, MeshConfig(fsdp=8), "full", "xla", 2260),
]
# Compiled for h100:8 with 64 sequences: 3,554 MiB.
LONG = model(d_model=512, n_layers=6, n_heads=8, d_ff=2048, vocab_size=8192, seq_len=2048, precision="bf16")


def test_how_much_less_is_counted_where_weights_of_attention_outweigh_the_rest() -> None:
    counted = device_memory(LONG, MeshConfig(fsdp=8), "full", 64, 1, "xla")
    assert counted.total / 2**20 / 3554 == pytest.approx(0.79, abs=0.01)  # harness/README.md, "Devices"


@pytest.mark.parametrize(("recipe", "mesh", "remat", "attention", "mib"), COMPILED)
def test_counted_memory_is_near_that_of_the_compiler(
    recipe: ModelSpec, mesh: MeshConfig, remat: str, attention: str, mib: float
) -> None:
    n_sequences = 256 if recipe.n_experts > 1 else 32 if recipe.vocab_size == WIDE.vocab_size else 64
    counted = device_memory(recipe, mesh, remat, n_sequences, 1, attention)
    assert counted.total / 2**20 == pytest.approx(mib, rel=0.15)


# `python -m harness.aot +grid=node topology=h100:8 data.vocab_size=50304`, then with other settings.
NODE = [
    (512, 50304, 12, "none", 12934),
    (640, 50304, 12, "none", 15183),
    (768, 50304, 12, "none", 17511),
    (1024, 50304, 12, "none", 22445),
    (1280, 50304, 12, "none", 28077),
    (512, 8192, 12, "none", 9275),
    (1280, 8192, 12, "none", 25497),
    (512, 50304, 2, "none", 6801),
    (1280, 50304, 2, "none", 10387),
    (512, 50304, 12, "full", 6449),
    (1280, 50304, 12, "full", 11751),
]


@pytest.mark.parametrize(("d_model", "vocab_size", "n_layers", "remat", "mib"), NODE)
def test_every_rung_of_the_grid_for_a_node_is_counted_as_compiled(
    d_model: int, vocab_size: int, n_layers: int, remat: str, mib: float
) -> None:
    found = load(["+grid=node", f"model.n_layers={n_layers}"])
    recipe = model_spec(Rung(d_model, n_layers, n_layers), found.model, vocab_size, found.optim.transfer)
    micro = found.execution.micro_batch
    n_micro = found.optim.batch_size // micro
    mesh = MeshConfig(data=found.mesh.data)
    counted = device_memory(recipe, mesh, remat, micro, n_micro, "xla").total / 2**20
    assert counted == pytest.approx(mib, rel=0.1)


def test_the_grid_for_a_node_has_the_rungs_that_were_compiled() -> None:
    assert load(["+grid=node"]).grid.rungs == [512, 640, 768, 1024, 1280]


def test_collectives_are_counted() -> None:
    text = "%a = f32[2] all-reduce(%x), b\n%c = (f32[], f32[]) all-gather-start(%y)\n all-reduce(%z)"
    assert aot.collectives(text) == {"all-reduce": 2, "all-gather": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+grid=smoke"], "a topology was expected and none was given; add topology=v5e:4x4"),
        (
            ["+grid=smoke", "topology=v9:2x2"],
            "topology=v9:2x2 is not known; write kind:shape with a kind",
        ),
        (["+grid=smoke", "topology=v5e:4x4", "data=tokens"], "the size of the vocabulary was expected"),
        (["+grid=smoke", "topology=v5e"], "topology=v5e is not known"),
        (["topology=v5e:4x4"], "a grid was expected"),
        (["+grid=smoke", "topology=v5e:4x4", "mesh.stage=2"], "mesh.stage=2 does not divide"),
    ],
)
def test_wrong_input_is_one_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert aot.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_what_a_context_takes_along_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(aot, "run", lambda *_: 0)
    assert aot.main(["+grid=smoke", "topology=v5e:4x4", "model.seq_len=256"]) == 0
    assert capsys.readouterr().out.startswith("note: model.seq_len=256 takes along model.rope_theta=441.6")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"needs the extra 'tpu'.*uv sync --extra tpu"):
        Topology.parse("v5e:4x4").prepare()
    with pytest.raises(InputError, match="needs the extra 'gpu-aot'"):
        Topology.parse("h100:8").prepare()


@pytest.mark.parametrize(
    ("topology", "package", "collective"),
    [("v5e:2x2", "libtpu", "all-reduce"), ("h100:4", "jax_cuda12_plugin", "all-reduce")],
)
def test_a_rung_is_compiled_for_devices_not_here(topology: str, package: str, collective: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    command = [sys.executable, "-m", "harness.aot", "+grid=smoke", f"topology={topology}", "mesh.data=4"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert collective in done.stdout


def test_compiled_on_this_machine() -> None:
    """The very path of the command, on virtual devices."""
    spec = run_spec(model=model(n_layers=1), optim=optim(batch_size=8))
    compiled = aot.compile_rung(spec, MeshConfig(data=2), Execution(scan_layers=True), jax.devices())
    assert compiled.collectives["all-reduce"] > 0
    assert compiled.peak > 0
    cells = aot.row(compiled, limit=0)
    assert cells[0] == "d16"
    assert cells[-2] == "no"
    assert aot.row(replace(compiled, peak=0.5), limit=1)[-2] == "yes"
