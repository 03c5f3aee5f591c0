"""Cross-entropy against its textbook lines, in value and gradient."""

from __future__ import annotations

import jax.numpy as jnp

from harness.model.cross_entropy import (
    cross_entropy,
    cross_entropy_and_square,
    textbook_cross_entropy,
    textbook_cross_entropy_and_square,
)
from tests.agreement import assert_same_gradients, normal


def test_cross_entropy():
    labels = jnp.arange(10) % 7
    ours = lambda logits: cross_entropy(logits, labels)  # noqa: E731
    textbook = lambda logits: textbook_cross_entropy(logits, labels)  # noqa: E731
    assert_same_gradients(ours, textbook, (5 * normal(10, 7),), (0,))


def test_cross_entropy_and_square():
    def summed(function):
        return lambda logits: (lambda loss, square: loss + 0.3 * square)(*function(logits, labels))

    labels = jnp.arange(10) % 7
    ours, textbook = cross_entropy_and_square, textbook_cross_entropy_and_square
    assert_same_gradients(summed(ours), summed(textbook), (5 * normal(10, 7),), (0,))
