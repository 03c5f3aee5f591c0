"""Flash attention, which never writes the T×T scores to memory: cuDNN on GPUs, splash on TPUs.

Both take and return what `harness.model.attention.attention` does: scaled queries, positions last.
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
from harness.model.attention import attention
from harness.model.partition import partition_spec, sharded

# Largest block of queries and of keys, in positions: 512 × 512 fp32 scores take 1 MiB of a TPU's VMEM.
SPLASH_BLOCK = 512


def cudnn_attention(
    q: Float[Array, "*heads head_dim seq"],
    k: Float[Array, "*kv_heads head_dim seq"],
    v: Float[Array, "*kv_heads head_dim seq"],
    window: int | None = None,
) -> Float[Array, "*heads head_dim seq"]:
    """Return causal attention by cuDNN, on GPUs.

    Args:
        q: Queries in half precision, already multiplied by the attention scale; head_dim a multiple of 8.
        k: Keys.
        v: Values.
        window: Keys that a query sees, its own included; None is all up to its own.
    """
    return _by_heads_inside(q, k, v, window, implementation="cudnn")


def _apart(q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
    """Return arrays with an axis of batch and one of heads, and of queries as many heads as share a key.

    On one device batch and heads are one axis (three dimensions): each key head then counts as a sequence.
    """
    if q.ndim == 4:
        return q, k, v
    return q.reshape(len(k), -1, *q.shape[1:]), k[:, None], v[:, None]


def _by_heads_inside(
    q: Array, k: Array, v: Array, window: int | None = None, *, implementation: Any
) -> Array:
    """Call `jax.nn.dot_product_attention`, which takes [batch, seq, heads, head_dim].

    `implementation` is `cudnn` or, in tests without a GPU, `xla`.
    """
    moved = [jnp.transpose(x, (0, 3, 1, 2)) for x in _apart(q, k, v)]
    mixed = jax.nn.dot_product_attention(
        *moved,
        scale=1.0,
        is_causal=True,
        local_window_size=None if window is None else (window - 1, 0),
        implementation=implementation,
    )
    return jnp.transpose(mixed, (0, 2, 3, 1)).reshape(q.shape)


def splash_attention(
    q: Float[Array, "*heads head_dim seq"],
    k: Float[Array, "*kv_heads head_dim seq"],
    v: Float[Array, "*kv_heads head_dim seq"],
    window: int | None = None,
    interpret: bool = False,
) -> Float[Array, "*heads head_dim seq"]:
    """Return causal attention by JAX's splash kernel, on TPUs.

    Args:
        q: Queries, already multiplied by the attention scale; seq a multiple of 128.
        k: Keys.
        v: Values.
        window: Keys that a query sees, its own included; None is all up to its own.
        interpret: Whether to run the kernel in Pallas' interpreter, on any platform (for tests).
    """
    # XLA cannot split a Pallas kernel over devices, so shard_map runs it on each device's sequences and
    # heads.
    mesh = sharded()
    if mesh is None:
        return _splash(q, k, v, window, interpret)
    where = partition_spec(mesh, q.shape, ("batch", "heads"))
    local = partial(_splash, window=window, interpret=interpret)
    # check_vma=False: a Pallas kernel does not tell over which mesh axes its results vary.
    apply = jax.shard_map(local, mesh=mesh, in_specs=(where,) * 3, out_specs=where, check_vma=False)
    return apply(q, k, v)


def _splash(q: Array, k: Array, v: Array, window: int | None, interpret: bool) -> Array:
    moved = [jnp.swapaxes(x, -1, -2) for x in _apart(q, k, v)]
    _, n_heads, length, _ = moved[0].shape
    # The kernel takes one sequence of all heads; vmap adds the batch.
    mixed = jax.vmap(_splash_kernel(n_heads, length, window, interpret))(*moved)
    return jnp.swapaxes(mixed, -1, -2).reshape(q.shape)


def _splash_kernel(n_heads: int, length: int, window: int | None, interpret: bool) -> Any:
    # A late import: Pallas is slow to import, and only TPUs run it.
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash_kernel
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as splash_mask

    shape = (length, length)
    seen = (
        splash_mask.CausalMask(shape) if window is None else splash_mask.LocalMask(shape, (window - 1, 0), 0)
    )
    mask = splash_mask.MultiHeadMask([seen] * n_heads)
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


Attend = Callable[..., Array]
ATTENTION: dict[str, Attend] = {
    "xla": attention,
    "cudnn": cudnn_attention,
    "splash": splash_attention,
}
