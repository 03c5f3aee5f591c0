"""Execution options: mesh, rematerialisation, micro-batch, attention implementation, and their checks.

None of them is part of a run's identity: the same recipe has the same `run_id` on any mesh.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from harness.recipe.spec import ModelSpec, RunSpec
from harness.records.errors import InputError

REMAT = ("none", "dots", "full")
ATTENTION = ("xla", "cudnn", "splash")
# Largest head_dim, and its divisor, that cuDNN's kernel supports on every GPU that has the kernel.
CUDNN_HEAD_DIM, CUDNN_MULTIPLE = 128, 8
# The splash kernel works on blocks of this many positions.
SPLASH_MULTIPLE = 128


@dataclass(frozen=True)
class MeshConfig:
    """Number of devices along each axis of the mesh.

    Attributes:
        data: Data parallel: splits the batch.
        fsdp: Fully sharded data parallel: splits the batch, parameters, gradients and optimiser state.
        tensor: Tensor parallel: splits heads, MLP and vocabulary.
        stage: Pipeline parallel: splits the layers into stages.
        expert: Expert parallel: splits the batch and the experts.
    """

    data: int = 1
    fsdp: int = 1
    tensor: int = 1
    stage: int = 1
    expert: int = 1

    @property
    def n_devices(self) -> int:
        """Devices of the whole mesh."""
        return math.prod(asdict(self).values())

    @property
    def n_batch_shards(self) -> int:
        """Shards of a batch: the axes `data`, `fsdp` and `expert` split it."""
        return self.data * self.fsdp * self.expert

    def __str__(self) -> str:
        sizes = [f"mesh.{name}={size}" for name, size in asdict(self).items() if size > 1]
        return " × ".join(sizes) or "one device"


@dataclass(frozen=True)
class Execution:
    """Options that trade memory for time; None leaves the choice to the platform.

    Attributes:
        remat: Rematerialisation of activations in the backward pass: `none`, `dots` or `full`.
        scan_layers: Whether the layers run as one `lax.scan` over stacked parameters.
        micro_batch: Sequences per micro-batch, over the whole mesh; gradients accumulate over a batch.
        attention: Attention implementation: `xla`, `cudnn` or `splash`.
    """

    remat: str = "none"
    scan_layers: bool | None = None
    micro_batch: int | None = None
    attention: str | None = None


def attention_lacks(name: str, model: ModelSpec, platform: str, n_stages: int) -> str | None:
    """Return why this attention implementation cannot run the model, or None.

    Args:
        name: Attention implementation: `xla`, `cudnn` or `splash`.
        model: Shape and precision of the model.
        platform: `cpu`, `gpu` or `tpu`.
        n_stages: Pipeline stages.

    Returns:
        The requirement and its actual value, as the end of a sentence that begins "… needs".
    """
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
    """Return the attention implementation to use.

    It is `execution.attention` if given, else the platform's own kernel if that can run the model, else
    `xla`.
    """
    if execution.attention is not None:
        return execution.attention
    own = {"gpu": "cudnn", "tpu": "splash"}.get(platform, "xla")
    return "xla" if attention_lacks(own, model, platform, n_stages) else own


def check_platform(specs: Iterable[RunSpec], mesh: MeshConfig, execution: Execution, platform: str) -> None:
    """Check precision and attention against the platform, before anything is compiled.

    Raises:
        InputError: If `platform` (`cpu`, `gpu` or `tpu`) lacks fp16 or the attention implementation.
    """
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
    """Raise InputError unless the shards of the mesh divide `batch_size`."""
    shards = mesh.n_batch_shards
    if batch_size % shards:
        raise InputError(
            f"optim.batch_size={batch_size} is not divided by the {shards} parts into which "
            f"mesh.data={mesh.data} × mesh.fsdp={mesh.fsdp} × mesh.expert={mesh.expert} cut a batch; "
            f"use a multiple of {shards}"
        )


def check_mesh(specs: Iterable[RunSpec], mesh: MeshConfig, execution: Execution) -> None:
    """Check every recipe against the mesh, before anything is compiled.

    Raises:
        InputError: If an axis of the mesh does not divide the dimension it splits, or `micro_batch` does not
            divide the batch.
    """
    for spec in {(spec.rung, spec.model, spec.optim.batch_size): spec for spec in specs}.values():
        _check_model(spec.rung, spec.model, mesh)
        _check_windows(spec.rung, spec.model, mesh)
        check_divides(spec.optim.batch_size, mesh)
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


def _check_windows(rung: str, model: ModelSpec, mesh: MeshConfig) -> None:
    """Raise InputError unless windows repeat from stage to stage, because all stages run one program."""
    layers, period = model.n_layers // mesh.stage, model.window_period
    if mesh.stage > 1 and layers % period:
        fitting = max(n for n in range(1, layers + 1) if layers % n == 0 and n <= period)
        raise InputError(
            f"rung {rung} has {layers} layers in each of mesh.stage={mesh.stage} stages, a multiple of "
            f"model.full_every={period} was expected; use model.full_every={fitting} or another mesh.stage"
        )


def _check_micro_batch(spec: RunSpec, mesh: MeshConfig, execution: Execution) -> None:
    size, batch, shards = execution.micro_batch, spec.optim.batch_size, mesh.n_batch_shards
    if size is not None and (batch % size or size % shards):
        fitting = [n for n in range(shards, batch + 1, shards) if batch % n == 0]
        raise InputError(
            f"execution.micro_batch={size} was given and a divisor of optim.batch_size={batch} that the "
            f"{shards} parts of the mesh share evenly was expected; use one of {fitting}"
        )
