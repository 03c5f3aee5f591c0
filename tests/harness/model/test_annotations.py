"""The checks of annotations and of silent broadcasting are in force: see tests/conftest.py."""

from __future__ import annotations

import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from harness.model.cross_entropy import cross_entropy


def test_shapes_in_annotations_are_checked() -> None:
    with pytest.raises(TypeCheckError, match="labels"):
        cross_entropy(jnp.zeros((2, 3)), jnp.zeros(4, int))


def test_a_vector_is_not_broadcast_along_a_matrix_unless_asked() -> None:
    with pytest.raises(ValueError, match="numpy_rank_promotion"):
        jnp.ones((2, 3)) + jnp.ones(3)
