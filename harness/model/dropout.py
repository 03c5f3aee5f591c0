"""Dropout of the embedding and of what each block adds to the residual stream.

Every sequence of a batch has a random key of its own, made from the run's key, the step and its number in the
batch. So its mask is the same in every micro-batch, on every mesh and in every lane of a pack. The keys go
from block to block with the residual stream, which works for unrolled, scanned and pipelined layers alike.

References:
    Srivastava et al., Journal of Machine Learning Research 15 (2014).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from harness.model.partition import constrain

# Keys are stored as plain numbers, which a scan carries and a checkpoint writes.
IMPLEMENTATION = "threefry2x32"
# Numbers folded into the keys of the residual stream: for the next block, and for the places of dropout.
NEXT, ATTENTION, MLP, EMBEDDING = range(4)
# Folded into the key of the initial values, far from the small numbers that those fold into it.
STREAM = 0x64726F70


def first_key(key: Array) -> UInt32[Array, " words"]:
    """Return the dropout key of a run from its initialisation key."""
    return jax.random.key_data(jax.random.fold_in(key, STREAM))


def step_keys(
    key: UInt32[Array, " words"], step: Int[Array, ""], n_micro: int, batch: int
) -> UInt32[Array, "n_micro batch words"]:
    """Return a key for every sequence of a step."""
    of_step = jax.random.fold_in(_wrapped(key), step)
    keys = jax.vmap(lambda number: jax.random.fold_in(of_step, number))(jnp.arange(n_micro * batch))
    return jax.random.key_data(keys).reshape(n_micro, batch, -1)


def folded(keys: UInt32[Array, "batch words"], place: int) -> UInt32[Array, "batch words"]:
    """Return the keys of a place from those of the residual stream."""
    return jax.vmap(lambda key: jax.random.key_data(jax.random.fold_in(_wrapped(key), place)))(keys)


def dropped(
    x: Float[Array, "tokens d"], keys: UInt32[Array, "batch words"], rate: float
) -> Float[Array, "tokens d"]:
    """Return activations of which a share `rate` is 0 and the rest is larger, so that the mean stays."""
    shape = x.shape[0] // len(keys), x.shape[1]
    kept = jax.vmap(lambda key: jax.random.bernoulli(_wrapped(key), 1.0 - rate, shape))(keys)
    return jnp.where(constrain(kept.reshape(x.shape), "batch"), x / (1.0 - rate), jnp.zeros((), x.dtype))


def _wrapped(key: Array) -> Array:
    return jax.random.wrap_key_data(key, impl=IMPLEMENTATION)
