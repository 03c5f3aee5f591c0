"""Attention that never writes the T×T scores out: cuDNN's kernel on GPUs, the splash kernel on TPUs.

Both compute what `kernels.attention` computes, by blocks of keys with a running maximum and sum (Dao et al.,
arXiv:2205.14135), and take its arguments: scaled queries, keys and values with positions last.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from harness.execution.execution import SPLASH_MULTIPLE
from harness.model import kernels
from harness.model.partition import partition_spec, sharded

# The largest block of queries and keys; a block of fp32 scores then takes 1 MiB of a TPU's fast memory.
SPLASH_BLOCK = 512
# A TPU's vector lanes: head channels are filled up with zeros to a multiple, which changes no score.
LANES = 64


def cudnn_attention(
    q: Float[Array, "*batch head_dim seq"],
    k: Float[Array, "*batch head_dim seq"],
    v: Float[Array, "*batch head_dim seq"],
) -> Float[Array, "*batch head_dim seq"]:
    """Causal attention by cuDNN; half precision, head_dim a multiple of 8."""
    return _by_heads_inside(q, k, v, implementation="cudnn")


def _by_heads_inside(q: Array, k: Array, v: Array, implementation: Any) -> Array:
    """`jax.nn.dot_product_attention`, which wants [batch, seq, heads, head_dim]."""
    apart = q.ndim == 4
    moved = [jnp.transpose(x if apart else x[:, None], (0, 3, 1, 2)) for x in (q, k, v)]
    mixed = jax.nn.dot_product_attention(*moved, scale=1.0, is_causal=True, implementation=implementation)
    back = jnp.transpose(mixed, (0, 2, 3, 1))
    return back if apart else back[:, 0]


def splash_attention(
    q: Float[Array, "*batch head_dim seq"],
    k: Float[Array, "*batch head_dim seq"],
    v: Float[Array, "*batch head_dim seq"],
    interpret: bool = False,
) -> Float[Array, "*batch head_dim seq"]:
    """Causal attention by JAX's splash kernel; seq a multiple of 128. `interpret` runs it on any platform."""
    mesh = sharded()
    if mesh is None:
        return _splash(q, k, v, interpret)
    where = partition_spec(mesh, q.shape, ("batch", "heads"))
    local = partial(_splash, interpret=interpret)
    apply = jax.shard_map(local, mesh=mesh, in_specs=(where,) * 3, out_specs=where, check_vma=False)
    return apply(q, k, v)


def _splash(q: Array, k: Array, v: Array, interpret: bool) -> Array:
    apart = q.ndim == 4
    moved = [jnp.swapaxes(x if apart else x[:, None], -1, -2) for x in (q, k, v)]
    _, n_heads, length, _ = moved[0].shape
    mixed = jax.vmap(_splash_kernel(n_heads, length, interpret))(*moved)
    return jnp.swapaxes(mixed if apart else mixed[:, 0], -1, -2)


def _splash_kernel(n_heads: int, length: int, interpret: bool) -> Any:
    # Imported where it is used: Pallas is slow to import, and only TPUs run it.
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash_kernel
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as splash_mask

    mask = splash_mask.MultiHeadMask([splash_mask.CausalMask((length, length))] * n_heads)
    sizes = range(SPLASH_MULTIPLE, SPLASH_BLOCK + 1, SPLASH_MULTIPLE)
    block = max(size for size in sizes if length % size == 0)
    blocks = splash_kernel.BlockSizes(
        block_q=block,
        block_kv=block,
        block_q_dkv=block,
        block_kv_dkv=block,
        block_q_dq=block,
        block_kv_dq=block,
    )
    return splash_kernel.make_splash_mha(
        mask, block_sizes=blocks, head_shards=1, q_seq_shards=1, interpret=interpret
    )


Attend = Callable[[Array, Array, Array], Array]
ATTENTION: dict[str, Attend] = {
    "xla": kernels.attention,
    "cudnn": cudnn_attention,
    "splash": splash_attention,
}
