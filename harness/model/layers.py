"""Layers of attention and MLP: linear map, RMSNorm, rotary positions and key shift."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from harness.model import kernels
from harness.model.partition import Axes, bound, gathered, sharded
from harness.recipe.spec import ModelSpec

# Checkpoint name of the results of matrix products, which `remat=dots` saves.
PRODUCT = "product"
# Initial logits of a head's key shift run from -2 to 2: the key before starts with a share of .12 to .88.
KEY_SHIFT_SPREAD = 2.0


def rotary_tables(spec: ModelSpec) -> tuple[Float[Array, "head_dim seq"], Float[Array, "head_dim seq"]]:
    """Return the cosine and the signed sine of every channel and position, fp32.

    Channel i of the first half has the angle position · rope_theta^(-i / half), and so has channel i + half.

    References:
        Su et al., arXiv:2104.09864, section 3.4.
    """
    half = spec.head_dim // 2
    rates = spec.rope_theta ** (-jnp.arange(half) / half)
    angles = rates[:, None] * jnp.arange(spec.seq_len)[None, :]
    cosine = jnp.concatenate([jnp.cos(angles)] * 2)
    sine = jnp.concatenate([-jnp.sin(angles), jnp.sin(angles)])
    return cosine, sine


def rotate(
    x: Float[Array, "*batch head_dim seq"], cosine: Array, sine: Array
) -> Float[Array, "*batch head_dim seq"]:
    """Rotate each pair of channels (x_i, x_{i+half}) by the angle of its position.

    Args:
        x: Queries or keys.
        cosine: Cosines, [head_dim, seq].
        sine: Sines [head_dim, seq], negative in the first half.
    """
    # Pairs are the two halves of a head (as in GPT-NeoX), not neighbouring channels as in the paper.
    halves = x.reshape(*x.shape[:-2], 2, -1, x.shape[-1])
    swapped = jnp.flip(halves, -3).reshape(x.shape)
    cosine, sine = (lax.broadcast_to_rank(table, x.ndim) for table in (cosine, sine))
    return (x * cosine + swapped * sine).astype(x.dtype)


class Dense(nnx.Module):
    """Bias-free linear map, initialised N(0, scale²/d_in).

    Args:
        shape: d_in, then one or more output dimensions.
        axes: Names of the kernel's dimensions (`harness.model.partition.RULES`).
        rngs: Source of the initial values.
        scale: Multiplies the initial standard deviation.
        textbook: Whether plain JAX computes the product instead of `kernels.dense`.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        axes: Axes,
        rngs: nnx.Rngs,
        scale: float = 1.0,
        textbook: bool = False,
    ):
        values = jax.random.normal(rngs.params(), shape) * (scale * shape[0] ** -0.5)
        self.kernel = nnx.Param(values, axes=axes)
        self.axes = axes
        self.textbook = textbook

    def __call__(self, x: Float[Array, "tokens d_in"], dtype: Any = None) -> Float[Array, "tokens *d_out"]:
        """Return the product in the dtype of `x`, or in `dtype` if given."""
        kernel = self.kernel[...]
        if self.textbook or self.is_plain(x):
            apply = kernels.textbook_dense if self.textbook else kernels.dense
            out = apply(x, self._used(kernel, x.dtype), dtype)
        else:
            out = kernels.stored_dense(x, kernel, bound(partial(self._used, dtype=x.dtype)), dtype)
        return checkpoint_name(out, PRODUCT)

    def is_plain(self, x: Array) -> bool:
        """Whether the product can use the parameter as stored: one device, same dtype as `x`."""
        return not sharded() and self.kernel[...].dtype == x.dtype

    def positions_last(
        self, x: Float[Array, "tokens d_in"], batch: int
    ) -> tuple[Float[Array, "batch d_out seq"], ...]:
        """Return one result per part of a kernel [d_in, parts, d_out]; only if `is_plain(x)`."""
        outs = kernels.positions_last(x, self.kernel[...], batch)
        return tuple(checkpoint_name(out, PRODUCT) for out in outs)

    def _used(self, kernel: Array, dtype: Any) -> Array:
        """Return the parameter cast, gathered, and on one device reshaped to a matrix.

        A matrix makes a plain matrix product, which is faster. On several devices the output dimensions stay
        apart, because XLA may have to gather a sharded dimension in order to merge it.
        """
        # Cast before gathering: half precision halves the bytes of the all-gather.
        kernel = gathered(kernel.astype(dtype), self.axes)
        return kernel if sharded() else kernel.reshape(len(kernel), -1)


class Norm(nnx.Module):
    """RMSNorm with a learned gain (Zhang & Sennrich, arXiv:1910.07467)."""

    def __init__(self, width: int, eps: float):
        self.gain = nnx.Param(jnp.ones(width), axes=(None,))
        self.eps = eps

    def __call__(self, x: Float[Array, "*tokens d"]) -> Float[Array, "*tokens d"]:
        return kernels.thrifty(lambda x, gain: kernels.rms_norm(x, gain, self.eps), x, self.gain[...])


class HeadNorm(Norm):
    """RMSNorm over the channels of each head, for arrays with positions last.

    References:
        Query-key normalisation: Dehghani et al., arXiv:2302.05442, section 2.
    """

    def __call__(self, x: Float[Array, "*batch head_dim seq"]) -> Float[Array, "*batch head_dim seq"]:
        return kernels.rms_norm(x, self.gain[...][:, None], self.eps, axis=-2)


class KeyShift(nnx.Module):
    """Key shift: mix each key with the key before it, in a learned share per channel and head.

    With it one layer suffices for an induction head: it finds what followed an earlier occurrence of a token.
    Otherwise a first layer must copy the previous token into each position.
    Shares start evenly spaced in their logit over the channels of a head, alike in every head, so that small
    models start as large ones do. The first key is mixed with zeros.

    References:
        Xu et al., arXiv:2411.19574, mix keys and values, with one share per head.
    """

    def __init__(self, n_heads: int, head_dim: int):
        logits = np.linspace(-KEY_SHIFT_SPREAD, KEY_SHIFT_SPREAD, head_dim)
        # Named gain, because the name of a parameter decides its learning-rate group (`decoder.group_of`).
        self.gain = nnx.Param(jnp.asarray(np.tile(logits, (n_heads, 1)), jnp.float32), axes=("heads", None))

    def __call__(self, k: Float[Array, "*heads head_dim seq"]) -> Float[Array, "*heads head_dim seq"]:
        share = jax.nn.sigmoid(self.gain[...]).astype(k.dtype)
        if k.ndim == 3:  # one axis for the heads of all sequences, heads fastest
            share = jnp.tile(share, (k.shape[0] // len(share), 1))
        share = lax.broadcast_to_rank(share[..., None], k.ndim)
        # Pads one position in front and cuts one off at the end: the causal direction.
        before = lax.pad(k, jnp.zeros((), k.dtype), [(0, 0, 0)] * (k.ndim - 1) + [(1, -1, 0)])
        return k + share * (before - k)
