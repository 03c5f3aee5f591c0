"""Kernels of the linear maps with a hand-written backward pass; RMSNorm, and elementwise passes.

At small shapes on CPU, JAX's automatic backward pass spends its time on transposed copies. The kernels here
choose the order of each contraction.

The functions `textbook_*`, also beside other kernels, are the same mathematics in plain JAX: the oracles of
the tests, and the kernels of `Decoder(textbook=True)`. A `jax.custom_vjp` has no forward-mode derivative; the
textbook functions have.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# Width of the narrower side from which transposing a weight gradient separately pays (measured on CPU).
WIDE = 64


def _contract(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
    """Contract one axis of each operand; the result has the other axes of `a`, then those of `b`."""
    return lax.dot_general(a, b, (((axis_a,), (axis_b,)), ((), ())))


def behind_barrier(x: Array) -> Array:
    """Return `x` behind an optimisation barrier, which keeps its transposition out of the next product.

    XLA would fold the transposition into the product, which then takes up to twice as long on CPU.
    """
    return lax.optimization_barrier(x)


def thrifty(apply: Callable[..., Any], x: Array, *others: Any) -> Any:
    """Return `apply(x, *others)`; in half precision, rematerialise its intermediates in the backward pass.

    An elementwise pass is quick to repeat, and its fp32 intermediates take more memory than its
    half-precision input.
    """
    # With prevent_cse=True JAX sets barriers that keep XLA from fusing the pass with its neighbours.
    if x.dtype == jnp.float32:
        return apply(x, *others)
    return jax.checkpoint(apply, prevent_cse=False)(x, *others)


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
    return jnp.moveaxis(behind_barrier(_contract(g, x, 0, 0)), -1, 0)


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
    d_x = behind_barrier(_contract(w.reshape(len(w), -1), rows, 1, 0))
    d_w = behind_barrier(_contract(rows, x, 1, 0))
    return d_x.T, d_w.T.reshape(w.shape)


positions_last.defvjp(_positions_last_forward, _positions_last_backward)


def textbook_dense(x: Array, w: Array, dtype: Any = None) -> Array:
    """Return x · w in plain JAX."""
    return jnp.tensordot(x, w, 1, preferred_element_type=dtype)


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
