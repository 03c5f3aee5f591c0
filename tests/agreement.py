"""Agreement of two ways to compute the same arrays."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np


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
