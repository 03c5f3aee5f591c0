"""Flash attention, which never writes the T×T scores to memory: cuDNN on GPUs, splash on TPUs.

Both equal `kernels.attention` in arguments and result: scaled queries, keys and values with positions last.
They work on blocks of keys with a running maximum and sum.

References:
    Dao et al., arXiv:2205.14135.
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

# Largest block of queries and of keys, in positions: 512 × 512 fp32 scores take 1 MiB of a TPU's VMEM.
SPLASH_BLOCK = 512


def cudnn_attention(
    q: Float[Array, "*batch head_dim seq"],
    k: Float[Array, "*batch head_dim seq"],
    v: Float[Array, "*batch head_dim seq"],
) -> Float[Array, "*batch head_dim seq"]:
    """Return causal attention by cuDNN, on GPUs.

    Args:
        q: Queries in half precision, already multiplied by the attention scale; head_dim a multiple of 8.
        k: Keys.
        v: Values.
    """
    return _by_heads_inside(q, k, v, implementation="cudnn")


def _by_heads_inside(q: Array, k: Array, v: Array, implementation: Any) -> Array:
    """Call `jax.nn.dot_product_attention`, which takes [batch, seq, heads, head_dim].

    `implementation` is `cudnn` or, in tests without a GPU, `xla`.
    """
    # On one device batch and heads are one axis (three dimensions): each head then counts as a sequence.
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
    """Return causal attention by JAX's splash kernel, on TPUs.

    Args:
        q: Queries, already multiplied by the attention scale; seq a multiple of 128.
        k: Keys.
        v: Values.
        interpret: Whether to run the kernel in Pallas' interpreter, on any platform (for tests).
    """
    # XLA cannot split a Pallas kernel over devices, so shard_map runs it on each device's sequences and
    # heads.
    mesh = sharded()
    if mesh is None:
        return _splash(q, k, v, interpret)
    where = partition_spec(mesh, q.shape, ("batch", "heads"))
    local = partial(_splash, interpret=interpret)
    # check_vma=False: a Pallas kernel does not tell over which mesh axes its results vary.
    apply = jax.shard_map(local, mesh=mesh, in_specs=(where,) * 3, out_specs=where, check_vma=False)
    return apply(q, k, v)


def _splash(q: Array, k: Array, v: Array, interpret: bool) -> Array:
    apart = q.ndim == 4
    moved = [jnp.swapaxes(x if apart else x[:, None], -1, -2) for x in (q, k, v)]
    _, n_heads, length, _ = moved[0].shape
    # The kernel takes one sequence of all heads; vmap adds the batch.
    mixed = jax.vmap(_splash_kernel(n_heads, length, interpret))(*moved)
    return jnp.swapaxes(mixed if apart else mixed[:, 0], -1, -2)


def _splash_kernel(n_heads: int, length: int, interpret: bool) -> Any:
    # A late import: Pallas is slow to import, and only TPUs run it.
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash_kernel
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as splash_mask

    mask = splash_mask.MultiHeadMask([splash_mask.CausalMask((length, length))] * n_heads)
    # The kernel accepts only blocks that divide the sequence.
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
