"""Memory and time of a planned run on devices that are not here, as a sweep's own plan counts them."""

from __future__ import annotations

import math

from analysis.records.predictions import PlacementRecord
from harness.execution.devices import Devices
from harness.execution.execution import Execution, MeshConfig
from harness.grid.packs import one_lane
from harness.plan.machine import Machine
from harness.recipe.spec import RunSpec


def placement(spec: RunSpec, n_tokens: int, devices: Devices, mfu: float | None) -> PlacementRecord:
    """Return what a run asks of devices, with its batch split over as many of them as divide it.

    Args:
        spec: recipe of the run.
        n_tokens: training tokens.
        devices: accelerators.
        mfu: measured share of their peak; None counts products, memory traffic and kernel starts.
    """
    mesh = MeshConfig(data=math.gcd(spec.optim.batch_size, devices.count))
    machine = Machine(devices, mesh, Execution(), at_once=1, lanes=one_lane, mfu=mfu)
    utilisation, capacity = machine.utilisation(spec), machine.capacity
    assert utilisation is not None
    assert capacity is not None
    return PlacementRecord(
        n_devices=mesh.n_devices,
        n_bytes=machine.bytes(spec, 1),
        capacity=capacity,
        seconds=n_tokens / spec.batch_tokens * machine.step_seconds(spec),
        mfu=utilisation,
        remedy=None if machine.fits(spec, 1) else machine.remedy(spec, 1),
    )
