"""Dynamic loss scaling: fp16 gradients underflow unless the loss is multiplied by a large number first.

After Micikevicius et al. (arXiv:1710.03740, section 3.2): a step whose gradients overflow is left out and the
scale halved; after a while without overflow it is doubled.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

FIRST = 2.0**15
LARGEST = 2.0**24
STEPS_TO_DOUBLE = 200

State = dict[str, Array]


def initial() -> State:
    return {"scale": jnp.float32(FIRST), "good_steps": jnp.int32(0)}


def all_finite(tree: Any) -> Bool[Array, ""]:
    """Whether every entry of a tree of arrays is finite."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def adjust(state: State, finite: Bool[Array, ""]) -> State:
    """The scale of the next step."""
    good = jnp.where(finite, state["good_steps"] + 1, 0)
    double = good >= STEPS_TO_DOUBLE
    grown = jnp.where(double, jnp.minimum(state["scale"] * 2, LARGEST), state["scale"])
    scale = jnp.where(finite, grown, jnp.maximum(state["scale"] / 2, 1.0))
    return {"scale": scale, "good_steps": jnp.where(double, 0, good)}


def keep_unless(finite: Bool[Array, ""], new: Any, old: Any) -> Any:
    """`new` where the gradients were finite, else `old`."""
    return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
