"""How a recipe is carried out: devices, memory against time, micro-batches; no part of a run's identity."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from harness.records import InputError
from harness.spec import ModelSpec, RunSpec

REMAT = ("none", "dots", "full")


@dataclass(frozen=True)
class MeshConfig:
    """Number of devices along each axis of the mesh.

    `data` splits the batch; `fsdp` splits the batch and parameters, gradients and optimiser state; `tensor`
    splits heads, MLP and vocabulary; `stage` splits the layers into a pipeline; `expert` splits the batch and
    the experts.
    """

    data: int = 1
    fsdp: int = 1
    tensor: int = 1
    stage: int = 1
    expert: int = 1

    @property
    def n_devices(self) -> int:
        return math.prod(asdict(self).values())

    @property
    def n_batch_shards(self) -> int:
        """Parts into which a batch is cut."""
        return self.data * self.fsdp * self.expert

    def __str__(self) -> str:
        sizes = [f"mesh.{name}={size}" for name, size in asdict(self).items() if size > 1]
        return " × ".join(sizes) or "one device"


@dataclass(frozen=True)
class Execution:
    """Memory against time: rematerialisation, scanned layers, sequences per micro-batch.

    None leaves the choice to the platform.
    """

    remat: str = "none"
    scan_layers: bool | None = None
    micro_batch: int | None = None


def check_divides(batch_size: int, mesh: MeshConfig) -> None:
    """Raise InputError for a batch that the mesh does not cut evenly."""
    shards = mesh.n_batch_shards
    if batch_size % shards:
        raise InputError(
            f"optim.batch_size={batch_size} is not divided by the {shards} parts into which "
            f"mesh.data={mesh.data} × mesh.fsdp={mesh.fsdp} × mesh.expert={mesh.expert} cut a batch; "
            f"use a multiple of {shards}"
        )


def check_mesh(specs: Iterable[RunSpec], mesh: MeshConfig, execution: Execution) -> None:
    """Raise InputError where a recipe cannot be laid out on the mesh, before anything is compiled."""
    for spec in {(spec.rung, spec.model): spec for spec in specs}.values():
        _check_model(spec.rung, spec.model, mesh)
        _check_micro_batch(spec, mesh, execution)


def _check_model(rung: str, model: ModelSpec, mesh: MeshConfig) -> None:
    if mesh.expert > 1 and model.n_experts == 1:
        raise InputError(
            f"mesh.expert={mesh.expert} splits experts and rung {rung} has none; "
            "use mesh.expert=1, or model=moe"
        )
    for axis, key, what, size in (
        ("tensor", "model.head_dim", "heads", model.n_heads),
        ("tensor", "model.mlp_ratio", "units of the MLP", model.d_ff),
        ("stage", "model.n_layers", "layers", model.n_layers),
        ("expert", "model.n_experts", "experts", model.n_experts),
    ):
        parts = getattr(mesh, axis)
        if size % parts:
            fitting = [n for n in range(1, size + 1) if size % n == 0 and n <= parts]
            raise InputError(
                f"rung {rung} has {size} {what}, which mesh.{axis}={parts} does not divide; "
                f"use mesh.{axis}={max(fitting)}, another {key} or other grid.rungs"
            )


def _check_micro_batch(spec: RunSpec, mesh: MeshConfig, execution: Execution) -> None:
    size, batch, shards = execution.micro_batch, spec.optim.batch_size, mesh.n_batch_shards
    if size is not None and (batch % size or size % shards):
        fitting = [n for n in range(shards, batch + 1, shards) if batch % n == 0]
        raise InputError(
            f"execution.micro_batch={size} was given and a divisor of optim.batch_size={batch} that the "
            f"{shards} parts of the mesh share evenly was expected; use one of {fitting}"
        )
