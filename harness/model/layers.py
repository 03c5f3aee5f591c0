"""Linear maps, norms, rotary positions and the mixing of keys: what attention and MLP are made of."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from harness.model import kernels
from harness.model.partition import Axes, bound, gathered, sharded
from harness.recipe.spec import ModelSpec

# What rematerialisation may keep: results of matrix products.
PRODUCT = "product"
# Logits of the share of the key before: the first and the last channel of a head start so far from one half.
KEY_SHIFT_SPREAD = 2.0


def rotary_tables(spec: ModelSpec) -> tuple[Float[Array, "head_dim seq"], Float[Array, "head_dim seq"]]:
    """Cosine and signed sine of every position (Su et al., arXiv:2104.09864, section 3.4)."""
    half = spec.head_dim // 2
    rates = spec.rope_theta ** (-jnp.arange(half) / half)
    angles = rates[:, None] * jnp.arange(spec.seq_len)[None, :]
    cosine = jnp.concatenate([jnp.cos(angles)] * 2)
    sine = jnp.concatenate([-jnp.sin(angles), jnp.sin(angles)])
    return cosine, sine


def rotate(
    x: Float[Array, "*batch head_dim seq"], cosine: Array, sine: Array
) -> Float[Array, "*batch head_dim seq"]:
    """Turn each pair (x_i, x_{i+half}) by its position's angle."""
    halves = x.reshape(*x.shape[:-2], 2, -1, x.shape[-1])
    swapped = jnp.flip(halves, -3).reshape(x.shape)
    return (x * cosine + swapped * sine).astype(x.dtype)


class Dense(nnx.Module):
    """Bias-free linear map, initialised N(0, scale²/d_in); `axes` names the dimensions of its kernel."""

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
        kernel = self.kernel[...]
        if self.textbook or self.is_plain(x):
            apply = kernels.textbook_dense if self.textbook else kernels.dense
            out = apply(x, self._used(kernel, x.dtype), dtype)
        else:
            out = kernels.stored_dense(x, kernel, bound(partial(self._used, dtype=x.dtype)), dtype)
        return checkpoint_name(out, PRODUCT)

    def is_plain(self, x: Array) -> bool:
        """Whether a product takes the parameter as it is stored: in the dtype of `x`, on one device."""
        return not sharded() and self.kernel[...].dtype == x.dtype

    def positions_last(
        self, x: Float[Array, "tokens d_in"], batch: int
    ) -> tuple[Float[Array, "batch d_out seq"], ...]:
        """A result for every part of the kernel [d_in, parts, d_out], where it is plain."""
        outs = kernels.positions_last(x, self.kernel[...], batch)
        return tuple(checkpoint_name(out, PRODUCT) for out in outs)

    def _used(self, kernel: Array, dtype: Any) -> Array:
        """The parameter as the product takes it: cast, gathered, and on one device a plain matrix.

        Merged dimensions make a plain matrix product, which is faster; split ones must stay apart.
        """
        kernel = gathered(kernel.astype(dtype), self.axes)
        return kernel if sharded() else kernel.reshape(len(kernel), -1)


class Norm(nnx.Module):
    """RMSNorm with a learned gain."""

    def __init__(self, width: int, eps: float):
        self.gain = nnx.Param(jnp.ones(width), axes=(None,))
        self.eps = eps

    def __call__(self, x: Float[Array, "*tokens d"]) -> Float[Array, "*tokens d"]:
        return kernels.thrifty(lambda x, gain: kernels.rms_norm(x, gain, self.eps), x, self.gain[...])


class HeadNorm(Norm):
    """RMSNorm over the features of each head, laid out before the positions."""

    def __call__(self, x: Float[Array, "*batch head_dim seq"]) -> Float[Array, "*batch head_dim seq"]:
        return kernels.rms_norm(x, self.gain[...][:, None], self.eps, axis=-2)


class KeyShift(nnx.Module):
    """Mixes each key with the key before it, in a learned share per channel.

    After Xu et al. (arXiv:2411.19574), who mix keys and values with a share per head. A head then finds what
    followed an earlier occurrence of a token without a second layer that copies the token before into each
    position. The channels of a head start with shares from little to most of the key before, the same in
    every head, so that small models start as large ones do; the first position is mixed with zeros.
    """

    def __init__(self, n_heads: int, head_dim: int):
        logits = np.linspace(-KEY_SHIFT_SPREAD, KEY_SHIFT_SPREAD, head_dim)
        self.gain = nnx.Param(jnp.asarray(np.tile(logits, (n_heads, 1)), jnp.float32), axes=("heads", None))

    def __call__(self, k: Float[Array, "*heads head_dim seq"]) -> Float[Array, "*heads head_dim seq"]:
        share = jax.nn.sigmoid(self.gain[...]).astype(k.dtype)
        if k.ndim == 3:  # heads of all sequences in one axis
            share = jnp.tile(share, (k.shape[0] // len(share), 1))
        share = share[..., None]
        before = jax.lax.pad(k, jnp.zeros((), k.dtype), [(0, 0, 0)] * (k.ndim - 1) + [(1, -1, 0)])
        return k + share * (before - k)
