"""Memory, speed and remedies on devices that are not here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.execution.devices import DEVICES, GIB, Devices
from harness.execution.execution import Execution, MeshConfig, check_mesh
from harness.execution.memory import device_memory
from harness.grid.cells import Cell
from harness.grid.packs import one_lane
from harness.plan.machine import JAX_SHARE, LAYER_SECONDS, Machine, memory_share, step_flops
from harness.plan.plan import pack_bytes
from harness.plan.speed import step_rate
from harness.recipe.spec import RunSpec
from tests.small_sweeps import grid_cells

BILLION = [
    "model.n_layers=12", "model.head_dim=64", "model.seq_len=2048", "optim.batch_size=64",
    "model.precision=bf16", "grid.n_tokens=[16777216]", "grid.extra=[]", "grid.references=[]",
    "grid.fit_seeds=[]", "grid.holdout_factor=1", "data.eval_tokens=1048576",
]  # fmt: skip


def cells(*widths: int, overrides: tuple[str, ...] = ()) -> list[Cell]:
    return grid_cells("chinchilla", f"grid.rungs=[{','.join(map(str, widths))}]", *BILLION, *overrides)


def spec_of(width: int, *overrides: str) -> RunSpec:
    return cells(width, overrides=overrides)[0].spec


def machine(device: str = "h100:8", mesh: MeshConfig | None = None, **changes: Any) -> Machine:
    devices, mesh = Devices.parse(device), mesh or MeshConfig()
    made = Machine(devices, mesh, Execution(), devices.count // mesh.n_devices, one_lane)
    return replace(made, **changes)


SMALL, LARGE = spec_of(128), spec_of(2560)


def test_memory_is_the_counted_figure_on_the_devices_own_kernel() -> None:
    mesh = MeshConfig(data=2, fsdp=4)
    there = machine(mesh=mesh)
    # On a GPU in bf16 attention works in blocks, and a batch is one micro-batch.
    counted = device_memory(LARGE.model, mesh, "none", 64, 1, "cudnn")
    assert there.memory(LARGE) == counted
    assert there.bytes(LARGE, 1) == pack_bytes(counted, 1) == counted.total + counted.state
    assert there.bytes(LARGE, 2) == pack_bytes(counted, 2) == 2 * (counted.total + 2 * counted.state)
    cut = replace(there, execution=Execution(micro_batch=8, remat="full"))
    assert cut.memory(LARGE) == device_memory(LARGE.model, mesh, "full", 8, 8, "cudnn")


def test_jax_takes_three_quarters_of_a_gpu_unless_told_otherwise() -> None:
    assert memory_share({}) == JAX_SHARE == 0.75
    assert memory_share({"XLA_CLIENT_MEM_FRACTION": "0.9"}) == 0.9
    assert memory_share({"XLA_PYTHON_CLIENT_MEM_FRACTION": ".5"}) == 0.5
    assert memory_share({"XLA_CLIENT_MEM_FRACTION": "all"}) == JAX_SHARE
    assert machine("h100").capacity == 60 * GIB
    assert machine("v5e").capacity == 16 * GIB
    assert machine("cpu:2").capacity is None


def test_a_large_step_is_bound_by_products_and_a_small_one_by_starts() -> None:
    there = machine("h100")
    sheet = DEVICES["h100"]
    bound = step_flops(LARGE) / (0.5 * sheet.half)
    assert bound < there.step_seconds(LARGE) < 1.3 * bound
    assert 0.35 < (there.utilisation(LARGE) or 0) < 0.5
    tiny = spec_of(128, "optim.batch_size=1", "grid.n_tokens=[4194304]")
    starts = tiny.model.n_layers * LAYER_SECONDS["gpu"]
    assert starts < there.step_seconds(tiny) < 1.5 * starts
    # Runs of a pack share the starts, not the products.
    assert there.step_seconds(tiny, 8) < 3 * there.step_seconds(tiny)
    assert there.step_seconds(LARGE, 2) > 1.95 * there.step_seconds(LARGE)


def test_eight_devices_are_faster_than_one_but_not_eight_times() -> None:
    alone, mesh = machine("h100"), machine(mesh=MeshConfig(fsdp=8))
    for spec, least in ((SMALL, 1.5), (LARGE, 7.0)):
        assert least < alone.step_seconds(spec) / mesh.step_seconds(spec) < 8


def test_half_precision_and_rematerialisation_change_the_speed() -> None:
    there = machine("h100")
    assert there.step_seconds(spec_of(2560, "model.precision=fp32")) > 1.5 * there.step_seconds(LARGE)
    again = replace(there, execution=Execution(remat="full"))
    assert 1.2 < again.step_seconds(LARGE) / there.step_seconds(LARGE) < 4 / 3
    piped = machine(mesh=MeshConfig(stage=4))
    # Sixteen micro-batches and three ticks to fill.
    assert piped.step_seconds(LARGE) > there.step_seconds(LARGE) / 4 * 19 / 16


def test_a_typed_share_goes_before_a_measured_one_and_that_before_the_assumption() -> None:
    there = machine("h100")
    measured = replace(there, measured={SMALL.rung: 0.25})
    assert measured.utilisation(SMALL) == pytest.approx(0.25)
    assert measured.utilisation(LARGE) == there.utilisation(LARGE)
    typed = replace(measured, mfu=0.4)
    assert [typed.utilisation(spec) for spec in (SMALL, LARGE)] == pytest.approx([0.4, 0.4])
    assert typed.step_seconds(LARGE) == pytest.approx(step_flops(LARGE) / (0.4 * DEVICES["h100"].half))


def test_cores_are_those_of_this_machine() -> None:
    there = machine("cpu:4", core_rate=1e11)
    assert there.step_seconds(SMALL) == pytest.approx(step_flops(SMALL) / step_rate(1e11, 128))
    assert there.utilisation(SMALL) is None
    assert there.fits(LARGE, 1), "nothing is known of that machine's memory"
    unmeasured = machine("cpu:4").step_seconds(SMALL)
    assert unmeasured != unmeasured


@pytest.mark.parametrize(
    ("device", "mesh", "spec", "typed"),
    [
        ("h100:8", MeshConfig(fsdp=2), LARGE, ["execution.remat=full"]),
        ("a100:8", MeshConfig(), LARGE, ["execution.remat=full", "execution.micro_batch="]),
        ("v5e:16", MeshConfig(), LARGE, ["mesh.fsdp=2", "execution.remat=full", "execution.micro_batch="]),
        ("v5e:1", MeshConfig(), LARGE, ["mesh.fsdp=2", "plan.device=v5e:2", "execution.remat=full"]),
    ],
)
def test_the_remedy_fits_and_is_a_mesh_that_the_sweep_takes(
    device: str, mesh: MeshConfig, spec: RunSpec, typed: list[str]
) -> None:
    there = machine(device, mesh)
    assert not there.fits(spec, 1)
    remedy = there.remedy(spec, 1)
    assert remedy.startswith("type ")
    assert [word for word in typed if word not in remedy] == []
    given = dict(word.split("=") for word in remedy.removeprefix("type ").split())
    execution = Execution(
        remat=given.get("execution.remat", "none"),
        micro_batch=int(given["execution.micro_batch"]) if "execution.micro_batch" in given else None,
    )
    mesh = replace(mesh, fsdp=int(given.get("mesh.fsdp", mesh.fsdp)))
    check_mesh([spec], mesh, execution)
    devices = Devices.parse(given.get("plan.device", device))
    assert devices.count % mesh.n_devices == 0
    assert replace(there, devices=devices, mesh=mesh, execution=execution).fits(spec, 1)


def test_other_remedies() -> None:
    there = machine("h100:8", MeshConfig(fsdp=8))
    need = there.bytes(LARGE, 1)
    narrow = replace(there, share=0.9 * need / DEVICES["h100"].memory)
    assert narrow.remedy(LARGE, 1) == "put XLA_CLIENT_MEM_FRACTION=0.95 in front of the command"
    roomy = replace(machine("h100:8", MeshConfig(fsdp=2)), share=0.95)
    assert roomy.remedy(LARGE, 1) == "type execution.remat=dots"
    packed = machine("l4:8")
    medium = spec_of(256, "optim.batch_size=8", "grid.n_tokens=[4194304]")
    assert packed.fits(medium, 1)
    assert not packed.fits(medium, 8)
    assert packed.remedy(medium, 8) == "type launcher.pack=1"
    hopeless = spec_of(20480, "optim.batch_size=1", "grid.n_tokens=[4194304]")
    assert "take it out of grid.rungs" in machine("l4:8").remedy(hopeless, 1)
