"""Dynamic loss scaling for fp16: gradients underflow unless the loss is multiplied by a large scale.

A step whose gradients overflow is skipped and halves the scale. STEPS_TO_DOUBLE steps without overflow double
it. bf16 needs no scale: it has the exponent range of fp32.

References:
    Micikevicius et al., arXiv:1710.03740, section 3.2.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

# Powers of two: multiplying by them changes no digits of a gradient.
FIRST = 2.0**15
LARGEST = 2.0**24
STEPS_TO_DOUBLE = 200

State = dict[str, Array]


def initial() -> State:
    """Return the loss scale before the first step, and the count of steps since it changed."""
    return {"scale": jnp.float32(FIRST), "good_steps": jnp.int32(0)}


def all_finite(tree: Any) -> Bool[Array, ""]:
    """Return whether every entry of a tree of arrays is finite."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def adjust(state: State, finite: Bool[Array, ""]) -> State:
    """Return the loss scale of the next step, given whether this step's gradients were finite."""
    good = jnp.where(finite, state["good_steps"] + 1, 0)
    double = good >= STEPS_TO_DOUBLE
    grown = jnp.where(double, jnp.minimum(state["scale"] * 2, LARGEST), state["scale"])
    scale = jnp.where(finite, grown, jnp.maximum(state["scale"] / 2, 1.0))
    return {"scale": scale, "good_steps": jnp.where(double, 0, good)}


def keep_unless(finite: Bool[Array, ""], new: Any, old: Any) -> Any:
    """Return the tree `new` if the gradients were finite, else `old`: the skipped step."""
    # A select and not a branch, which a vmapped pack would turn into a select anyway.
    return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
