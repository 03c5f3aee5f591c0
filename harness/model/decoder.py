"""Decoder-only Transformer: RMSNorm, rotary positions, causal attention, 4× MLP, untied head."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from harness.model import kernels
from harness.spec import ModelSpec

# Standard deviation of the embedding; its learning rate is of the same order (results/lr).
EMBED_STD = 1.0
# A head that starts small gives the uniform loss ln(vocabulary) at step 0.
HEAD_INIT_SCALE = 0.1
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
    x: Float[Array, "heads head_dim seq"], cosine: Array, sine: Array
) -> Float[Array, "heads head_dim seq"]:
    """Turn each pair (x_i, x_{i+half}) by its position's angle."""
    half = x.shape[1] // 2
    swapped = jnp.concatenate([x[:, half:], x[:, :half]], axis=1)
    return x * cosine + swapped * sine


class Dense(nnx.Module):
    """Bias-free linear map, initialised N(0, scale²/d_in)."""

    def __init__(self, d_in: int, d_out: int, rngs: nnx.Rngs, scale: float = 1.0, textbook: bool = False):
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (d_in, d_out)) * (scale * d_in**-0.5))
        self.apply = kernels.textbook_dense if textbook else kernels.dense

    def __call__(self, x: Float[Array, "tokens d_in"]) -> Float[Array, "tokens d_out"]:
        return self.apply(x, self.kernel[...])


class Norm(nnx.Module):
    """RMSNorm with a learned gain."""

    def __init__(self, width: int, eps: float):
        self.gain = nnx.Param(jnp.ones(width))
        self.eps = eps

    def __call__(self, x: Float[Array, "*tokens d"]) -> Float[Array, "*tokens d"]:
        return kernels.rms_norm(x, self.gain[...], self.eps)


class HeadNorm(Norm):
    """RMSNorm over the features of each head, laid out before the positions."""

    def __call__(self, x: Float[Array, "heads head_dim seq"]) -> Float[Array, "heads head_dim seq"]:
        return kernels.rms_norm(x, self.gain[...][:, None], self.eps, axis=1)


class KeyShift(nnx.Module):
    """Mixes each key with the key before it, in a learned share per channel.

    After Xu et al. (arXiv:2411.19574), who mix keys and values with a share per head. A head then finds what
    followed an earlier occurrence of a token without a second layer that copies the token before into each
    position. The channels of a head start with shares from little to most of the key before, the same in
    every head, so that small models start as large ones do; the first position is mixed with zeros.
    """

    def __init__(self, n_heads: int, head_dim: int):
        logits = np.linspace(-KEY_SHIFT_SPREAD, KEY_SHIFT_SPREAD, head_dim)
        self.gain = nnx.Param(jnp.asarray(np.tile(logits, (n_heads, 1)), jnp.float32))

    def __call__(self, k: Float[Array, "heads head_dim seq"]) -> Float[Array, "heads head_dim seq"]:
        copies = k.shape[0] // self.gain.shape[0]
        share = jnp.tile(jax.nn.sigmoid(self.gain[...]), (copies, 1))[:, :, None]
        before = jnp.pad(k, ((0, 0), (0, 0), (1, 0)))[:, :, :-1]
        return (1 - share) * k + share * before


def residual_init(spec: ModelSpec) -> float:
    """Initial scale of a projection onto the residual stream: 1/√(2·layers) where blocks are not scaled."""
    return float((2 * spec.n_layers * spec.residual_scale) ** -0.5)


class Attention(nnx.Module):
    """Causal multi-head self-attention with rotary positions."""

    def __init__(self, spec: ModelSpec, rngs: nnx.Rngs, textbook: bool):
        out_scale = residual_init(spec)
        self.qkv = Dense(spec.d_model, 3 * spec.d_model, rngs, textbook=textbook)
        self.out = Dense(spec.d_model, spec.d_model, rngs, out_scale, textbook)
        self.q_norm = HeadNorm(spec.head_dim, spec.norm_eps) if spec.qk_norm else None
        self.k_norm = HeadNorm(spec.head_dim, spec.norm_eps) if spec.qk_norm else None
        self.key_shift = KeyShift(spec.n_heads, spec.head_dim) if spec.key_shift else None
        self.apply = kernels.textbook_attention if textbook else kernels.attention
        self.spec = spec

    def __call__(self, x: Float[Array, "tokens d"], batch: int) -> Float[Array, "tokens d"]:
        spec = self.spec
        # Positions last: the transpose joins the projection, and with one sequence the rest moves nothing.
        qkv = self.qkv(x).T.reshape(3, spec.n_heads, spec.head_dim, batch, -1)
        q, k, v = qkv.transpose(0, 3, 1, 2, 4).reshape(3, batch * spec.n_heads, spec.head_dim, -1)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.key_shift is not None:
            k = self.key_shift(k)
        cosine, sine = rotary_tables(spec)
        length = q.shape[2]
        scale = spec.head_dim**-0.5 if spec.attention_scale is None else spec.attention_scale
        q = rotate(q, cosine[:, :length], sine[:, :length]) * scale
        k = rotate(k, cosine[:, :length], sine[:, :length])
        mixed = self.apply(q, k, v).reshape(batch, spec.d_model, length)
        return self.out(mixed.transpose(0, 2, 1).reshape(batch * length, spec.d_model))


class Mlp(nnx.Module):
    """GELU MLP, or SwiGLU (Shazeer, arXiv:2002.05202)."""

    def __init__(self, spec: ModelSpec, rngs: nnx.Rngs, textbook: bool):
        out_scale = residual_init(spec)
        gated = spec.mlp == "swiglu"
        self.up = Dense(spec.d_model, spec.d_ff, rngs, textbook=textbook)
        self.gate = Dense(spec.d_model, spec.d_ff, rngs, textbook=textbook) if gated else None
        self.down = Dense(spec.d_ff, spec.d_model, rngs, out_scale, textbook)

    def __call__(self, x: Float[Array, "tokens d"]) -> Float[Array, "tokens d"]:
        if self.gate is None:
            return self.down(jax.nn.gelu(self.up(x)))
        return self.down(jax.nn.silu(self.gate(x)) * self.up(x))


class Block(nnx.Module):
    """Pre-norm residual block."""

    def __init__(self, spec: ModelSpec, rngs: nnx.Rngs, textbook: bool):
        self.attention_norm = Norm(spec.d_model, spec.norm_eps)
        self.attention = Attention(spec, rngs, textbook)
        self.mlp_norm = Norm(spec.d_model, spec.norm_eps)
        self.mlp = Mlp(spec, rngs, textbook)
        self.scale = spec.residual_scale

    def __call__(self, x: Float[Array, "tokens d"], batch: int) -> Float[Array, "tokens d"]:
        x = x + self.scale * self.attention(self.attention_norm(x), batch)
        return x + self.scale * self.mlp(self.mlp_norm(x))


class Decoder(nnx.Module):
    """Token ids to logits; `textbook=True` swaps the hand-ordered kernels for plain JAX."""

    def __init__(self, spec: ModelSpec, rngs: nnx.Rngs, textbook: bool = False):
        self.embed = nnx.Param(jax.random.normal(rngs.params(), (spec.vocab_size, spec.d_model)) * EMBED_STD)
        self.blocks = nnx.List([Block(spec, rngs, textbook) for _ in range(spec.n_layers)])
        self.final_norm = Norm(spec.d_model, spec.norm_eps)
        head_scale = HEAD_INIT_SCALE * spec.head_init_scale
        self.head = Dense(spec.d_model, spec.vocab_size, rngs, head_scale, textbook)
        self.cross_entropy = kernels.textbook_cross_entropy if textbook else kernels.cross_entropy

    def __call__(self, tokens: Int[Array, "batch seq"]) -> Float[Array, "batch seq vocab"]:
        batch, length = tokens.shape
        x = self.embed[...][tokens.reshape(-1)]
        for block in self.blocks:
            x = block(x, batch)
        return self.head(self.final_norm(x)).reshape(batch, length, -1)

    def losses(self, windows: Int[Array, "batch seq_plus_1"]) -> Float[Array, "batch seq"]:
        """Loss in nats of every next token of each window."""
        inputs, labels = windows[:, :-1], windows[:, 1:]
        logits = self(inputs)
        flat = self.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))
        return flat.reshape(labels.shape)


def group_of(path: tuple[jax.tree_util.DictKey, ...]) -> str:
    """Parameter group (`embed`, `head`, `gain`, `hidden`) of a path in the parameter tree."""
    names = [str(part.key) for part in path]
    if names[0] in ("embed", "head"):
        return names[0]
    return "gain" if names[-1] == "gain" else "hidden"
