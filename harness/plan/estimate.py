"""Memory and time of a plan on devices that are not here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.grid.cells import trajectories
from harness.grid.packs import packs
from harness.plan.machine import Machine, step_flops
from harness.plan.plan import Plan
from harness.plan.speed import WORKER_START_SECONDS, makespan
from harness.recipe.spec import Pack, RunSpec

# Compilation of a step for absent TPUs and GPUs took 11 to 30 s (`harness.aot`); an evaluation comes on top.
COMPILE_SECONDS = 40.0


@dataclass(frozen=True)
class RungEstimate:
    """Estimate of one rung.

    Attributes:
        spec: recipe of the pack that needs most memory.
        n_runs: runs in that pack.
        n_open: runs of the rung with open cells.
        n_bytes: counted bytes of that pack on one device.
        seconds: of the open packs one after the other, without compilation; NaN if the speed is unknown.
    """

    spec: RunSpec
    n_runs: int
    n_open: int
    n_bytes: float
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """Estimate of a plan.

    Attributes:
        rungs: one entry for each rung and batch size.
        seconds: wall-clock seconds of the open cells; NaN if the speed is unknown.
    """

    rungs: list[RungEstimate]
    seconds: float


def estimate_on(plan: Plan, machine: Machine) -> Estimate:
    """Return the estimate of a plan on a machine."""
    phases = [packs(plan.phase_jobs(phase), machine.lanes) for phase in plan.phases]
    seconds = 0.0
    compiled: set[object] = set()
    for phase in phases:
        costs = [
            pack_seconds(plan, pack, machine) + _compile_seconds(pack, machine, compiled) for pack in phase
        ]
        # Phases do not overlap: each takes as long as its busiest worker.
        busiest = math.nan if any(map(math.isnan, costs)) else makespan(costs, machine.at_once)
        seconds += busiest + WORKER_START_SECONDS
    groups: dict[object, list[Pack]] = {}
    for pack in packs(trajectories(plan.cells), machine.lanes):
        groups.setdefault(_rung(pack), []).append(pack)
    open_packs = [pack for phase in phases for pack in phase]
    rungs = [
        _rung_estimate(plan, group, [pack for pack in open_packs if _rung(pack) == rung], machine)
        for rung, group in groups.items()
    ]
    return Estimate(rungs, seconds)


def _rung(pack: Pack) -> object:
    return pack[0].spec.rung, pack[0].spec.optim.batch_size


def _rung_estimate(plan: Plan, whole: list[Pack], unfinished: list[Pack], machine: Machine) -> RungEstimate:
    """Return the estimate of a rung from all its packs and those that are open."""
    largest = max(whole, key=lambda pack: machine.bytes(pack[0].spec, len(pack)))
    return RungEstimate(
        spec=largest[0].spec,
        n_runs=len(largest),
        n_open=len({job.spec.run_id for pack in unfinished for job in pack}),
        n_bytes=machine.bytes(largest[0].spec, len(largest)),
        seconds=sum(pack_seconds(plan, pack, machine) for pack in unfinished),
    )


def pack_seconds(plan: Plan, pack: Pack, machine: Machine) -> float:
    """Return the seconds in which a pack is trained and evaluated; its runs take their steps together."""
    spec = pack[0].spec
    steps = max(plan.job_flops(job) for job in pack) / step_flops(spec)
    return steps * machine.step_seconds(spec, len(pack))


def _compile_seconds(pack: Pack, machine: Machine, compiled: set[object]) -> float:
    """Return the seconds of compilation, 0 if an earlier pack left the program in the cache."""
    program = pack[0].spec.model, pack[0].spec.optim.compiled, len(pack)
    # On a CPU the start of a worker includes it.
    if machine.devices.accelerator is None or program in compiled:
        return 0.0
    compiled.add(program)
    return COMPILE_SECONDS
