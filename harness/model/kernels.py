"""Hand-ordered kernels of the CPU step, each equal to its textbook line in value and gradient.

XLA's automatic backward pass of these small shapes spends its time on transposed copies and on T×T softmax
passes with materialised broadcasts. Written by hand, the backward pass contracts over tokens directly, and
attention keeps positions last and scores as keys × queries, so that norms, rotations and the softmax reduce
over a major axis and run along contiguous positions.
`textbook_*` are the oracles the tests hold these against, and what `kernels="textbook"` runs.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

NEGATIVE = -1e30
# Narrower side from which a weight gradient is worth a transposition of its own.
WIDE = 96


def _contract(a: Array, b: Array, axis_a: int, axis_b: int, batch: bool = False) -> Array:
    """Dot product over one axis of each side; with `batch`, axis 0 of both runs along."""
    shared = ((0,), (0,)) if batch else ((), ())
    return lax.dot_general(a, b, (((axis_a,), (axis_b,)), shared))


# --- dense ---------------------------------------------------------------------------------------------


@jax.custom_vjp
def dense(x: Float[Array, "tokens d_in"], w: Float[Array, "d_in d_out"]) -> Float[Array, "tokens d_out"]:
    """Matrix product whose weight gradient contracts over tokens with the narrower side first."""
    return _contract(x, w, 1, 0)


def _dense_forward(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
    return _contract(x, w, 1, 0), (x, w)


def _dense_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, w = saved
    return _contract(g, w, 1, 1), _weight_gradient(x, g)


def _weight_gradient(x: Array, g: Array) -> Array:
    d_in, d_out = x.shape[1], g.shape[1]
    if d_in <= d_out or d_out < WIDE:
        return _contract(x, g, 0, 0)
    # Without the barrier XLA folds the transposition into the product, which then takes twice as long.
    return lax.optimization_barrier(_contract(g, x, 0, 0)).T


dense.defvjp(_dense_forward, _dense_backward)


def textbook_dense(x: Array, w: Array) -> Array:
    return x @ w


# --- RMSNorm -------------------------------------------------------------------------------------------


def rms_norm(x: Float[Array, "..."], gain: Float[Array, "..."], eps: float, axis: int = -1) -> Array:
    """x / rms(x) · gain over one axis (Zhang & Sennrich, arXiv:1910.07467), statistics in fp32."""
    return x * lax.rsqrt(jnp.mean(x * x, axis=axis, keepdims=True) + eps) * gain


# --- causal attention ----------------------------------------------------------------------------------


def _causal_scores(q: Array, k: Array) -> Array:
    """Masked scores [heads, keys, queries]."""
    length = q.shape[2]
    keys = lax.broadcasted_iota(jnp.int32, (length, length), 0)
    queries = lax.broadcasted_iota(jnp.int32, (length, length), 1)
    return jnp.where(keys <= queries, _contract(k, q, 1, 1, batch=True), NEGATIVE)


@jax.custom_vjp
def attention(
    q: Float[Array, "heads head_dim seq"],
    k: Float[Array, "heads head_dim seq"],
    v: Float[Array, "heads head_dim seq"],
) -> Float[Array, "heads head_dim seq"]:
    """Causal softmax attention of already scaled queries; `heads` runs over batch × heads."""
    return _attention_forward(q, k, v)[0]


def _attention_forward(q: Array, k: Array, v: Array) -> tuple[Array, Any]:
    scores = _causal_scores(q, k)
    p = jnp.exp(scores - scores.max(axis=1, keepdims=True))
    inverse = 1.0 / p.sum(axis=1, keepdims=True)
    out = _contract(v, p, 2, 1, batch=True) * inverse
    return out, (q, k, v, p, inverse, out)


def _attention_backward(saved: Any, g: Array) -> tuple[Array, Array, Array]:
    q, k, v, p, inverse, out = saved
    g = g * inverse
    delta = (g * out).sum(axis=1, keepdims=True)
    d_scores = p * (_contract(v, g, 1, 1, batch=True) - delta)
    d_q = _contract(k, d_scores, 2, 1, batch=True)
    d_k = _contract(q, d_scores, 2, 2, batch=True)
    d_v = _contract(g, p, 2, 2, batch=True)
    return d_q, d_k, d_v


attention.defvjp(_attention_forward, _attention_backward)


def textbook_attention(q: Array, k: Array, v: Array) -> Array:
    length = q.shape[2]
    scores = jnp.einsum("hdq,hdk->hqk", q, k)
    mask = jnp.tril(jnp.ones((length, length), bool))
    return jnp.einsum("hqk,hdk->hdq", jax.nn.softmax(jnp.where(mask, scores, NEGATIVE)), v)


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
