"""Mixture of experts: each token goes to a few of many MLPs, chosen by a router.

Tokens are grouped by sequence and earlier ones choose first: what a token yields depends neither on other
sequences nor on what follows it, so that a model is causal and the same on every mesh and micro-batch. An
expert takes a limited number of tokens of a sequence; those beyond pass on the residual stream alone.

References: Shazeer et al., arXiv:1701.06538; GShard, Lepikhin et al., arXiv:2006.16668, section 3.2; Switch
Transformer, Fedus et al., arXiv:2101.03961, section 2; ST-MoE, Zoph et al., arXiv:2202.08906, section 3.3.
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
    """What the routers of a model say of each sequence, summed over layers.

    `balance`: n_experts · Σ_e f_e·p_e with f_e the share of choices that fell on expert e and p_e its mean
    probability; 1 a layer where all are used alike, up to n_experts / n_active_experts where few are.
    `z`: mean square of log Σ_e exp(logit_e). `dropped`: share of choices beyond an expert's capacity.
    """

    balance: Float[Array, " batch"]
    z: Float[Array, " batch"]
    dropped: Float[Array, " batch"]


class Choices(NamedTuple):
    """The experts of each token, and the places they have there.

    `gates` weight what comes back. `slot` is the place of each choice among all places of all experts, and
    `pair` the inverse: the choice (token · n_active_experts + rank) that holds a place. A choice that was
    dropped has slot n_slots, an empty place has pair n_choices.
    """

    gates: Float[Array, "batch choices"]
    slot: Int[Array, "batch choices"]
    pair: Int[Array, "batch slots"]


def no_routing(spec: ModelSpec, batch: int) -> Routing | None:
    """Before the first layer; None where a model has no experts."""
    return Routing(*(jnp.zeros(batch) for _ in Routing._fields)) if spec.n_experts > 1 else None


def penalty(spec: ModelSpec, routing: Routing) -> Float[Array, " batch"]:
    """What routing adds to the training loss of a sequence, in nats per token."""
    return spec.balance_weight * routing.balance + spec.router_z_weight * routing.z


@jax.custom_vjp
def placed(
    x: Float[Array, "batch n d"], index: Int[Array, "batch m"], inverse: Int[Array, "batch n"]
) -> Float[Array, "batch m d"]:
    """Row `index[j]` of x at j, zeros where that is n. `inverse` says where each row went, m for nowhere.

    Its gradient is gathered too, where that of a plain look-up would be scattered.
    """
    del inverse  # for the gradient alone
    return jax.vmap(lambda rows, at: rows.at[at].get(mode="fill", fill_value=0))(x, index)


def _placed_forward(x: Array, index: Array, inverse: Array) -> tuple[Array, tuple[Array, Array]]:
    return placed(x, index, inverse), (index, inverse)


def _placed_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, None, None]:
    index, inverse = saved
    return placed(g, inverse, index), None, None


placed.defvjp(_placed_forward, _placed_backward)


def choose(spec: ModelSpec, logits: Float[Array, "batch seq experts"]) -> tuple[Choices, Routing]:
    """The `n_active_experts` most probable experts of each token, and their gates.

    Gates are the probabilities, with several experts a token divided by their sum (Mixtral, arXiv:2401.04088,
    section 2.1); one gate alone keeps its probability, without which the router would have no gradient.
    """
    batch, length, n_experts = logits.shape
    n_active, capacity = spec.n_active_experts, expert_capacity(spec, length)
    probabilities = jax.nn.softmax(logits)
    left, chosen = probabilities, []
    for _ in range(n_active):
        chosen.append(jax.nn.one_hot(left.argmax(-1), n_experts, dtype=jnp.int32))
        left = jnp.where(chosen[-1] > 0, -1.0, left)
    hits = jnp.stack(chosen, axis=2)
    gates = (hits * probabilities[:, :, None]).sum(-1)
    if n_active > 1:
        gates = gates / gates.sum(-1, keepdims=True)
    taken = hits.sum(2)
    upto = taken.cumsum(axis=1)
    place = (hits * (upto - taken)[:, :, None]).sum(-1)
    expert = (hits * jnp.arange(n_experts)).sum(-1)
    kept = place < capacity
    slot = jnp.where(kept, expert * capacity + place, n_experts * capacity)
    # A place is held by the first token up to which its expert was chosen more often than places come before.
    token = (upto.transpose(0, 2, 1)[..., None] <= jnp.arange(capacity)).sum(2)
    rank = (hits * jnp.arange(n_active)[:, None]).sum(2).transpose(0, 2, 1)
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
    """Logits of the experts, in fp32 also where activations are not."""

    def __init__(self, spec: ModelSpec, rngs: nnx.Rngs):
        shape = (spec.d_model, spec.n_experts)
        self.kernel = nnx.Param(
            jax.random.normal(rngs.params(), shape) * spec.d_model**-0.5, axes=("embed", None)
        )

    def __call__(self, x: Float[Array, "batch seq d"]) -> Float[Array, "batch seq experts"]:
        kernel = gathered(self.kernel[...], ("embed", None))
        logits = jnp.matmul(x.astype(jnp.float32), kernel, precision=lax.Precision.HIGHEST)
        return checkpoint_name(logits, PRODUCT)


class ExpertDense(nnx.Module):
    """A linear map for each expert, initialised N(0, scale²/d_in); `axes` names its kernel's dimensions."""

    def __init__(self, shape: tuple[int, int, int], axes: Axes, rngs: nnx.Rngs, scale: float = 1.0):
        values = jax.random.normal(rngs.params(), shape) * (scale * shape[1] ** -0.5)
        self.kernel = nnx.Param(values, axes=axes)
        self.axes = axes

    def __call__(
        self, x: Float[Array, "experts batch slots d_in"]
    ) -> Float[Array, "experts batch slots d_out"]:
        kernel, product = self.kernel[...], self._product
        if sharded() or kernel.dtype != x.dtype:
            # A kernel is kept as it is stored, in fp32 and in its shards: see `kernels.stored_dense`.
            product = jax.checkpoint(product, prevent_cse=False)
        return checkpoint_name(product(x, kernel), PRODUCT)

    def _product(self, x: Array, kernel: Array) -> Array:
        return jnp.einsum("ebci,eio->ebco", x, gathered(kernel.astype(x.dtype), self.axes))


class Moe(nnx.Module):
    """Experts, each an MLP as `harness.model.decoder.Mlp`, and their router.

    `out_scale` is the initial scale of the projections onto the residual stream.
    """

    def __init__(self, spec: ModelSpec, rngs: nnx.Rngs, out_scale: float):
        up, down = (spec.n_experts, spec.d_model, spec.d_ff), (spec.n_experts, spec.d_ff, spec.d_model)
        self.router = Router(spec, rngs)
        self.up = ExpertDense(up, ("expert", "embed", "mlp"), rngs)
        self.gate = ExpertDense(up, ("expert", "embed", "mlp"), rngs) if spec.mlp == "swiglu" else None
        self.down = ExpertDense(down, ("expert", "mlp", "embed"), rngs, out_scale)
        self.spec = spec

    def __call__(self, x: Float[Array, "tokens d"], batch: int) -> tuple[Float[Array, "tokens d"], Routing]:
        spec = self.spec
        grouped = constrain(x.reshape(batch, -1, spec.d_model), "batch")
        choices, routing = choose(spec, self.router(grouped))
        wanted = jnp.repeat(grouped, spec.n_active_experts, axis=1)
        back = placed(self._experts(placed(wanted, choices.pair, choices.slot)), choices.slot, choices.pair)
        weighted = back * choices.gates[..., None].astype(x.dtype)
        mixed = weighted.reshape(batch, -1, spec.n_active_experts, spec.d_model).sum(2)
        return mixed.reshape(x.shape), routing

    def _experts(self, x: Float[Array, "batch slots d"]) -> Float[Array, "batch slots d"]:
        """Where experts are split over devices, the two pairs of constraints make an all-to-all each."""
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
