"""Mixture of experts: a router sends each token to the top-k of many MLPs, the experts.

An expert has a capacity: the number of tokens that it takes of one sequence, first come, first served. Tokens
beyond the capacity are dropped: the expert adds nothing to their residual stream.
Capacity is counted per sequence and in the order of positions. So the output of a token does not
depend on later tokens: the model is causal. Nor does it depend on other sequences: every mesh and micro-batch
gives the same result.

A slot is one of an expert's places for a token; an expert has as many slots as its capacity. A choice is a
pair of a token and one of its experts; a token makes `n_active_experts` choices.

References:
    Shazeer et al., arXiv:1701.06538: sparsely gated experts.
    GShard, Lepikhin et al., arXiv:2006.16668, section 3.2: groups, capacity, sharding of experts.
    Switch Transformer, Fedus et al., arXiv:2101.03961, section 2: capacity factor, load-balancing loss.
    ST-MoE, Zoph et al., arXiv:2202.08906, section 3.3: router z-loss.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

from harness.model import kernels
from harness.model.layers import PRODUCT
from harness.model.partition import Axes, constrain, gathered, sharded
from harness.recipe.counting import expert_capacity
from harness.recipe.spec import ModelSpec


class Routing(NamedTuple):
    """Routing statistics of each sequence, summed over layers.

    Arrays are [batch], or [n_micro, batch] behind a pipeline of stages.

    Attributes:
        balance: Load-balancing loss n_experts · Σ_e f_e·p_e, before its weight. f_e is the share of choices
            that fell on expert e, p_e its mean probability. It is 1 per layer if all experts are used alike,
            and up to n_experts / n_active_experts if few are.
        z: Router z-loss before its weight: the mean square of log Σ_e exp(logit_e) over tokens.
        dropped: Share of choices dropped because their expert was full.

    References:
        Fedus et al., arXiv:2101.03961, section 2.2, equation 4, for `balance`.
        Zoph et al., arXiv:2202.08906, section 3.3, for `z`.
    """

    balance: Float[Array, "*batch"]
    z: Float[Array, "*batch"]
    dropped: Float[Array, "*batch"]


class Choices(NamedTuple):
    """The top-k choices of every sequence: a map from choices to slots, and its inverse.

    Choices are numbered token · n_active_experts + rank, where rank 0 is the most probable expert. Slots are
    numbered expert · capacity + place.

    Attributes:
        gates: Weight of the expert's output for each choice.
        slot: Slot of each choice; n_slots if the choice was dropped.
        pair: Choice in each slot; n_choices if the slot is empty.
    """

    gates: Float[Array, "batch choices"]
    slot: Int[Array, "batch choices"]
    pair: Int[Array, "batch slots"]


def no_routing(spec: ModelSpec, batch: int) -> Routing | None:
    """Return statistics of zeros to sum layers into, or None if the model has no experts."""
    return Routing(*(jnp.zeros(batch) for _ in Routing._fields)) if spec.n_experts > 1 else None


def penalty(spec: ModelSpec, routing: Routing) -> Float[Array, "*batch"]:
    """Return the auxiliary loss of each sequence in nats per token: load balancing and router z-loss.

    The gradient uses it, but reported losses leave it out: it is no part of the model's likelihood.
    """
    return spec.balance_weight * routing.balance + spec.router_z_weight * routing.z


@jax.custom_vjp
def placed(
    x: Float[Array, "batch n d"], index: Int[Array, "batch m"], inverse: Int[Array, "batch n"]
) -> Float[Array, "batch m d"]:
    """Gather rows: row j of the result is row `index[j]` of x, or zeros if `index[j]` is n.

    Args:
        x: Rows of every sequence.
        index: Source row of each result row; n for none. No row of x may be named twice.
        inverse: Result row of each row of x; m for none.

    The gradient is the same gather with `index` and `inverse` exchanged. JAX's own gradient of a look-up
    would be a scatter-add, which is slower.
    """
    del inverse  # the gradient alone needs it
    return jax.vmap(lambda rows, at: rows.at[at].get(mode="fill", fill_value=0))(x, index)


def _placed_forward(x: Array, index: Array, inverse: Array) -> tuple[Array, tuple[Array, Array]]:
    return placed(x, index, inverse), (index, inverse)


def _placed_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, None, None]:
    index, inverse = saved
    return placed(g, inverse, index), None, None


placed.defvjp(_placed_forward, _placed_backward)


def choose(spec: ModelSpec, logits: Float[Array, "batch seq experts"]) -> tuple[Choices, Routing]:
    """Route every token to its `n_active_experts` most probable experts, as far as capacity allows.

    With several experts per token, gates are the chosen probabilities divided by their sum, dropped choices
    included. With one, the gate is its probability: divided by itself it would be 1, and the router would get
    no gradient from the loss.

    Args:
        spec: Shape of the model: number of experts, choices per token and capacity factor.
        logits: Router logits, fp32.

    Returns:
        The choices, and the routing statistics of this layer.

    References:
        Mixtral, Jiang et al., arXiv:2401.04088, section 2.1, for gates over the top k alone.
        Fedus et al., arXiv:2101.03961, section 2.1, for one expert per token.
    """
    batch, length, n_experts = logits.shape
    n_active, capacity = spec.n_active_experts, expert_capacity(spec, length)
    probabilities = jax.nn.softmax(logits)
    left, chosen = probabilities, []
    # Top-k by repeated argmax: k is small, and every pass yields the one-hot rows that the counts below need.
    # Chosen experts get -1, less than any probability.
    for _ in range(n_active):
        chosen.append(jax.nn.one_hot(left.argmax(-1), n_experts, dtype=jnp.int32))
        left = jnp.where(chosen[-1] > 0, -1.0, left)
    hits = jnp.stack(chosen, axis=2)
    gates = (hits * probabilities[:, :, None]).sum(-1)
    if n_active > 1:
        gates = gates / gates.sum(-1, keepdims=True)
    # A token's place at its expert is the number of earlier tokens that chose the same expert. Cumulative
    # sums over positions give it without a sort.
    taken = hits.sum(2)
    upto = taken.cumsum(axis=1)
    place = (hits * (upto - taken)[:, :, None]).sum(-1)
    expert = (hits * lax.broadcast_to_rank(jnp.arange(n_experts), hits.ndim)).sum(-1)
    kept = place < capacity
    slot = jnp.where(kept, expert * capacity + place, n_experts * capacity)
    # Place c of an expert belongs to the first token up to which more than c tokens chose this expert.
    places = lax.broadcast_to_rank(jnp.arange(capacity), 4)
    token = (upto.transpose(0, 2, 1)[..., None] <= places).sum(2)
    ranks = lax.broadcast_to_rank(jnp.arange(n_active)[:, None], hits.ndim)
    rank = (hits * ranks).sum(2).transpose(0, 2, 1)
    rank = jnp.take_along_axis(rank, jnp.minimum(token, length - 1), axis=2)
    pair = jnp.where(token < length, token * n_active + rank, length * n_active)
    choices = Choices(gates.reshape(batch, -1), slot.reshape(batch, -1), pair.reshape(batch, -1))
    return choices, _routing(spec, logits, probabilities, taken, kept)


def _routing(spec: ModelSpec, logits: Array, probabilities: Array, taken: Array, kept: Array) -> Routing:
    share = taken.mean(axis=1) / spec.n_active_experts
    return Routing(
        balance=spec.n_experts * (share * probabilities.mean(axis=1)).sum(-1),
        z=jnp.square(jax.nn.logsumexp(logits, axis=-1)).mean(axis=1),
        dropped=1.0 - kept.mean(axis=(1, 2)),
    )


class Router(nnx.Module):
    """Linear map to the logits of the experts, always in fp32.

    Rounded logits would change which expert is the most probable one (Fedus et al., arXiv:2101.03961, section
    2.4, keep the router in fp32 too).
    """

    def __init__(self, spec: ModelSpec, rngs: nnx.Rngs):
        shape = (spec.d_model, spec.n_experts)
        self.kernel = nnx.Param(
            jax.random.normal(rngs.params(), shape) * spec.d_model**-0.5, axes=("embed", None)
        )

    def __call__(self, x: Float[Array, "batch seq d"]) -> Float[Array, "batch seq experts"]:
        kernel = gathered(self.kernel[...], ("embed", None))
        # HIGHEST, because TPUs and GPUs multiply fp32 matrices in lower precision by default.
        logits = jnp.matmul(x.astype(jnp.float32), kernel, precision=lax.Precision.HIGHEST)
        return checkpoint_name(logits, PRODUCT)


class ExpertDense(nnx.Module):
    """One bias-free linear map per expert, initialised N(0, scale²/d_in).

    Args:
        shape: Experts, d_in, d_out.
        axes: Names of the kernel's dimensions (`harness.model.partition.RULES`).
        rngs: Source of the initial values.
        scale: Multiplies the initial standard deviation.
    """

    def __init__(self, shape: tuple[int, int, int], axes: Axes, rngs: nnx.Rngs, scale: float = 1.0):
        values = jax.random.normal(rngs.params(), shape) * (scale * shape[1] ** -0.5)
        self.kernel = nnx.Param(values, axes=axes)
        self.axes = axes

    def __call__(
        self, x: Float[Array, "experts batch slots d_in"]
    ) -> Float[Array, "experts batch slots d_out"]:
        kernel, product = self.kernel[...], self._product
        if sharded() or kernel.dtype != x.dtype:
            # Saves the kernel for the backward pass as stored, sharded and in fp32, not its gathered and cast
            # copy: see `kernels.stored_dense`.
            product = jax.checkpoint(product, prevent_cse=False)
        return checkpoint_name(product(x, kernel), PRODUCT)

    def _product(self, x: Array, kernel: Array) -> Array:
        return jnp.einsum("ebci,eio->ebco", x, gathered(kernel.astype(x.dtype), self.axes))


class Moe(nnx.Module):
    """Mixture-of-experts layer: a router, and one MLP (`harness.model.decoder.Mlp`) per expert.

    Args:
        spec: Shape of the model.
        rngs: Source of the initial values.
        out_scale: Multiplies the initial standard deviation of the projections onto the residual stream.
    """

    def __init__(self, spec: ModelSpec, rngs: nnx.Rngs, out_scale: float):
        up, down = (spec.n_experts, spec.d_model, spec.d_ff), (spec.n_experts, spec.d_ff, spec.d_model)
        self.router = Router(spec, rngs)
        self.up = ExpertDense(up, ("expert", "embed", "mlp"), rngs)
        self.gate = ExpertDense(up, ("expert", "embed", "mlp"), rngs) if spec.mlp == "swiglu" else None
        self.down = ExpertDense(down, ("expert", "mlp", "embed"), rngs, out_scale)
        self.spec = spec

    def __call__(self, x: Float[Array, "tokens d"], batch: int) -> tuple[Float[Array, "tokens d"], Routing]:
        """Return the weighted outputs of each token's experts, and the routing statistics.

        `batch` is the number of sequences in `x`.
        """
        spec = self.spec
        grouped = constrain(x.reshape(batch, -1, spec.d_model), "batch")
        choices, routing = choose(spec, self.router(grouped))
        # One row per choice, because `placed` takes every row at most once.
        wanted = jnp.repeat(grouped, spec.n_active_experts, axis=1)
        back = placed(self._experts(placed(wanted, choices.pair, choices.slot)), choices.slot, choices.pair)
        weighted = back * choices.gates[..., None].astype(x.dtype)
        mixed = weighted.reshape(batch, -1, spec.n_active_experts, spec.d_model).sum(2)
        return mixed.reshape(x.shape), routing

    def _experts(self, x: Float[Array, "batch slots d"]) -> Float[Array, "batch slots d"]:
        """Apply each expert to its slots.

        If experts are split over devices, each of the two pairs of constraints makes XLA insert an
        all-to-all: from devices that hold sequences to devices that hold experts, and back.
        """
        batch, n_slots, d = x.shape
        slots = constrain(x.reshape(batch, self.spec.n_experts, -1, d), "batch").swapaxes(0, 1)
        slots = constrain(slots, "expert", "group")
        up = self.up(slots)
        if self.gate is None:
            hidden = kernels.thrifty(jax.nn.gelu, up)
        else:
            hidden = kernels.thrifty(lambda gate, up: jax.nn.silu(gate) * up, self.gate(slots), up)
        out = self.down(constrain(hidden, "expert", "group", None, "mlp"))
        out = constrain(out, "expert", "group").swapaxes(0, 1)
        return constrain(out, "batch").reshape(batch, n_slots, d)
