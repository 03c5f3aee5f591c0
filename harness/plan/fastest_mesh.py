"""Choice of a mesh: the one that trains a plan soonest, among those into whose devices every rung fits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from harness.execution.execution import MeshConfig, check_mesh, check_platform
from harness.grid.cells import job_flops
from harness.grid.packs import packs
from harness.plan.machine import Machine, step_flops
from harness.plan.speed import makespan
from harness.recipe.spec import Job
from harness.records.errors import InputError
from harness.records.number_text import duration


def meshes(n_devices: int) -> Iterator[MeshConfig]:
    """Yield every mesh whose size divides the number of devices, small ones first."""
    for size in range(1, n_devices + 1):
        if n_devices % size == 0:
            yield from (MeshConfig(*axes) for axes in _factors(size, 5))


def _factors(product: int, n: int) -> Iterator[tuple[int, ...]]:
    """Yield all `n` factors of a product, in every order."""
    if n == 1:
        yield (product,)
        return
    for first in range(product, 0, -1):
        if product % first == 0:
            yield from ((first, *rest) for rest in _factors(product // first, n - 1))


def fastest(jobs: Sequence[Job], machines: Sequence[Machine]) -> tuple[Machine, str]:
    """Return the machine whose mesh trains the jobs soonest, and a sentence on the choice.

    Args:
        jobs: all jobs of a plan.
        machines: the same devices with each mesh; of equally fast ones the first is taken.

    Raises:
        InputError: no mesh can run the jobs, or none has the memory.
    """
    able = [machine for machine in machines if _runs(jobs, machine)]
    fitting = [machine for machine in able if all(machine.fits(job.spec, 1) for job in jobs)]
    if not fitting:
        devices = machines[0].devices
        raise InputError(
            f"a mesh of {devices} that holds every rung was expected, and none of {len(able)} does; type "
            "execution.remat=full, model.precision=bf16 or more devices"
        )
    times = [_seconds(jobs, machine) for machine in fitting]
    best, worst = min(times), max(times)
    found = fitting[times.index(best)]
    return found, (
        f"mesh=auto takes {found.mesh} for a run: of {len(fitting)} meshes of {found.devices} that hold "
        f"every rung it is the fastest, about {duration(best)} where the slowest takes {duration(worst)}"
    )


def _runs(jobs: Sequence[Job], machine: Machine) -> bool:
    """Return whether a mesh divides models and batches, and the platform has what they need."""
    specs = [job.spec for job in jobs]
    try:
        check_mesh(specs, machine.mesh, machine.execution)
        check_platform(specs, machine.mesh, machine.execution, machine.devices.platform)
    except InputError:
        return False
    return True


def _seconds(jobs: Sequence[Job], machine: Machine) -> float:
    """Return the seconds in which the machine trains the jobs, without evaluations and compilation."""
    costs = []
    for pack in packs(list(jobs), machine.lanes):
        spec = pack[0].spec
        steps = max(job_flops(job) for job in pack) / step_flops(spec)
        costs.append(steps * machine.step_seconds(spec, len(pack)))
    total = makespan(costs, machine.at_once)
    return math.inf if math.isnan(total) else total
