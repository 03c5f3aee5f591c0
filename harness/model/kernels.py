"""Kernels with a hand-written backward pass: dense product, causal attention, cross-entropy; and RMSNorm.

At small shapes on CPU, JAX's automatic backward pass spends its time on transposed copies and on passes over
the T×T attention weights with materialised broadcasts. The kernels here choose the order of each contraction.
Layout: attention keeps positions last, [*batch, head_dim, seq], and scores as [*batch, keys, queries]. Norms,
rotary positions and the softmax then reduce over a major axis and run along contiguous positions.

The functions `textbook_*` are the same mathematics in plain JAX: the oracles of the tests, and the kernels of
`Decoder(textbook=True)`. A `jax.custom_vjp` has no forward-mode derivative; the textbook functions have.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

# Score of a masked key. Finite, because -inf - (-inf) in a softmax is NaN; exp(NEGATIVE - max) is exactly 0.
NEGATIVE = -1e30
# Width of the narrower side from which transposing a weight gradient separately pays (measured on CPU).
WIDE = 64


def _contract(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
    """Contract one axis of each operand; the result has the other axes of `a`, then those of `b`."""
    return lax.dot_general(a, b, (((axis_a,), (axis_b,)), ((), ())))


def _contract_heads(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
    """Contract one of the last two axes of each operand, batched over the axes before; fp32 result."""
    shared = tuple(range(a.ndim - 2))
    numbers = (((a.ndim + axis_a,), (b.ndim + axis_b,)), (shared, shared))
    return lax.dot_general(a, b, numbers, preferred_element_type=jnp.float32)


def _held(x: Array) -> Array:
    """Return `x` behind an optimisation barrier, which keeps its transposition out of the next product.

    XLA would fold the transposition into the product, which then takes up to twice as long on CPU.
    """
    return lax.optimization_barrier(x)


def _turned(x: Array) -> Array:
    return jnp.swapaxes(x, -1, -2)


def thrifty(apply: Callable[..., Any], x: Array, *others: Any) -> Any:
    """Return `apply(x, *others)`; in half precision, rematerialise its intermediates in the backward pass.

    An elementwise pass is quick to repeat, and its fp32 intermediates take more memory than its
    half-precision input.
    """
    # With prevent_cse=True JAX sets barriers that keep XLA from fusing the pass with its neighbours.
    if x.dtype == jnp.float32:
        return apply(x, *others)
    return jax.checkpoint(apply, prevent_cse=False)(x, *others)


# --- dense ---------------------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def dense(
    x: Float[Array, "tokens d_in"], w: Float[Array, "d_in *d_out"], dtype: Any = None
) -> Float[Array, "tokens *d_out"]:
    """Return x · w; the backward pass chooses the order of operands in the weight gradient.

    Args:
        x: Activations.
        w: Kernel in the dtype of `x`, with one or more output dimensions.
        dtype: dtype of the result, by default that of `x`. With fp32 the sums of half-precision products are
            not rounded, which the logits need.
    """
    return lax.dot_general(x, w, (((1,), (0,)), ((), ())), preferred_element_type=dtype)


def _dense_forward(x: Array, w: Array, dtype: Any) -> tuple[Array, tuple[Array, Array]]:
    return dense(x, w, dtype), (x, w)


def _dense_backward(_: Any, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, w = saved
    g = g.astype(x.dtype)
    out = tuple(range(1, g.ndim))
    return lax.dot_general(g, w, ((out, out), ((), ()))), _weight_gradient(x, g)


def _weight_gradient(x: Array, g: Array) -> Array:
    """Return xᵀ·g, [d_in, *d_out]; from WIDE on the narrower of the two is the left operand."""
    d_in, d_out = x.shape[1], math.prod(g.shape[1:])
    if d_in <= d_out or d_out < WIDE:
        return _contract(x, g, 0, 0)
    return jnp.moveaxis(_held(_contract(g, x, 0, 0)), -1, 0)


dense.defvjp(_dense_forward, _dense_backward)


def stored_dense(
    x: Float[Array, "tokens d_in"],
    stored: Array,
    used: Callable[[Array], Float[Array, "d_in *d_out"]],
    dtype: Any = None,
) -> Float[Array, "tokens *d_out"]:
    """Return `dense(x, used(stored), dtype)`, but save the parameter for the backward pass as it is stored.

    Args:
        x: Activations.
        stored: The parameter: fp32 and sharded.
        used: Casts and gathers the parameter to a kernel in the dtype of `x`.
        dtype: dtype of the result, by default that of `x`.

    The backward pass calls `used` again. If every layer saved its gathered kernel, fully sharded parameters
    would save no memory.

    References:
        ZeRO, Rajbhandari et al., arXiv:1910.02054, section 7.
    """

    def forward(x: Array, stored: Array) -> tuple[Array, tuple[Array, Array]]:
        return dense(x, used(stored), dtype), (x, stored)

    def backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
        w, pull = jax.vjp(used, saved[1])
        d_x, d_w = _dense_backward(dtype, (saved[0], w), g)
        return d_x, pull(d_w)[0]

    apply = jax.custom_vjp(lambda x, stored: forward(x, stored)[0])
    apply.defvjp(forward, backward)
    return apply(x, stored)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def positions_last(
    x: Float[Array, "tokens d_in"], w: Float[Array, "d_in parts d_out"], batch: int
) -> tuple[Float[Array, "batch d_out seq"], ...]:
    """Return `dense(x, w)` with positions last, as one result per part of `w` (queries, keys, values).

    Args:
        x: Activations of `batch` sequences, one after the other.
        w: Kernel of all parts.
        batch: Number of sequences.

    One product makes all parts. Its backward pass takes gradients with positions last as they are, in
    products that read both operands along rows. Transposing the result of `dense` would copy each part
    instead.
    """
    results = _contract(w.reshape(len(w), -1), x, 0, 1).reshape(*w.shape[1:], batch, -1)
    return tuple(jnp.swapaxes(result, 0, 1) for result in results)


def _positions_last_forward(x: Array, w: Array, batch: int) -> tuple[tuple[Array, ...], tuple[Array, Array]]:
    return positions_last(x, w, batch), (x, w)


def _positions_last_backward(_: int, saved: tuple[Array, Array], g: tuple[Array, ...]) -> tuple[Array, Array]:
    x, w = saved
    rows = jnp.stack([jnp.swapaxes(part, 0, 1) for part in g]).reshape(-1, len(x))
    # The barriers make the transpositions below copies of their own, outside the products.
    d_x = _held(_contract(w.reshape(len(w), -1), rows, 1, 0))
    d_w = _held(_contract(rows, x, 1, 0))
    return d_x.T, d_w.T.reshape(w.shape)


positions_last.defvjp(_positions_last_forward, _positions_last_backward)


def textbook_dense(x: Array, w: Array, dtype: Any = None) -> Array:
    """Return x · w in plain JAX."""
    return jnp.tensordot(x, w, 1, preferred_element_type=dtype)


# --- RMSNorm -------------------------------------------------------------------------------------------


def rms_norm(x: Float[Array, "..."], gain: Float[Array, "..."], eps: float, axis: int = -1) -> Array:
    """Return RMSNorm over one axis: x / √(mean(x²) + eps) · gain, computed in fp32, in the dtype of `x`.

    Args:
        x: Activations.
        gain: Gain, broadcast against `x`.
        eps: Added to the mean square.
        axis: The axis of the features.

    References:
        Zhang & Sennrich, arXiv:1910.07467.
    """
    # fp32: a square of fp16 overflows from 256 on, and a bf16 mean over many features loses digits.
    wide, gain = x.astype(jnp.float32), lax.broadcast_to_rank(gain, x.ndim)
    normed = wide * lax.rsqrt(jnp.mean(wide * wide, axis=axis, keepdims=True) + eps) * gain
    return normed.astype(x.dtype)


# --- causal attention ----------------------------------------------------------------------------------


def _causal_scores(q: Array, k: Array) -> Array:
    """Return the scores under the causal mask, fp32 [*batch, keys, queries]."""
    length = q.shape[-1]
    # The mask is computed from iotas, which XLA fuses, and not read from a T×T constant.
    keys = lax.broadcasted_iota(jnp.int32, (length, length), 0)
    queries = lax.broadcasted_iota(jnp.int32, (length, length), 1)
    scores = _contract_heads(_held(_turned(k)), q, -1, -2)
    return jnp.where(lax.broadcast_to_rank(keys <= queries, scores.ndim), scores, NEGATIVE)


@jax.custom_vjp
def attention(
    q: Float[Array, "*batch head_dim seq"],
    k: Float[Array, "*batch head_dim seq"],
    v: Float[Array, "*batch head_dim seq"],
) -> Float[Array, "*batch head_dim seq"]:
    """Return causal softmax attention for every sequence and head.

    Args:
        q: Queries, already multiplied by the attention scale.
        k: Keys.
        v: Values.

    The backward pass saves the attention weights, T×T per head. `harness.model.flash` holds implementations
    that do not.

    References:
        Vaswani et al., arXiv:1706.03762, section 3.2.
    """
    return _attention_forward(q, k, v)[0]


def _attention_forward(q: Array, k: Array, v: Array) -> tuple[Array, Any]:
    # Softmax in fp32 over keys, the major of the two axes. Subtracting the maximum keeps exp from
    # overflowing. The division comes last: it scales head_dim × queries outputs and not keys × queries
    # weights.
    scores = _causal_scores(q, k)
    p = jnp.exp(scores - scores.max(axis=-2, keepdims=True))
    inverse = 1.0 / p.sum(axis=-2, keepdims=True)
    # Saved for the backward pass: in half precision the T×T weights take half the memory.
    half = p.astype(v.dtype)
    out = (_contract_heads(v, half, -1, -2) * inverse).astype(v.dtype)
    return out, (q, k, v, half, inverse, out)


def _attention_backward(saved: Any, g: Array) -> tuple[Array, Array, Array]:
    # Gradient of the softmax: dS = P ∘ (dP - delta) with P = p · inverse, dP = vᵀ·g and, per query,
    # delta = Σ P ∘ dP = Σ g ∘ out: a sum over head_dim and not over keys (arXiv:2205.14135, appendix B.2).
    # `inverse` multiplies the small g once, and so is part of both terms.
    q, k, v, p, inverse, out = saved
    g = g * inverse
    delta = (g * out).sum(axis=-2, keepdims=True)
    g = g.astype(v.dtype)
    d_scores = (p * (_contract_heads(_held(_turned(v)), g, -1, -2) - delta)).astype(q.dtype)
    d_q = _contract_heads(k, d_scores, -1, -2)
    d_k = _turned(_held(_contract_heads(d_scores, q, -1, -1)))
    d_v = _turned(_held(_contract_heads(p, g, -1, -1)))
    return d_q.astype(q.dtype), d_k.astype(k.dtype), d_v.astype(v.dtype)


attention.defvjp(_attention_forward, _attention_backward)


def attention_of_one(
    q: Float[Array, "*batch head_dim 1"],
    k: Float[Array, "*batch head_dim seq"],
    v: Float[Array, "*batch head_dim seq"],
    at: Int[Array, ""],
) -> Float[Array, "*batch head_dim 1"]:
    """Return the attention of one query to the cached keys and values up to its position.

    Args:
        q: Query of position `at`, already multiplied by the attention scale.
        k: Keys of all positions; those after `at` are masked.
        v: Values of all positions.
        at: Position of the query.
    """
    # With one query the products are matrix × vector; written as elementwise sums they stay in fp32.
    keys = lax.broadcasted_iota(jnp.int32, (k.shape[-1],), 0)
    scores = (q.astype(jnp.float32) * k).sum(axis=-2, keepdims=True)
    seen = lax.broadcast_to_rank(keys <= at, scores.ndim)
    weights = jax.nn.softmax(jnp.where(seen, scores, NEGATIVE))
    return (v * weights).sum(axis=-1, keepdims=True).astype(v.dtype)


def textbook_attention(q: Array, k: Array, v: Array) -> Array:
    """Return causal softmax attention in plain JAX; arguments as for `attention`."""
    length = q.shape[-1]
    scores = jnp.einsum("...dq,...dk->...qk", q, k)
    mask = jnp.tril(jnp.ones((length, length), bool))
    weights = jax.nn.softmax(jnp.where(lax.broadcast_to_rank(mask, scores.ndim), scores, NEGATIVE))
    return jnp.einsum("...qk,...dk->...dq", weights, v)


# --- cross-entropy -------------------------------------------------------------------------------------


@jax.custom_vjp
def cross_entropy(
    logits: Float[Array, "tokens vocab"], labels: Int[Array, " tokens"]
) -> Float[Array, " tokens"]:
    """Return the cross-entropy of each label in nats: log Σ exp(logits) - logit of the label.

    Args:
        logits: fp32 logits.
        labels: Token ids, 0 to vocab - 1.
    """
    return _cross_entropy_forward(logits, labels)[0]


def _cross_entropy_forward(logits: Array, labels: Array) -> tuple[Array, Any]:
    # Log-sum-exp with the maximum taken out, so that exp cannot overflow.
    top = logits.max(axis=1)
    weights = jnp.exp(logits - top[:, None])
    total = weights.sum(axis=1)
    label_logit = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return top + jnp.log(total) - label_logit, (weights, 1.0 / total, labels)


def _cross_entropy_backward(saved: Any, g: Array) -> tuple[Array, None]:
    # softmax - one-hot, times g, in one pass over the logits. Comparing with an iota fuses into this pass;
    # subtracting at the label's index would be a scatter.
    weights, inverse, labels = saved
    columns = lax.broadcasted_iota(jnp.int32, weights.shape, 1)
    hit = jnp.where(columns == labels[:, None], g[:, None], 0.0)
    return weights * (inverse * g)[:, None] - hit, None


cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


def textbook_cross_entropy(logits: Array, labels: Array) -> Array:
    """Return the cross-entropy of each label in nats, in plain JAX."""
    log_p = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
