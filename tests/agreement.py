"""Agreement of two ways to compute the same arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import numpy as np

from tests.quick_compilation import OPTIONS as QUICK

Function: TypeAlias = Callable[..., Any]


def assert_agree(ours: Any, theirs: Any, tolerance: float = 1e-5) -> None:
    """Assert that no entry differs by more than `tolerance` times the largest entry of its array.

    Sums in another order differ by the rounding of their largest terms. An entry near zero, in which such
    terms cancel, may so differ by any factor. A fixed tolerance would say nothing of arrays of small entries.
    """
    leaves = jax.tree_util.tree_leaves_with_path(theirs)
    for (path, expected), found in zip(leaves, jax.tree.leaves(ours), strict=True):
        largest = float(np.abs(expected).max())
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * largest, err_msg=name)


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def assert_same_gradients(
    ours: Function, textbook: Function, arguments: tuple[jax.Array, ...], differentiate: tuple[int, ...]
) -> None:
    """Value and vector-Jacobian product agree to 1e-5."""
    weights = normal(*jax.eval_shape(textbook, *arguments).shape, seed=9)

    def scalar(function: Function) -> Function:
        found = jax.value_and_grad(lambda *a: (function(*a) * weights).sum(), argnums=differentiate)
        return jax.jit(found, compiler_options=QUICK)

    assert_agree(scalar(ours)(*arguments), scalar(textbook)(*arguments))
