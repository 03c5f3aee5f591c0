"""Decoder-only Transformer: RMSNorm, rotary positions, causal attention, MLP or experts, linear head.

Activations are [tokens, d]: batch and positions share one axis, so that every linear map is one matrix
product. Attention alone needs them apart; its arrays are [*heads, head_dim, seq], where *heads is one axis
batch · n_heads on one device, and two axes batch, n_heads on a mesh.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, UInt32

from harness.model import dropout, kernels
from harness.model.attention import attention_of_one, repeated, textbook_attention
from harness.model.cross_entropy import (
    cross_entropy,
    cross_entropy_and_square,
    textbook_cross_entropy,
    textbook_cross_entropy_and_square,
)
from harness.model.flash import ATTENTION
from harness.model.layers import Dense, HeadNorm, KeyShift, Norm, rotary_tables, rotate
from harness.model.moe import Moe, Routing
from harness.model.partition import bound, constrain, gathered, n_shards, sharded
from harness.recipe.spec import ModelSpec

DTYPES = {"fp32": jnp.float32, "bf16": jnp.bfloat16, "fp16": jnp.float16}
# Initial standard deviation of the embedding; its learning rate is of the same order (results/lr).
EMBED_STD = 1.0
# Scale of the initial head. Small, so that logits start near 0 and the loss at ln(vocab_size), that of
# uniform guessing.
HEAD_INIT_SCALE = 0.1


def residual_init(spec: ModelSpec) -> float:
    """Return the initial scale of projections onto the residual stream: 1/√(2·n_layers·residual_scale).

    At residual_scale 1 the sum of the 2·n_layers projections then has the same variance at any depth.

    References:
        GPT-2, Radford et al. (2019), section 2.3, scales by 1/√(residual layers).
    """
    return float((2 * spec.n_layers * spec.residual_scale) ** -0.5)


def tied_scale(spec: ModelSpec) -> float:
    """Return the constant by which a tied head multiplies the embedding: its logits start as a head's do."""
    return float(HEAD_INIT_SCALE * spec.head_init_scale / EMBED_STD * spec.d_model**-0.5)


class Kept(NamedTuple):
    """KV cache of one attention layer, for decoding token by token; zeros at positions not yet decoded.

    A layer with a window keeps as many positions; a further one takes the place of the oldest.

    Attributes:
        key_before: Key of the previous position, before key shift and rotation: the next key is mixed with
            it.
        keys: Keys after key shift and rotation.
        values: Values.
    """

    key_before: Float[Array, "*kv_heads head_dim 1"]
    keys: Float[Array, "*kv_heads head_dim seq"]
    values: Float[Array, "*kv_heads head_dim seq"]


def nothing_kept(spec: ModelSpec, batch: int, length: int, window: int | None) -> Kept:
    """Return an empty KV cache of a layer for `batch` sequences of up to `length` tokens."""
    length = length if window is None else min(length, window)
    heads = (batch, spec.kv_heads) if sharded() else (batch * spec.kv_heads,)
    one, all_of_them = (jnp.zeros((*heads, spec.head_dim, n), DTYPES[spec.precision]) for n in (1, length))
    return Kept(one, all_of_them, all_of_them)


class Attention(nnx.Module):
    """Causal multi-head self-attention with rotary positions; heads may share keys and values.

    Args:
        spec: Shape of the model.
        rngs: Source of the initial values.
        textbook: Whether to use plain JAX kernels.
        attention: Attention implementation, a key of `harness.model.flash.ATTENTION`.
        window: Keys that a query attends to, its own included; None is all up to its own.
    """

    def __init__(
        self, spec: ModelSpec, rngs: nnx.Rngs, textbook: bool, attention: str, window: int | None = None
    ):
        out_scale = residual_init(spec)
        d = spec.d_model
        # One fused kernel: three separate products would read the activations three times. Keys and values of
        # shared heads are narrower than queries and have a kernel of their own.
        shared, axes = spec.kv_heads < spec.n_heads, ("embed", None, "heads")
        self.qkv = None if shared else Dense((d, 3, d), axes, rngs, textbook=textbook)
        self.q = Dense((d, 1, d), axes, rngs, textbook=textbook) if shared else None
        self.kv = Dense((d, 2, spec.d_kv), axes, rngs, textbook=textbook) if shared else None
        self.out = Dense((d, d), ("heads", "embed"), rngs, out_scale, textbook)
        self.q_norm = HeadNorm(spec.head_dim, spec.norm_eps) if spec.qk_norm else None
        self.k_norm = HeadNorm(spec.head_dim, spec.norm_eps) if spec.qk_norm else None
        self.key_shift = KeyShift(spec.kv_heads, spec.head_dim) if spec.key_shift else None
        apply = textbook_attention if textbook else ATTENTION[attention]
        self.apply = apply if window is None else partial(apply, window=window)
        self.window = window
        self.spec = spec

    def __call__(self, x: Float[Array, "tokens d"], batch: int) -> Float[Array, "tokens d"]:
        """Return the output of attention for `batch` sequences, before it is added to the residual stream."""
        spec = self.spec
        q, k, v = self._projected(x, batch)
        length = q.shape[-1]
        q, k = kernels.thrifty(self._prepared, q, k)
        k, v = self._spread(k), self._spread(v)
        # The output projection is a product over tokens again, so positions move back before the channels.
        mixed = self.apply(q, k, v).reshape(batch, spec.d_model, length)
        mixed = mixed.transpose(0, 2, 1).reshape(batch * length, spec.d_model)
        return self.out(constrain(mixed, "batch", "heads"))

    def after(
        self, x: Float[Array, "batch d"], kept: Kept, at: Int[Array, ""]
    ) -> tuple[Float[Array, "batch d"], Kept]:
        """Return the output for the token at position `at` of each sequence, and the updated KV cache."""
        q, k, v = (part for dense in self._kernels for part in self._heads(dense, x, len(x)))
        q, k = self._normed(q, k)
        shifted = k
        if self.key_shift is not None:
            shifted = self.key_shift(jnp.concatenate([kept.key_before, k], axis=-1))[..., 1:]
        q, turned = self._turned(q, shifted, at)
        # The cache is updated before the query reads it, because a query attends to its own position too.
        slot = at if self.window is None else at % kept.keys.shape[-1]
        put = partial(jax.lax.dynamic_update_slice_in_dim, start_index=slot, axis=-1)
        kept = Kept(k, put(kept.keys, turned), put(kept.values, v))
        mixed = attention_of_one(q, kept.keys, kept.values, at).reshape(x.shape)
        return self.out(constrain(mixed, "batch", "heads")), kept

    def _prepared(self, q: Array, k: Array) -> tuple[Array, Array]:
        """Normalise, shift and rotate queries and keys [*heads, head_dim, seq]."""
        q, k = self._normed(q, k)
        if self.key_shift is not None:
            k = self.key_shift(k)
        return self._turned(q, k, 0)

    def _normed(self, q: Array, k: Array) -> tuple[Array, Array]:
        """Normalise queries and keys in each head, if the model does."""
        if self.q_norm is None or self.k_norm is None:
            return q, k
        return self.q_norm(q), self.k_norm(k)

    def _turned(self, q: Array, k: Array, first: Array | int) -> tuple[Array, Array]:
        """Rotate queries and keys to the positions from `first` on, and scale the queries.

        Scaling queries and not scores costs head_dim instead of seq multiplications per query.
        """
        length, given = q.shape[-1], self.spec.attention_scale
        cosine, sine = (
            jax.lax.dynamic_slice_in_dim(table, first, length, 1) for table in rotary_tables(self.spec)
        )
        scale = self.spec.head_dim**-0.5 if given is None else given
        return rotate(q, cosine, sine) * scale, rotate(k, cosine, sine)

    @property
    def _kernels(self) -> tuple[Dense, ...]:
        """The projections whose parts are queries, keys and values, in this order."""
        return tuple(dense for dense in (self.qkv, self.q, self.kv) if dense is not None)

    def _spread(self, x: Float[Array, "*kv_heads head_dim seq"]) -> Float[Array, "*_ head_dim seq"]:
        """Return keys or values, once for each head if a mesh splits heads into parts that cannot share."""
        mesh = sharded()
        if mesh is None or self.spec.kv_heads % n_shards(mesh, "heads") == 0:
            return x
        return constrain(repeated(x, self.spec.n_heads), "batch", "heads")

    def _projected(self, x: Array, batch: int) -> Iterator[Float[Array, "*_ head_dim seq"]]:
        """Yield queries, keys and values of every head, positions last.

        One kernel makes them in this layout on one device in fp32. If the parameter is cast or sharded, they
        are projected first and then transposed by `_heads`.
        """
        for dense in self._kernels:
            if dense.textbook or not dense.is_plain(x):
                yield from self._heads(dense, x, batch)
            else:
                parts = dense.positions_last(x, batch)
                yield from (part.reshape(-1, self.spec.head_dim, part.shape[-1]) for part in parts)

    def _heads(self, dense: Dense, x: Array, batch: int) -> Float[Array, "parts *_ head_dim seq"]:
        """Return projected activations apart by the parts of their kernel and by heads, positions last.

        XLA fuses the transposition into the projection; with one sequence the other reshapes move no data.
        On a mesh batch and heads stay separate axes, because different mesh axes split them.
        """
        parts, width = dense.kernel.shape[1:]
        out, head_dim = dense(x), self.spec.head_dim
        last = constrain(jnp.moveaxis(out, 0, -1), None, "heads", "batch") if sharded() else out.T
        apart = last.reshape(parts, width // head_dim, head_dim, batch, -1).transpose(0, 3, 1, 2, 4)
        if sharded():
            return constrain(apart, None, "batch", "heads")
        return apart.reshape(parts, -1, head_dim, apart.shape[-1])


class Mlp(nnx.Module):
    """MLP with GELU (Hendrycks & Gimpel, arXiv:1606.08415) or SwiGLU (Shazeer, arXiv:2002.05202)."""

    def __init__(self, spec: ModelSpec, rngs: nnx.Rngs, textbook: bool):
        out_scale = residual_init(spec)
        gated = spec.mlp == "swiglu"
        wide, axes = (spec.d_model, spec.d_ff), ("embed", "mlp")
        self.up = Dense(wide, axes, rngs, textbook=textbook)
        self.gate = Dense(wide, axes, rngs, textbook=textbook) if gated else None
        self.down = Dense(wide[::-1], axes[::-1], rngs, out_scale, textbook)

    def __call__(self, x: Float[Array, "tokens d"]) -> Float[Array, "tokens d"]:
        if self.gate is None:
            hidden = kernels.thrifty(jax.nn.gelu, self.up(x))
        else:
            hidden = kernels.thrifty(lambda gate, up: jax.nn.silu(gate) * up, self.gate(x), self.up(x))
        return self.down(constrain(hidden, "batch", "mlp"))


class Block(nnx.Module):
    """Pre-norm Transformer block: x + attention(norm(x)), then x + mlp(norm(x)).

    References:
        Pre-norm: Xiong et al., arXiv:2002.04745.
    """

    def __init__(
        self,
        spec: ModelSpec,
        rngs: nnx.Rngs,
        textbook: bool = False,
        attention: str = "xla",
        window: int | None = None,
    ):
        self.attention_norm = Norm(spec.d_model, spec.norm_eps)
        self.attention = Attention(spec, rngs, textbook, attention, window)
        self.mlp_norm = Norm(spec.d_model, spec.norm_eps)
        self.mlp: Mlp | Moe = (
            Mlp(spec, rngs, textbook) if spec.n_experts == 1 else Moe(spec, rngs, residual_init(spec))
        )
        self.scale = spec.residual_scale
        self.dropout = spec.dropout

    def __call__(
        self, x: Float[Array, "tokens d"], batch: int, keys: UInt32[Array, "batch words"] | None = None
    ) -> tuple[Float[Array, "tokens d"], Routing | None]:
        """Return the residual stream after this block, and the routing statistics; None in a dense model.

        `keys` are those of dropout in training; without them nothing is dropped.
        """
        mixed = self._dropped(self.attention(self.attention_norm(x), batch), keys, dropout.ATTENTION)
        x = constrain(x + self.scale * mixed, "batch")
        normed, routing = self.mlp_norm(x), None
        if isinstance(self.mlp, Moe):
            change, routing = self.mlp(normed, batch)
        else:
            change = self.mlp(normed)
        change = self._dropped(change, keys, dropout.MLP)
        return constrain(x + self.scale * change, "batch"), routing

    def _dropped(self, x: Array, keys: Array | None, place: int) -> Array:
        return x if keys is None else dropout.dropped(x, dropout.folded(keys, place), self.dropout)

    def after(
        self, x: Float[Array, "batch d"], kept: Kept, at: Int[Array, ""]
    ) -> tuple[Float[Array, "batch d"], Kept]:
        """Return the residual stream of the token at position `at`, and the updated KV cache.

        Only for dense models: the capacity of an expert is counted over a whole sequence.
        """
        assert isinstance(self.mlp, Mlp)
        mixed, kept = self.attention.after(self.attention_norm(x), kept, at)
        x = constrain(x + self.scale * mixed, "batch")
        return constrain(x + self.scale * self.mlp(self.mlp_norm(x)), "batch"), kept


class Decoder(nnx.Module):
    """Decoder-only Transformer: token ids to logits.

    Args:
        spec: Shape of the model.
        rngs: Source of the initial parameters.
        textbook: Whether to use the `textbook_*` kernels, as an oracle.
        attention: Attention implementation, a key of `harness.model.flash.ATTENTION`.
    """

    def __init__(self, spec: ModelSpec, rngs: nnx.Rngs, textbook: bool = False, attention: str = "xla"):
        # By default embedding and head are not tied: they differ in initial scale and learning rate.
        shape = (spec.vocab_size, spec.d_model)
        self.embed = nnx.Param(jax.random.normal(rngs.params(), shape) * EMBED_STD, axes=("vocab", "embed"))
        windows = [spec.window_of(layer) for layer in range(spec.n_layers)]
        self.blocks = nnx.List([Block(spec, rngs, textbook, attention, window) for window in windows])
        self.final_norm = Norm(spec.d_model, spec.norm_eps)
        head_scale = HEAD_INIT_SCALE * spec.head_init_scale
        tied, axes = spec.tied_embeddings, ("embed", "vocab")
        self.head = None if tied else Dense(shape[::-1], axes, rngs, head_scale, textbook)
        self.tied_scale = tied_scale(spec)
        self.textbook = textbook
        self.precision = spec.precision
        self.dropout = spec.dropout
        self.cross_entropy = textbook_cross_entropy if textbook else cross_entropy
        self.with_square = textbook_cross_entropy_and_square if textbook else cross_entropy_and_square

    def __call__(self, tokens: Int[Array, "batch seq"]) -> Float[Array, "batch seq vocab"]:
        """Return the logits of the next token at every position, fp32."""
        batch, length = tokens.shape
        x = self.embedded(tokens)
        for block in self.blocks:
            x, _ = block(x, batch)
        return self.logits(x).reshape(batch, length, -1)

    def embedded(
        self, tokens: Int[Array, "batch seq"], keys: UInt32[Array, "batch words"] | None = None
    ) -> Float[Array, "tokens d"]:
        """Return the embeddings, a part of them dropped with `keys`: the stream before the first block."""
        # The table is cast before the look-up, so that the residual stream has the precision of activations.
        table = gathered(self.embed[...].astype(DTYPES[self.precision]), ("vocab", "embed"))
        x = constrain(table[tokens.reshape(-1)], "batch")
        if keys is None:
            return x
        return dropout.dropped(x, dropout.folded(keys, dropout.EMBEDDING), self.dropout)

    def logits(self, x: Float[Array, "tokens d"]) -> Float[Array, "tokens vocab"]:
        """Return the fp32 logits: final norm and head.

        In bf16, logits from 8 to 16 would be rounded to multiples of 1/16.
        """
        normed = self.final_norm(x)
        out = self._tied(normed) if self.head is None else self.head(normed, jnp.float32)
        return constrain(out, "batch", "vocab")

    def _tied(self, x: Float[Array, "tokens d"]) -> Float[Array, "tokens vocab"]:
        """Return the fp32 product with the embedding, in the place of a head.

        The matrix keeps the scale and the learning rate of an embedding. With the rate of a head it would
        move by less than its scale allows, and look-ups would hardly learn.
        """
        x, table = x * self.tied_scale, self.embed[...]

        def used(table: Array) -> Array:
            return gathered(table.astype(x.dtype).T, ("embed", "vocab"))

        if self.textbook:
            return kernels.textbook_dense(x, used(table), jnp.float32)
        if sharded() or table.dtype != x.dtype:
            return kernels.stored_dense(x, table, bound(used), jnp.float32)
        return kernels.dense(x, table.T, jnp.float32)

    def token_losses(
        self, x: Float[Array, "tokens d"], labels: Int[Array, "batch seq"]
    ) -> Float[Array, "batch seq"]:
        """Return the cross-entropy of every label in nats, from the residual stream after the last block."""
        return self.cross_entropy(self.logits(x), labels.reshape(-1)).reshape(labels.shape)

    def token_losses_and_squares(
        self, x: Float[Array, "tokens d"], labels: Int[Array, "batch seq"]
    ) -> tuple[Float[Array, "batch seq"], Float[Array, "batch seq"]]:
        """Return the result of `token_losses`, and the square of log Σ exp(logits) at every position."""
        losses, squares = self.with_square(self.logits(x), labels.reshape(-1))
        return losses.reshape(labels.shape), squares.reshape(labels.shape)

    def losses(
        self, windows: Int[Array, "batch seq_plus_1"], keys: UInt32[Array, "batch words"] | None = None
    ) -> Float[Array, "batch seq"]:
        """Return the cross-entropy of every next token in nats.

        A window holds seq + 1 tokens: the inputs, and the labels shifted by one. `keys` are those of dropout.
        """
        inputs, labels = windows[:, :-1], windows[:, 1:]
        x = self.embedded(inputs, keys)
        for block in self.blocks:
            x, _ = block(x, inputs.shape[0], keys)
            keys = None if keys is None else dropout.folded(keys, dropout.NEXT)
        return self.token_losses(x, labels)


def group_of(path: tuple[jax.tree_util.DictKey, ...]) -> str:
    """Return the parameter group of a path in the parameter tree: `embed`, `head`, `gain` or `hidden`.

    A tied head is the embedding, and so in the group `embed`.
    Each group has its own learning rate; `hidden` holds the matrices of the blocks.
    """
    names = [str(part.key) for part in path]
    if names[0] in ("embed", "head"):
        return names[0]
    return "gain" if names[-1] == "gain" else "hidden"
