"""Bytes that a training step needs on each device of a mesh, from shapes alone."""

from __future__ import annotations

from dataclasses import dataclass

from harness.execution.execution import MeshConfig
from harness.recipe import counting
from harness.recipe.spec import ModelSpec

FP32 = 4
ACTIVATION_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
# Parameters and two moments of Adam.
STATE_COPIES = 3
# Vectors of d_model that a block keeps: inputs and results of two norms, whole on every device of a tensor
# axis; and, split by heads, q and k before and after norm and rotation, v, and attention's result in its own
# layout and in that of the next product.
WHOLE_VECTORS, HEAD_VECTORS = 4, 7


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes on one device.

    `block`: what the backward pass of one block makes for itself. Gradients and this come when the logits are
    gone. `overlap`: the compiler holds as much as the lesser of the two in copies of what it saved for the
    backward pass, which it does where nothing is made again.
    """

    state: float
    gradients: float
    activations: float
    logits: float
    block: float
    overlap: bool

    @property
    def total(self) -> float:
        ends = self.gradients + self.block, self.logits
        return self.state + self.activations + (sum(ends) if self.overlap else max(ends))


def local_params(model: ModelSpec, mesh: MeshConfig) -> float:
    """Parameters that one device holds: layers are split by stages too, and experts by the axis for them."""
    ends = 2 * model.vocab_size * model.d_model / (mesh.fsdp * mesh.tensor)
    return local_layer_params(model, mesh) * model.n_layers / mesh.stage + ends


def local_layer_params(model: ModelSpec, mesh: MeshConfig) -> float:
    """Parameters of one layer that a device of its stage holds, the last norm's spread over all layers."""
    ends = 2 * model.vocab_size * model.d_model
    experts = model.n_layers * model.n_experts * counting.mlp_entries(model) if model.n_experts > 1 else 0
    blocks = counting.n_params(model) - ends - experts
    return (blocks + experts / mesh.expert) / model.n_layers / (mesh.fsdp * mesh.tensor)


def places(model: ModelSpec) -> float:
    """Places of MLPs for each token: 1, or those of all experts, filled or not."""
    if model.n_experts == 1:
        return 1.0
    return model.n_experts * counting.expert_capacity(model, model.seq_len) / model.seq_len


def saved_bytes_token(model: ModelSpec, mesh: MeshConfig, remat: str, attention: str) -> float:
    """Bytes of activations kept for the backward pass, for a token and a layer."""
    size = ACTIVATION_BYTES[model.precision]
    if remat == "full":
        return size * model.d_model
    hidden = places(model) * counting.mlp_matrices(model) * model.d_ff / mesh.tensor
    if remat == "dots":
        return size * (model.d_model + 4 * model.d_model / mesh.tensor + hidden)
    # Kernels that work in blocks keep one sum a row.
    rows = FP32 * model.n_heads / mesh.tensor
    weights = size * scores_token(model, mesh) if attention == "xla" else rows
    vectors = WHOLE_VECTORS + HEAD_VECTORS / mesh.tensor
    return size * (vectors * model.d_model + hidden) + weights + sent_bytes_token(model)


def scores_token(model: ModelSpec, mesh: MeshConfig) -> float:
    """Entries of attention that a device makes for a token and a layer."""
    return model.seq_len * model.n_heads / mesh.tensor


def sent_bytes_token(model: ModelSpec) -> float:
    """What goes to the experts and comes back, before and after it changes devices, and at its token."""
    if model.n_experts == 1:
        return 0.0
    return ACTIVATION_BYTES[model.precision] * model.d_model * (4 * places(model) + model.n_active_experts)


def block_bytes(model: ModelSpec, mesh: MeshConfig, remat: str, tokens: float, attention: str) -> float:
    """What the backward pass of a block makes: what was not kept, and gradients of all but what is sent.

    Scores have their gradient in fp32 too where activations are not. Where parameters are fully sharded also
    its own gathered, in the dtype of activations, and their gradient before it is scattered again.
    """
    whole = saved_bytes_token(model, mesh, "none", attention)
    anew = whole - saved_bytes_token(model, mesh, remat, attention)
    own = local_layer_params(model, mesh) * mesh.fsdp
    gathered = (ACTIVATION_BYTES[model.precision] + FP32) * own if mesh.fsdp > 1 else 0.0
    wide = attention == "xla" and model.precision != "fp32"
    scores = FP32 * scores_token(model, mesh) if wide else 0.0
    return tokens * (anew + whole + scores - sent_bytes_token(model)) + gathered


def device_memory(
    model: ModelSpec, mesh: MeshConfig, remat: str, micro_batch: int, n_micro: int, attention: str = "xla"
) -> DeviceMemory:
    """Memory of a step of `n_micro` micro-batches of `micro_batch` sequences with this kernel of attention.

    A pipeline keeps the activations of all its micro-batches, other layouts those of one. With several
    micro-batches in turn, gradients are kept twice: the sum, and what is added to it.
    """
    tokens = micro_batch * model.seq_len / mesh.n_batch_shards
    params = local_params(model, mesh)
    ticks = n_micro + mesh.stage - 1 if mesh.stage > 1 else 1
    layers = model.n_layers / mesh.stage
    saved = ticks * tokens * layers * saved_bytes_token(model, mesh, remat, attention)
    copies = 2 if n_micro > 1 and mesh.stage == 1 else 1
    return DeviceMemory(
        state=STATE_COPIES * FP32 * params,
        gradients=copies * FP32 * params,
        activations=saved,
        logits=2 * FP32 * tokens * model.vocab_size / mesh.tensor,
        block=block_bytes(model, mesh, remat, tokens, attention),
        overlap=remat == "none",
    )
