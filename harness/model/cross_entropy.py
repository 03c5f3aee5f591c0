"""Cross-entropy of labels with a hand-written backward pass, alone or with the term of a z-loss."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int


@jax.custom_vjp
def cross_entropy(
    logits: Float[Array, "tokens vocab"], labels: Int[Array, " tokens"]
) -> Float[Array, " tokens"]:
    """Return the cross-entropy of each label in nats: log Σ exp(logits) - logit of the label.

    Args:
        logits: fp32 logits.
        labels: Token ids, 0 to vocab - 1.
    """
    return _cross_entropy_forward(logits, labels)[0]


def _cross_entropy_forward(logits: Array, labels: Array) -> tuple[Array, Any]:
    # Log-sum-exp with the maximum taken out, so that exp cannot overflow.
    top = logits.max(axis=1)
    weights = jnp.exp(logits - top[:, None])
    total = weights.sum(axis=1)
    label_logit = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return top + jnp.log(total) - label_logit, (weights, 1.0 / total, labels)


def _cross_entropy_backward(saved: Any, g: Array) -> tuple[Array, None]:
    # softmax - one-hot, times g, in one pass over the logits. Comparing with an iota fuses into this pass;
    # subtracting at the label's index would be a scatter.
    weights, inverse, labels = saved
    columns = lax.broadcasted_iota(jnp.int32, weights.shape, 1)
    hit = jnp.where(columns == labels[:, None], g[:, None], 0.0)
    return weights * (inverse * g)[:, None] - hit, None


cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


@jax.custom_vjp
def cross_entropy_and_square(
    logits: Float[Array, "tokens vocab"], labels: Int[Array, " tokens"]
) -> tuple[Float[Array, " tokens"], Float[Array, " tokens"]]:
    """Return the cross-entropy of each label, and the square of log Σ exp(logits) for a z-loss.

    Args:
        logits: fp32 logits.
        labels: Token ids, 0 to vocab - 1.

    References:
        z-loss: PaLM, Chowdhery et al., arXiv:2204.02311, section 5.
    """
    return _cross_entropy_and_square_forward(logits, labels)[0]


def _cross_entropy_and_square_forward(logits: Array, labels: Array) -> tuple[tuple[Array, Array], Any]:
    loss, (weights, inverse, _) = _cross_entropy_forward(logits, labels)
    level = logits.max(axis=1) - jnp.log(inverse)
    return (loss, level * level), (weights, inverse, labels, level)


def _cross_entropy_and_square_backward(saved: Any, g: tuple[Array, Array]) -> tuple[Array, None]:
    # Both terms move logits along the softmax, so that one pass makes both gradients.
    weights, inverse, labels, level = saved
    along = (inverse * 2.0 * level * g[1])[:, None]
    return _cross_entropy_backward((weights, inverse, labels), g[0])[0] + weights * along, None


cross_entropy_and_square.defvjp(_cross_entropy_and_square_forward, _cross_entropy_and_square_backward)


def textbook_cross_entropy_and_square(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Return the cross-entropy of each label and the square of log Σ exp(logits), in plain JAX."""
    return textbook_cross_entropy(logits, labels), jax.nn.logsumexp(logits, axis=1) ** 2


def textbook_cross_entropy(logits: Array, labels: Array) -> Array:
    """Return the cross-entropy of each label in nats, in plain JAX."""
    log_p = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
