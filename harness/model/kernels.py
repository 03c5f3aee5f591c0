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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from harness.recipe.counting import keys_computed

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


def _masked_scores(q: Array, k: Array, band: Band) -> Array:
    """Return the scores of what each query sees, fp32 [*batch, keys, queries]; others are NEGATIVE."""
    keys, queries = band.positions(k.shape[-1], q.shape[-1], k.shape[-3])
    scores = _contract_heads(_held(_turned(k)), q, -1, -2)
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
    d_scores = (p * (_contract_heads(_held(_turned(v)), g, -1, -2) - delta)).astype(q.dtype)
    d_q = _contract_heads(k, d_scores, -1, -2)
    d_k = _turned(_held(_contract_heads(d_scores, q, -1, -1)))
    d_v = _turned(_held(_contract_heads(p, g, -1, -1)))
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


@jax.custom_vjp
def cross_entropy_and_square(
    logits: Float[Array, "tokens vocab"], labels: Int[Array, " tokens"]
) -> tuple[Float[Array, " tokens"], Float[Array, " tokens"]]:
    """Return the cross-entropy of each label, and the square of log Σ exp(logits) for a z-loss.

    Args:
        logits: fp32 logits.
        labels: Token ids, 0 to vocab - 1.

    References:
        z-loss: PaLM, Chowdhery et al., arXiv:2204.02311, section 5.
    """
    return _cross_entropy_and_square_forward(logits, labels)[0]


def _cross_entropy_and_square_forward(logits: Array, labels: Array) -> tuple[tuple[Array, Array], Any]:
    loss, (weights, inverse, _) = _cross_entropy_forward(logits, labels)
    level = logits.max(axis=1) - jnp.log(inverse)
    return (loss, level * level), (weights, inverse, labels, level)


def _cross_entropy_and_square_backward(saved: Any, g: tuple[Array, Array]) -> tuple[Array, None]:
    # Both terms move logits along the softmax, so that one pass makes both gradients.
    weights, inverse, labels, level = saved
    along = (inverse * 2.0 * level * g[1])[:, None]
    return _cross_entropy_backward((weights, inverse, labels), g[0])[0] + weights * along, None


cross_entropy_and_square.defvjp(_cross_entropy_and_square_forward, _cross_entropy_and_square_backward)


def textbook_cross_entropy_and_square(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Return the cross-entropy of each label and the square of log Σ exp(logits), in plain JAX."""
    return textbook_cross_entropy(logits, labels), jax.nn.logsumexp(logits, axis=1) ** 2


def textbook_cross_entropy(logits: Array, labels: Array) -> Array:
    """Return the cross-entropy of each label in nats, in plain JAX."""
    log_p = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
