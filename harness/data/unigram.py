"""Loss of a model that knows token frequencies alone."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64, Integer, UInt

# Tokens counted at once: np.bincount makes a copy with eight bytes a token.
COUNTED_AT_ONCE = 2**24


def unigram_loss(
    train: UInt[np.ndarray, "train"], held_out: UInt[np.ndarray, "eval"], vocab_size: int
) -> float:
    """Return the loss in nats per token of a unigram model, rounded to four decimals.

    The model knows the token frequencies of `train`, see `frequencies`, and is scored on `held_out`.
    """
    # Rounded because it enters every run_id, and last bits may differ between machines.
    known = np.log(frequencies(train, vocab_size))
    return round(float(-token_counts(held_out, vocab_size) @ known / len(held_out)), 4)


def frequencies(tokens: Integer[np.ndarray, "tokens"], vocab_size: int) -> Float64[np.ndarray, "vocab"]:
    """Return the share of each token id, with one added to each count."""
    # One more of each, or a token that only the evaluation text has would make the loss infinite.
    counts = token_counts(tokens, vocab_size) + 1
    return np.asarray(counts / counts.sum())


def token_counts(tokens: Integer[np.ndarray, "tokens"], vocab_size: int) -> Int64[np.ndarray, "vocab"]:
    """Return how often each token id occurs."""
    counts = np.zeros(vocab_size, np.int64)
    for first in range(0, len(tokens), COUNTED_AT_ONCE):
        counts += np.bincount(tokens[first : first + COUNTED_AT_ONCE], minlength=vocab_size)
    return counts
