"""Time and memory of a plan on devices that are not here."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from harness.execution.devices import Devices
from harness.execution.execution import Execution, MeshConfig
from harness.grid.packs import Lanes, one_lane, packs
from harness.plan.estimate import COMPILE_SECONDS, estimate_on, pack_seconds
from harness.plan.machine import Machine, step_flops
from harness.plan.plan import Plan, estimate_seconds, make_plan
from harness.plan.speed import WORKER_START_SECONDS
from harness.records.paths import SweepFolder
from tests.fakes.points import write_point
from tests.small_sweeps import small_cells

SEEDS = ("grid.rungs=[16,32]", "grid.seeds=[0,1,2,3]")


def plan_of(folder: Path, *overrides: str) -> Plan:
    return make_plan(SweepFolder(folder), small_cells(*overrides), 8192)


def machine(device: str, lanes: Lanes = one_lane, core_rate: float | None = None) -> Machine:
    devices = Devices.parse(device)
    return Machine(devices, MeshConfig(), Execution(), devices.count, lanes, core_rate=core_rate)


def test_cores_are_planned_as_this_machine_is(tmp_path: Path) -> None:
    made = plan_of(tmp_path, *SEEDS, "grid.holdout_factor=2")
    assert len(made.phases) == 2
    for n in (1, 2):
        found = estimate_on(made, machine(f"cpu:{n}", core_rate=1e10)).seconds
        assert found == pytest.approx(estimate_seconds(made, 1e10, n))
    assert math.isnan(estimate_on(made, machine("cpu:2")).seconds)


def test_the_time_is_that_of_the_busiest_device_with_starts_and_compilation(tmp_path: Path) -> None:
    made = plan_of(tmp_path, *SEEDS)
    alone, many = (estimate_on(made, machine(f"h100:{n}")) for n in (1, 8))
    # Two shapes are compiled, each once: the second seed finds the program in the cache.
    total = sum(rung.seconds for rung in alone.rungs)
    assert alone.seconds == pytest.approx(total + 2 * COMPILE_SECONDS + WORKER_START_SECONDS)
    longest = max(rung.seconds / 4 for rung in many.rungs)
    assert many.seconds == pytest.approx(longest + COMPILE_SECONDS + WORKER_START_SECONDS)


def test_a_pack_takes_its_steps_together(tmp_path: Path) -> None:
    made = plan_of(tmp_path, *SEEDS)
    there = machine("h100", lambda _: 4)
    (_, pack) = packs(made.phase_jobs(made.phases[0]), there.lanes)
    spec = pack[0].spec
    steps = made.job_flops(pack[0]) / step_flops(spec)
    assert pack_seconds(made, pack, there) == pytest.approx(steps * there.step_seconds(spec, 4))
    assert pack_seconds(made, pack, there) < 2 * pack_seconds(made, pack[:1], there)
    rungs = estimate_on(made, there).rungs
    assert [(rung.spec.rung, rung.n_runs, rung.n_open) for rung in rungs] == [("d16", 4, 4), ("d32", 4, 4)]
    assert rungs[0].n_bytes == there.bytes(rungs[0].spec, 4) > 3 * there.bytes(rungs[0].spec, 1)


def test_finished_cells_cost_no_time_and_are_still_counted_in_memory(tmp_path: Path) -> None:
    cells = small_cells(*SEEDS)
    for cell in cells:
        if cell.spec.rung == "d16":
            write_point(SweepFolder(tmp_path), cell.spec, cell.n_tokens)
    found = {rung.spec.rung: rung for rung in estimate_on(plan_of(tmp_path, *SEEDS), machine("h100")).rungs}
    assert (found["d16"].n_open, found["d16"].seconds) == (0, 0)
    assert found["d32"].n_open == 4
    assert 0 < found["d16"].n_bytes < found["d32"].n_bytes


def test_a_run_that_is_open_in_both_phases_is_one_run(tmp_path: Path) -> None:
    made = plan_of(tmp_path, "grid.rungs=[16,32]", "grid.n_tokens=[4096,8192,16384]", "grid.holdout_factor=2")
    both = {c.spec.run_id for c in made.phases[0]} & {c.spec.run_id for c in made.phases[1]}
    assert both
    assert [rung.n_open for rung in estimate_on(made, machine("h100")).rungs] == [1, 1]
