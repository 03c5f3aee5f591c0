"""The mesh that a plan takes by itself: soonest of those that fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.execution.devices import Devices
from harness.execution.execution import Execution, MeshConfig
from harness.grid.packs import one_lane
from harness.plan.fastest_mesh import fastest, meshes
from harness.plan.machine import Machine
from harness.recipe.spec import Job
from harness.records.errors import InputError
from harness.sweep.launchers import with_mesh
from tests.recipes import model, optim, run_spec
from tests.small_sweeps import settings

WIDE = model(
    d_model=1024, n_layers=8, n_heads=16, d_ff=4096, vocab_size=32768, seq_len=1024, precision="bf16"
)
# Share of an h100's memory that one device alone cannot train the model in, and eight can.
SCARCE = 0.06
JOBS = [Job(run_spec(model=WIDE, optim=optim(batch_size=64)), (2**24,))]


def machines(memory_share: float = 0.75) -> list[Machine]:
    devices = Devices.parse("h100:8")
    return [
        Machine(devices, mesh, Execution(), devices.count // mesh.n_devices, one_lane, share=memory_share)
        for mesh in meshes(8)
    ]


def test_every_mesh_of_a_size_that_divides_the_devices_stands_once() -> None:
    found = list(meshes(4))
    assert len(set(found)) == len(found) == 1 + 5 + 15
    assert found[0] == MeshConfig()
    assert {mesh.n_devices for mesh in found} == {1, 2, 4}


@pytest.mark.parametrize("memory_share", [0.75, SCARCE])
def test_the_fastest_of_the_meshes_that_fit_is_taken(memory_share: float) -> None:
    """All eight devices train the one run; parameters that do not fit beside each other are split."""
    chosen, note = fastest(JOBS, machines(memory_share))
    spec = JOBS[0].spec
    assert chosen.mesh.n_devices == 8
    assert f"mesh=auto takes {chosen.mesh} for a run: of " in note
    plain = [each for each in machines(memory_share) if each.mesh.expert == 1]
    fitting = [each.step_seconds(spec) for each in plain if each.fits(spec, 1)]
    assert chosen.fits(spec, 1)
    assert chosen.step_seconds(spec) == min(fitting)
    assert len(fitting) < len(plain) or memory_share > 0.1


def test_many_runs_take_a_device_each_and_too_large_ones_are_refused() -> None:
    small = [Job(run_spec(seed=seed, model=model()), (2**16,)) for seed in range(8)]
    assert fastest(small, machines())[0].mesh == MeshConfig()
    with pytest.raises(InputError, match="a mesh of 8 × h100 that holds every rung was expected"):
        fastest(JOBS, machines(memory_share=1e-4))


def test_a_mesh_that_divides_no_batch_is_left_out() -> None:
    odd = replace(JOBS[0].spec, optim=optim(batch_size=9))
    chosen, _ = fastest([Job(odd, (2**24,))], machines())
    assert chosen.mesh.n_batch_shards == 1


def test_settings_take_the_chosen_sizes() -> None:
    given = settings("mesh=auto", "plan.device=h100:4", "grid.n_tokens=[65536]", "optim.batch_size=16")
    chosen, (note,) = with_mesh(given, [])
    assert not chosen.mesh.auto
    assert chosen.mesh.sizes.n_devices in (1, 2, 4)
    assert note.startswith("mesh=auto takes ")
    assert with_mesh(settings(), ["said"]) == (settings(), ["said"])
    alone, (note,) = with_mesh(settings("mesh=auto"), [])
    assert alone.mesh.sizes == MeshConfig()
    assert "cores train runs side by side" in note
    with pytest.raises(InputError, match=r"mesh=auto chooses .* and mesh.data=2 was given; leave"):
        settings("mesh=auto", "mesh.data=2")
