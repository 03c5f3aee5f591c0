"""Causal softmax attention with a hand-written backward pass, of all queries or of one.

Positions come last, [*batch, head_dim, seq], and scores are [*batch, keys, queries]. Norms, rotary positions
and the softmax then reduce over a major axis and run along contiguous positions. JAX's automatic backward
pass would pass over the T×T weights with materialised broadcasts.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from harness.model.kernels import behind_barrier
from harness.recipe.counting import keys_computed

# Score of a masked key. Finite, because -inf - (-inf) in a softmax is NaN; exp(NEGATIVE - max) is exactly 0.
NEGATIVE = -1e30


class Band(NamedTuple):
    """The keys that each query of a product sees: those up to its own position, or the last of them.

    Attributes:
        length: Positions of the queries; rows of several heads follow each other.
        before: Keys in front of the first query's own. With any, axis -3 counts blocks of the sequence, and
            the first block has no such keys.
        window: Keys that a query sees, its own included; None is all up to its own.
    """

    length: int
    before: int = 0
    window: int | None = None

    def positions(self, n_keys: int, n_rows: int, n_blocks: int) -> tuple[Array, Array]:
        """Return positions of keys and of queries, counted from the first key, [keys, rows] or in blocks."""
        # The mask is computed from iotas, which XLA fuses, and not read from a T×T constant.
        shape = (n_blocks, n_keys, n_rows) if self.before else (n_keys, n_rows)
        keys, queries = (lax.broadcasted_iota(jnp.int32, shape, len(shape) + axis) for axis in (-2, -1))
        if n_rows > self.length:
            queries = queries % self.length
        return keys, queries + self.before if self.before else queries

    def seen(self, keys: Array, queries: Array) -> Array:
        """Return the mask of these positions."""
        seen = keys <= queries
        if self.window is not None:
            seen &= queries - keys < self.window
        if self.before:
            seen &= (keys >= self.before) | (lax.broadcasted_iota(jnp.int32, keys.shape, 0) > 0)
        return seen


def _contract_heads(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
    """Contract one of the last two axes of each operand, batched over the axes before; fp32 result."""
    shared = tuple(range(a.ndim - 2))
    numbers = (((a.ndim + axis_a,), (b.ndim + axis_b,)), (shared, shared))
    return lax.dot_general(a, b, numbers, preferred_element_type=jnp.float32)


def _transposed(x: Array) -> Array:
    return jnp.swapaxes(x, -1, -2)


def _masked_scores(q: Array, k: Array, band: Band) -> Array:
    """Return the scores of what each query sees, fp32 [*batch, keys, queries]; others are NEGATIVE."""
    keys, queries = band.positions(k.shape[-1], q.shape[-1], k.shape[-3])
    scores = _contract_heads(behind_barrier(_transposed(k)), q, -1, -2)
    return jnp.where(lax.broadcast_to_rank(band.seen(keys, queries), scores.ndim), scores, NEGATIVE)


def attention(
    q: Float[Array, "*heads head_dim seq"],
    k: Float[Array, "*kv_heads head_dim seq"],
    v: Float[Array, "*kv_heads head_dim seq"],
    window: int | None = None,
) -> Float[Array, "*heads head_dim seq"]:
    """Return causal softmax attention for every sequence and head.

    Args:
        q: Queries, already multiplied by the attention scale.
        k: Keys; with fewer heads than queries, each is shared by as many heads that follow each other.
        v: Values, of as many heads as the keys.
        window: Keys that a query sees, its own included; None is all up to its own.

    The backward pass saves the attention weights, `keys_computed` per query and head. `harness.model.flash`
    holds implementations that do not.

    References:
        Vaswani et al., arXiv:1706.03762, section 3.2.
        Shared keys: Ainslie et al., arXiv:2305.13245, section 2.2.
        Windows: Beltagy et al., arXiv:2004.05150, section 3.1.
    """
    length, heads = q.shape[-1], q.shape[:-2]
    if keys_computed(length, window) < length:
        assert window is not None
        rows, band = _rows(q, k, window), Band(window, window, window)
        mixed = _attend(rows, _blocks(k, window), _blocks(v, window), band)
        return _unblocked(mixed, heads, window)[..., :length]
    band = Band(length, window=window)
    if k.shape[:-2] == heads:
        return _attend(q, k, v, band)
    # The queries of heads that share keys stand side by side, so that keys and values are not repeated.
    rows = jnp.swapaxes(q.reshape(*k.shape[:-2], -1, *q.shape[-2:]), -3, -2)
    mixed = _attend(rows.reshape(*rows.shape[:-2], -1), k, v, band)
    return jnp.swapaxes(mixed.reshape(*rows.shape[:-1], -1), -3, -2).reshape(q.shape)


def _cut(x: Array, window: int) -> Array:
    """Return [*heads, head_dim, seq] in blocks, [*heads, head_dim, blocks, window]; zeros fill the last."""
    padding = [(0, 0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % window, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), padding).reshape(*x.shape[:-1], -1, window)


def _rows(q: Array, k: Array, window: int) -> Array:
    """Return queries in blocks, [*kv_heads, blocks, head_dim, group · window]."""
    cut = _cut(q.reshape(*k.shape[:-2], -1, *q.shape[-2:]), window)
    rows = jnp.moveaxis(cut, -2, -4)  # [*kv_heads, blocks, group, head_dim, window]
    rows = jnp.swapaxes(rows, -3, -2)
    return rows.reshape(*rows.shape[:-2], -1)


def _blocks(x: Array, window: int) -> Array:
    """Return keys or values in blocks behind the block before, [*kv_heads, blocks, head_dim, 2 · window]."""
    own = jnp.moveaxis(_cut(x, window), -2, -3)
    shift = [(1, -1, 0) if axis == own.ndim - 3 else (0, 0, 0) for axis in range(own.ndim)]
    return jnp.concatenate([lax.pad(own, jnp.zeros((), x.dtype), shift), own], axis=-1)


def _unblocked(rows: Array, heads: tuple[int, ...], window: int) -> Array:
    """Return rows of `_rows` as [*heads, head_dim, seq], padding included."""
    blocks, head_dim = rows.shape[-3:-1]
    apart = rows.reshape(*rows.shape[:-1], -1, window)  # [*kv_heads, blocks, head_dim, group, window]
    apart = jnp.moveaxis(jnp.swapaxes(apart, -3, -2), -4, -2)
    return apart.reshape(*heads, head_dim, blocks * window)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _attend(q: Array, k: Array, v: Array, band: Band) -> Array:
    """Return softmax attention of queries [*batch, head_dim, queries] to keys [*batch, head_dim, keys]."""
    return _attention_forward(q, k, v, band)[0]


def _attention_forward(q: Array, k: Array, v: Array, band: Band) -> tuple[Array, Any]:
    # Softmax in fp32 over keys, the major of the two axes. Subtracting the maximum keeps exp from
    # overflowing. The division comes last: it scales head_dim × queries outputs and not keys × queries
    # weights.
    scores = _masked_scores(q, k, band)
    p = jnp.exp(scores - scores.max(axis=-2, keepdims=True))
    inverse = 1.0 / p.sum(axis=-2, keepdims=True)
    # Saved for the backward pass: in half precision the T×T weights take half the memory.
    half = p.astype(v.dtype)
    out = (_contract_heads(v, half, -1, -2) * inverse).astype(v.dtype)
    return out, (q, k, v, half, inverse, out)


def _attention_backward(_: Band, saved: Any, g: Array) -> tuple[Array, Array, Array]:
    # Gradient of the softmax: dS = P ∘ (dP - delta) with P = p · inverse, dP = vᵀ·g and, per query,
    # delta = Σ P ∘ dP = Σ g ∘ out: a sum over head_dim and not over keys (arXiv:2205.14135, appendix B.2).
    # `inverse` multiplies the small g once, and so is part of both terms.
    q, k, v, p, inverse, out = saved
    g = g * inverse
    delta = (g * out).sum(axis=-2, keepdims=True)
    g = g.astype(v.dtype)
    d_scores = (p * (_contract_heads(behind_barrier(_transposed(v)), g, -1, -2) - delta)).astype(q.dtype)
    d_q = _contract_heads(k, d_scores, -1, -2)
    d_k = _transposed(behind_barrier(_contract_heads(d_scores, q, -1, -1)))
    d_v = _transposed(behind_barrier(_contract_heads(p, g, -1, -1)))
    return d_q.astype(q.dtype), d_k.astype(k.dtype), d_v.astype(v.dtype)


_attend.defvjp(_attention_forward, _attention_backward)


def attention_of_one(
    q: Float[Array, "*heads head_dim 1"],
    k: Float[Array, "*kv_heads head_dim seq"],
    v: Float[Array, "*kv_heads head_dim seq"],
    at: Int[Array, ""],
) -> Float[Array, "*heads head_dim 1"]:
    """Return the attention of one query to the cached keys and values up to its position.

    Args:
        q: Query of position `at`, already multiplied by the attention scale.
        k: Keys of all positions, of which those after `at` are masked; or of the last positions in any order.
        v: Values of the same positions.
        at: Position of the query.
    """
    shape = q.shape
    if k.shape[:-2] != shape[:-2]:
        # The heads that share keys get an axis of their own, over which keys and values are broadcast.
        q, k, v = q.reshape(*k.shape[:-2], -1, *shape[-2:]), k[..., None, :, :], v[..., None, :, :]
    # With one query the products are matrix × vector; written as elementwise sums they stay in fp32.
    keys = lax.broadcasted_iota(jnp.int32, (k.shape[-1],), 0)
    scores = (q.astype(jnp.float32) * k).sum(axis=-2, keepdims=True)
    seen = lax.broadcast_to_rank(keys <= at, scores.ndim)
    weights = jax.nn.softmax(jnp.where(seen, scores, NEGATIVE))
    return (v * weights).sum(axis=-1, keepdims=True).astype(v.dtype).reshape(shape)


def repeated(x: Float[Array, "*kv_heads head_dim seq"], n_heads: int) -> Float[Array, "*heads head_dim seq"]:
    """Return keys or values once for each of `n_heads` heads, on the axis before the last two."""
    times = n_heads // x.shape[-3]
    return x if times == 1 else jnp.repeat(x, times, axis=-3)


def textbook_weights(q: Array, k: Array, window: int | None = None) -> Float[Array, "*heads queries keys"]:
    """Return the weights of causal attention in plain JAX; arguments as for `attention`."""
    length = q.shape[-1]
    scores = jnp.einsum("...dq,...dk->...qk", q, repeated(k, q.shape[-3]))
    mask = jnp.tril(jnp.ones((length, length), bool))
    if window is not None:
        mask &= ~jnp.tril(mask, -window)
    return jax.nn.softmax(jnp.where(lax.broadcast_to_rank(mask, scores.ndim), scores, NEGATIVE))


def textbook_attention(q: Array, k: Array, v: Array, window: int | None = None) -> Array:
    """Return causal softmax attention in plain JAX; arguments as for `attention`."""
    return jnp.einsum("...qk,...dk->...dq", textbook_weights(q, k, window), repeated(v, q.shape[-3]))
