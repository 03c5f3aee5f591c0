"""Bytes that a training step needs on each device of a mesh, from shapes alone."""

from __future__ import annotations

from dataclasses import dataclass

from harness import counting
from harness.execution import MeshConfig
from harness.spec import ModelSpec

FP32 = 4
ACTIVATION_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
# Parameters and two moments of Adam.
STATE_COPIES = 3
# Vectors of d_model that a block keeps: inputs of two norms and of qkv, q, k, v, mixed values, residual.
WIDE_VECTORS = 8

# Vectors of d_ff that it keeps: units before and after the activation, and what its derivative is made of.
MLP_VECTORS = 6


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes on one device."""

    state: float
    gradients: float
    activations: float
    logits: float

    @property
    def total(self) -> float:
        return self.state + self.gradients + self.activations + self.logits


def local_params(model: ModelSpec, mesh: MeshConfig) -> float:
    """Parameters that one device holds: blocks are split by stages too, and experts by the axis for them."""
    ends = 2 * model.vocab_size * model.d_model
    experts = model.n_layers * model.n_experts * counting.mlp_entries(model) if model.n_experts > 1 else 0
    blocks = counting.n_params(model) - ends - experts
    return ((blocks + experts / mesh.expert) / mesh.stage + ends) / (mesh.fsdp * mesh.tensor)


def places(model: ModelSpec) -> float:
    """Places of MLPs for each token: 1, or those of all experts, filled or not."""
    if model.n_experts == 1:
        return 1.0
    return model.n_experts * counting.expert_capacity(model, model.seq_len) / model.seq_len


def saved_bytes_token(model: ModelSpec, mesh: MeshConfig, remat: str) -> float:
    """Bytes of activations kept for the backward pass, for a token and a layer."""
    size = ACTIVATION_BYTES[model.precision]
    if remat == "full":
        return size * model.d_model
    units = places(model) * model.d_ff / mesh.tensor
    if remat == "dots":
        return size * (model.d_model + 4 * model.d_model / mesh.tensor + units * counting.mlp_matrices(model))
    # Weights of attention, in the precision of activations and in fp32.
    scores = (size + FP32) * model.n_heads * model.seq_len / mesh.tensor
    # What goes to the experts, and what comes back from them.
    sent = places(model) * 2 * model.d_model if model.n_experts > 1 else 0
    return size * (WIDE_VECTORS * model.d_model + sent + MLP_VECTORS * units) + scores


def device_memory(
    model: ModelSpec, mesh: MeshConfig, remat: str, micro_batch: int, n_micro: int
) -> DeviceMemory:
    """Memory of a step of `n_micro` micro-batches of `micro_batch` sequences.

    A pipeline keeps the activations of all its micro-batches, other layouts those of one. With several
    micro-batches in turn, gradients are kept twice: the sum, and what is added to it.
    """
    tokens = micro_batch * model.seq_len / mesh.n_batch_shards
    params = local_params(model, mesh)
    ticks = n_micro + mesh.stage - 1 if mesh.stage > 1 else 1
    layers = model.n_layers / mesh.stage
    saved = ticks * tokens * layers * saved_bytes_token(model, mesh, remat)
    copies = 2 if n_micro > 1 and mesh.stage == 1 else 1
    return DeviceMemory(
        state=STATE_COPIES * FP32 * params,
        gradients=copies * FP32 * params,
        activations=saved,
        logits=2 * FP32 * tokens * model.vocab_size / mesh.tensor,
    )
