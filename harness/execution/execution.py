"""How a recipe is carried out: devices, memory against time, micro-batches; no part of a run's identity."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from harness.recipe.spec import ModelSpec, RunSpec
from harness.records.errors import InputError

REMAT = ("none", "dots", "full")
ATTENTION = ("xla", "cudnn", "splash")
# What cuDNN's kernel takes on every GPU that has one, and the splash kernel's blocks.
CUDNN_HEAD_DIM, CUDNN_MULTIPLE = 128, 8
SPLASH_MULTIPLE = 128


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
    """Memory against time: rematerialisation, scanned layers, sequences per micro-batch, kernel of attention.

    None leaves the choice to the platform.
    """

    remat: str = "none"
    scan_layers: bool | None = None
    micro_batch: int | None = None
    attention: str | None = None


def attention_lacks(name: str, model: ModelSpec, platform: str, n_stages: int) -> str | None:
    """What keeps an implementation of attention from this model on `cpu`, `gpu` or `tpu`; None: nothing."""
    if name == "cudnn":
        if platform != "gpu":
            return f"a GPU, and the platform is {platform}"
        if model.precision == "fp32":
            return "model.precision=bf16 or fp16, and it is fp32"
        if model.head_dim % CUDNN_MULTIPLE or model.head_dim > CUDNN_HEAD_DIM:
            return (
                f"a model.head_dim that {CUDNN_MULTIPLE} divides, up to {CUDNN_HEAD_DIM}, "
                f"and it is {model.head_dim}"
            )
    if name == "splash":
        if platform != "tpu":
            return f"a TPU, and the platform is {platform}"
        if model.seq_len % SPLASH_MULTIPLE:
            return f"a model.seq_len that {SPLASH_MULTIPLE} divides, and it is {model.seq_len}"
        if n_stages > 1:
            return f"mesh.stage=1, and it is {n_stages}"
    return None


def attention_on(model: ModelSpec, execution: Execution, platform: str, n_stages: int) -> str:
    """The implementation of attention: the one asked for, or the platform's own where it takes the model."""
    if execution.attention is not None:
        return execution.attention
    own = {"gpu": "cudnn", "tpu": "splash"}.get(platform, "xla")
    return "xla" if attention_lacks(own, model, platform, n_stages) else own


def check_platform(specs: Iterable[RunSpec], mesh: MeshConfig, execution: Execution, platform: str) -> None:
    """Raise InputError for what `cpu`, `gpu` or `tpu` cannot do, before anything is compiled."""
    for model in {spec.model for spec in specs}:
        if platform == "tpu" and model.precision == "fp16":
            raise InputError("model.precision=fp16 is not there on TPUs; use model.precision=bf16")
        name = execution.attention
        lacking = attention_lacks(name, model, platform, mesh.stage) if name else None
        if lacking:
            raise InputError(
                f"execution.attention={name} needs {lacking}; leave execution.attention out, "
                "and the platform chooses"
            )


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
