"""Estimates for devices that are not here: memory and seconds of a step from shapes and data sheets alone.

Without a measured `plan.mfu` the time of a step on an accelerator is assumed to be a sum: matrix products,
traffic with memory and with other devices, and the start of kernels. Small models mostly wait for the last.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from harness.execution.devices import GIB, Devices
from harness.execution.execution import REMAT, Execution, MeshConfig, attention_on
from harness.execution.memory import DeviceMemory, device_memory
from harness.execution.micro_batch import micro_batch_size
from harness.grid.packs import Lanes
from harness.plan.plan import PROCESS_BYTES, pack_bytes
from harness.plan.speed import step_rate
from harness.plan.traffic import link_traffic, memory_traffic
from harness.recipe import counting
from harness.recipe.spec import RunSpec

# Share of the data sheet's peak that large matrix products are assumed to reach.
PRODUCT_SHARE = 0.5
# Seconds in which the kernels of one layer are started, in a step forward and back. A TPU runs a program as a
# whole, a GPU its kernels one by one.
LAYER_SECONDS = {"gpu": 2e-4, "tpu": 5e-5}
# Matrix products of a step with all activations rematerialised: forward, forward again, backward.
FULL_REMAT_WORK = 4 / 3
# Share of a GPU's memory that JAX takes, and the variables that say otherwise, the older name last.
JAX_SHARE = 0.75
SHARE_VARIABLES = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")
LARGER_SHARE = 0.95
# Above this share of the memory a count that is 15 % low would not fit.
TIGHT = 0.85


def memory_share(environment: Mapping[str, str] = os.environ) -> float:
    """Return the share of a GPU's memory that JAX takes under these variables."""
    for name in SHARE_VARIABLES:
        try:
            share = float(environment.get(name, ""))
        except ValueError:
            continue
        if 0 < share <= 1:
            return share
    return JAX_SHARE


@dataclass(frozen=True)
class Machine:
    """Devices that a plan is made for, and how runs are placed on them.

    Attributes:
        devices: the devices.
        mesh: mesh of one run.
        execution: execution options of a run.
        at_once: packs that train at the same time.
        lanes: largest number of runs in one pack, by model.
        mfu: share of the peak that every step reaches, as the user says; None leaves it to what follows.
        measured: share of the peak that runs of the sweep reached, by rung; for other rungs it is assumed.
        price_per_hour: price of one device for an hour; None prints no cost.
        share: share of a GPU's memory that JAX takes.
        core_rate: FLOP/s of fp32 matrix products on one core of this machine; None if it was not measured.
    """

    devices: Devices
    mesh: MeshConfig
    execution: Execution
    at_once: int
    lanes: Lanes
    mfu: float | None = None
    measured: Mapping[str, float] = field(default_factory=dict)
    price_per_hour: float | None = None
    share: float = JAX_SHARE
    core_rate: float | None = None

    @property
    def capacity(self) -> float | None:
        """Bytes of one device that a run can use; None for CPU cores, whose machine is not known."""
        sheet = self.devices.accelerator
        if sheet is None:
            return None
        return sheet.memory * (self.share if sheet.platform == "gpu" else 1.0)

    @property
    def n_busy(self) -> int:
        """Devices that train; the others have no run to take."""
        return min(self.devices.count, self.at_once * self.mesh.n_devices)

    def hours(self, seconds: float) -> float:
        """Return the device-hours of a plan that takes so long: all devices are held until its end."""
        return self.devices.count * seconds / 3600

    def micro_batch(self, spec: RunSpec) -> int:
        """Return the sequences per micro-batch, over the whole mesh."""
        return self.execution.micro_batch or micro_batch_size(
            spec, self.mesh.n_batch_shards, self.devices.platform, self.mesh.stage
        )

    def memory(self, spec: RunSpec) -> DeviceMemory:
        """Return the counted memory of one run's step on one device."""
        size = self.micro_batch(spec)
        attention = attention_on(spec.model, self.execution, self.devices.platform, self.mesh.stage)
        n_micro = spec.optim.batch_size // size
        return device_memory(spec.model, self.mesh, self.execution.remat, size, n_micro, attention)

    def bytes(self, spec: RunSpec, n_runs: int) -> float:
        """Return the bytes of a pack of `n_runs` on one device; of its process as well on a CPU."""
        return pack_bytes(self.memory(spec), n_runs) + (PROCESS_BYTES if self.capacity is None else 0.0)

    def step_seconds(self, spec: RunSpec, n_runs: int = 1) -> float:
        """Return the estimated seconds of a training step of a pack; NaN on a CPU that was not measured."""
        flops = n_runs * step_flops(spec)
        sheet = self.devices.accelerator
        if sheet is None:
            core = math.nan if self.core_rate is None else step_rate(self.core_rate, spec.model.d_model)
            return flops / (core * self.mesh.n_devices)
        peak = self.mesh.n_devices * sheet.peak(spec.model.precision)
        mfu = self.measured.get(spec.rung) if self.mfu is None else self.mfu
        if mfu is not None:
            return flops / (mfu * peak)
        again = FULL_REMAT_WORK if self.execution.remat == "full" else 1.0
        products = again * flops / (PRODUCT_SHARE * peak)
        attention = attention_on(spec.model, self.execution, sheet.platform, self.mesh.stage)
        traffic = n_runs * memory_traffic(spec, self.mesh, attention) / sheet.bandwidth
        n_micro = spec.optim.batch_size // self.micro_batch(spec)
        talk = link_traffic(spec, self.mesh, n_micro) / sheet.link
        ticks = n_micro + self.mesh.stage - 1
        starts = ticks * LAYER_SECONDS[sheet.platform] * spec.model.n_layers / self.mesh.stage
        # Stages of a pipeline wait while it fills and drains.
        return (products + traffic) * ticks / n_micro + talk + starts

    def utilisation(self, spec: RunSpec, n_runs: int = 1) -> float | None:
        """Return the MFU: model FLOPs of a step over what the peak could do meanwhile; None on a CPU."""
        sheet = self.devices.accelerator
        if sheet is None:
            return None
        possible = self.mesh.n_devices * sheet.peak(spec.model.precision) * self.step_seconds(spec, n_runs)
        return n_runs * step_flops(spec) / possible

    def fits(self, spec: RunSpec, n_runs: int) -> bool:
        """Return whether the counted bytes of a pack fit into a device."""
        return self.capacity is None or self.bytes(spec, n_runs) <= self.capacity

    def remedy(self, spec: RunSpec, n_runs: int) -> str:
        """Return what to type so that a rung fits: the first of these whose counted memory does."""
        if n_runs > 1 and self.fits(spec, 1):
            return "type launcher.pack=1"
        if self.devices.platform == "gpu" and replace(self, share=LARGER_SHARE).fits(spec, 1):
            return f"put {SHARE_VARIABLES[0]}={LARGER_SHARE:g} in front of the command"
        for other, typed in self._others(spec):
            if other.fits(spec, 1):
                return f"type {' '.join(typed)}"
        return "take it out of grid.rungs, or try model.precision=bf16 or a smaller optim.batch_size"

    def _others(self, spec: RunSpec) -> Iterator[tuple[Machine, list[str]]]:
        """Yield other settings of memory with their overrides, those that cost least first."""
        remats = REMAT[REMAT.index(self.execution.remat) :]
        for mesh, typed in self._meshes(spec.optim.batch_size):
            for micro in (self.execution.micro_batch, *self._micro_batches(spec, mesh)):
                for remat in remats:
                    execution = replace(self.execution, remat=remat, micro_batch=micro)
                    given = [*typed]
                    if remat != self.execution.remat:
                        given.append(f"execution.remat={remat}")
                    if micro != self.execution.micro_batch:
                        given.append(f"execution.micro_batch={micro}")
                    yield replace(self, mesh=mesh, execution=execution), given

    def _meshes(self, batch: int) -> Iterator[tuple[MeshConfig, list[str]]]:
        """Yield the mesh, and those with more shards of parameters, on these devices and then on more."""
        yield self.mesh, []
        fsdp = self.mesh.fsdp
        while batch % ((fsdp := 2 * fsdp) * self.mesh.data * self.mesh.expert) == 0:
            mesh = replace(self.mesh, fsdp=fsdp)
            typed = [f"mesh.fsdp={fsdp}"]
            if self.devices.count % mesh.n_devices:
                typed.append(f"plan.device={self.devices.name}:{mesh.n_devices}")
            yield mesh, typed

    def _micro_batches(self, spec: RunSpec, mesh: MeshConfig) -> list[int]:
        """Return smaller micro-batches that divide the batch and that the mesh divides, largest first."""
        if mesh.stage > 1:
            return []
        batch, shards = spec.optim.batch_size, mesh.n_batch_shards
        now = self.micro_batch(spec)
        return [n for n in range(now - 1, 0, -1) if batch % n == 0 and n % shards == 0]


def step_flops(spec: RunSpec) -> float:
    """Return the training FLOPs of one step."""
    return float(counting.train_flops_token(spec.model)) * spec.batch_tokens


def gib(value: float) -> str:
    """Return bytes in GiB, with as many digits as tell something.

    >>> gib(80 * 2**30), gib(0.25 * 2**30)
    ('80', '0.25')
    """
    return f"{value / GIB:.0f}" if value >= 10 * GIB else f"{value / GIB:.2g}"
