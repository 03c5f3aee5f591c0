"""Bytes that a training step moves, counted from shapes: to and from memory, and to other devices."""

from __future__ import annotations

from dataclasses import replace

from harness.execution.execution import MeshConfig
from harness.execution.memory import ACTIVATION_BYTES, FP32, device_memory, local_params
from harness.recipe.spec import RunSpec

# Passes of a saved activation through memory: written and read forward, read and its gradient written back.
PASSES = 4
# Sums over a tensor axis in one layer: after attention and MLP, forward and backward.
TENSOR_SUMS = 4
# Exchanges of a token's activations with an expert: there and back, forward and backward.
EXPERT_EXCHANGES = 4


def memory_traffic(spec: RunSpec, mesh: MeshConfig, attention: str) -> float:
    """Return the bytes that one device moves to and from its memory in a step.

    Args:
        spec: recipe of the run.
        mesh: mesh of the run.
        attention: attention implementation, which decides what is stored.
    """
    # As if nothing were rematerialised: what is not saved is computed, and so written, a second time.
    batch = spec.optim.batch_size
    whole = device_memory(spec.model, replace(mesh, stage=1), "none", batch, 1, attention)
    # Parameters, moments, gradients and logits are read and written once.
    once = 2 * (whole.logits + (whole.state + whole.gradients) / mesh.stage)
    return PASSES * whole.activations / mesh.stage + once


def link_traffic(spec: RunSpec, mesh: MeshConfig, n_micro: int) -> float:
    """Return the bytes that one device sends to others of its mesh in a step, as rings would send them.

    Args:
        spec: recipe of the run.
        mesh: mesh of the run.
        n_micro: micro-batches of a step; each gathers sharded parameters anew.
    """
    model, size = spec.model, ACTIVATION_BYTES[spec.model.precision]
    own = local_params(model, mesh)
    # Of a ring of n devices, each sends all parts but one.
    data, fsdp, tensor, expert = ((n - 1) / n for n in (mesh.data, mesh.fsdp, mesh.tensor, mesh.expert))
    tokens = spec.batch_tokens / mesh.n_batch_shards * model.n_layers / mesh.stage
    return (
        # The gradient is summed by a reduce-scatter and an all-gather.
        data * 2 * FP32 * own
        # Parameters are gathered forward and backward, and their gradient is scattered.
        + fsdp * mesh.fsdp * own * n_micro * (2 * size + FP32)
        + tensor * 2 * TENSOR_SUMS * tokens * model.d_model * size
        + expert * EXPERT_EXCHANGES * tokens * model.n_active_experts * model.d_model * size
    )
