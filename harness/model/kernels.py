"""Hand-ordered kernels of the CPU step, each equal to its textbook line in value and gradient.

XLA's automatic backward pass of these small shapes spends its time on transposed copies and on T×T softmax
passes with materialised broadcasts. Written by hand, the backward pass contracts over tokens directly, and
attention keeps positions last and scores as keys × queries, so that norms, rotations and the softmax reduce
over a major axis and run along contiguous positions.
`textbook_*` are the oracles the tests hold these against, and what `kernels="textbook"` runs.
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

NEGATIVE = -1e30
# Narrower side from which a weight gradient is worth a transposition of its own.
WIDE = 64


def _contract(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
    """Dot product over one axis of each side."""
    return lax.dot_general(a, b, (((axis_a,), (axis_b,)), ((), ())))


def _contract_heads(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
    """Dot product over one of the last two axes of each side, sums in fp32."""
    shared = tuple(range(a.ndim - 2))
    numbers = (((a.ndim + axis_a,), (b.ndim + axis_b,)), (shared, shared))
    return lax.dot_general(a, b, numbers, preferred_element_type=jnp.float32)


def _held(x: Array) -> Array:
    """`x` as it stands: XLA folds a transposition into a product, which then takes up to twice as long."""
    return lax.optimization_barrier(x)


def _turned(x: Array) -> Array:
    return jnp.swapaxes(x, -1, -2)


def thrifty(apply: Callable[..., Any], x: Array, *others: Any) -> Any:
    """`apply(x, *others)`; in half precision its fp32 intermediates are made again in the backward pass.

    An elementwise pass is quick, and what it would keep outweighs its half-precision input.
    """
    if x.dtype == jnp.float32:
        return apply(x, *others)
    return jax.checkpoint(apply, prevent_cse=False)(x, *others)


# --- dense ---------------------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def dense(
    x: Float[Array, "tokens d_in"], w: Float[Array, "d_in *d_out"], dtype: Any = None
) -> Float[Array, "tokens *d_out"]:
    """Matrix product whose weight gradient contracts over tokens with the narrower side first.

    The result has the dtype of `x`, or `dtype`: fp32 keeps the sums of half-precision products whole.
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
    """`dense(x, used(stored), dtype)` that keeps the parameter as it is stored, in fp32 and in its shards.

    What `used` makes of it, cast and gathered, is made again in the backward pass: kept for every layer it
    would take back what fully sharded parameters save (Rajbhandari et al., arXiv:1910.02054, section 7).
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
    """`dense(x, w)` of each sequence transposed, a result for every part of `w`.

    One product for all parts; its backward pass takes gradients with positions last as they are, in products
    that read both sides along their rows. Split and transposed afterwards, each would be copied instead.
    """
    results = _contract(w.reshape(len(w), -1), x, 0, 1).reshape(*w.shape[1:], batch, -1)
    return tuple(jnp.swapaxes(result, 0, 1) for result in results)


def _positions_last_forward(x: Array, w: Array, batch: int) -> tuple[tuple[Array, ...], tuple[Array, Array]]:
    return positions_last(x, w, batch), (x, w)


def _positions_last_backward(_: int, saved: tuple[Array, Array], g: tuple[Array, ...]) -> tuple[Array, Array]:
    x, w = saved
    rows = jnp.stack([jnp.swapaxes(part, 0, 1) for part in g]).reshape(-1, len(x))
    d_x = _held(_contract(w.reshape(len(w), -1), rows, 1, 0))
    d_w = _held(_contract(rows, x, 1, 0))
    return d_x.T, d_w.T.reshape(w.shape)


positions_last.defvjp(_positions_last_forward, _positions_last_backward)


def textbook_dense(x: Array, w: Array, dtype: Any = None) -> Array:
    return jnp.tensordot(x, w, 1, preferred_element_type=dtype)


# --- RMSNorm -------------------------------------------------------------------------------------------


def rms_norm(x: Float[Array, "..."], gain: Float[Array, "..."], eps: float, axis: int = -1) -> Array:
    """x / rms(x) · gain over one axis (Zhang & Sennrich, arXiv:1910.07467), statistics in fp32."""
    wide = x.astype(jnp.float32)
    normed = wide * lax.rsqrt(jnp.mean(wide * wide, axis=axis, keepdims=True) + eps) * gain
    return normed.astype(x.dtype)


# --- causal attention ----------------------------------------------------------------------------------


def _causal_scores(q: Array, k: Array) -> Array:
    """Masked scores [*batch, keys, queries]."""
    length = q.shape[-1]
    keys = lax.broadcasted_iota(jnp.int32, (length, length), 0)
    queries = lax.broadcasted_iota(jnp.int32, (length, length), 1)
    scores = _contract_heads(_held(_turned(k)), q, -1, -2)
    return jnp.where(keys <= queries, scores, NEGATIVE)


@jax.custom_vjp
def attention(
    q: Float[Array, "*batch head_dim seq"],
    k: Float[Array, "*batch head_dim seq"],
    v: Float[Array, "*batch head_dim seq"],
) -> Float[Array, "*batch head_dim seq"]:
    """Causal softmax attention of already scaled queries, for every sequence and head."""
    return _attention_forward(q, k, v)[0]


def _attention_forward(q: Array, k: Array, v: Array) -> tuple[Array, Any]:
    scores = _causal_scores(q, k)
    p = jnp.exp(scores - scores.max(axis=-2, keepdims=True))
    inverse = 1.0 / p.sum(axis=-2, keepdims=True)
    half = p.astype(v.dtype)
    out = (_contract_heads(v, half, -1, -2) * inverse).astype(v.dtype)
    return out, (q, k, v, half, inverse, out)


def _attention_backward(saved: Any, g: Array) -> tuple[Array, Array, Array]:
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
    """Attention of the query of position `at`, already scaled, to the keys up to it."""
    keys = lax.broadcasted_iota(jnp.int32, (k.shape[-1],), 0)
    scores = (q.astype(jnp.float32) * k).sum(axis=-2, keepdims=True)
    weights = jax.nn.softmax(jnp.where(keys <= at, scores, NEGATIVE))
    return (v * weights).sum(axis=-1, keepdims=True).astype(v.dtype)


def textbook_attention(q: Array, k: Array, v: Array) -> Array:
    length = q.shape[-1]
    scores = jnp.einsum("...dq,...dk->...qk", q, k)
    mask = jnp.tril(jnp.ones((length, length), bool))
    weights = jax.nn.softmax(jnp.where(mask, scores, NEGATIVE))
    return jnp.einsum("...qk,...dk->...dq", weights, v)


# --- cross-entropy -------------------------------------------------------------------------------------


@jax.custom_vjp
def cross_entropy(
    logits: Float[Array, "tokens vocab"], labels: Int[Array, " tokens"]
) -> Float[Array, " tokens"]:
    """Next-token loss in nats, with one fused backward pass."""
    return _cross_entropy_forward(logits, labels)[0]


def _cross_entropy_forward(logits: Array, labels: Array) -> tuple[Array, Any]:
    top = logits.max(axis=1)
    weights = jnp.exp(logits - top[:, None])
    total = weights.sum(axis=1)
    label_logit = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return top + jnp.log(total) - label_logit, (weights, 1.0 / total, labels)


def _cross_entropy_backward(saved: Any, g: Array) -> tuple[Array, None]:
    weights, inverse, labels = saved
    columns = lax.broadcasted_iota(jnp.int32, weights.shape, 1)
    hit = jnp.where(columns == labels[:, None], g[:, None], 0.0)
    return weights * (inverse * g)[:, None] - hit, None


cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


def textbook_cross_entropy(logits: Array, labels: Array) -> Array:
    log_p = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
