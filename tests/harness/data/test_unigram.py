"""Loss of a model that knows token frequencies alone."""

from __future__ import annotations

import numpy as np
import pytest

from harness.data.unigram import unigram_loss


def test_unigram_loss_scores_held_out_tokens_with_training_frequencies() -> None:
    train, held_out = np.array([0, 0, 0, 1, 1], np.uint16), np.array([0, 1, 1, 3], np.uint16)
    shares = np.array([4, 3, 1, 1]) / 9  # one is added to each count: token 3 is never seen in training
    expected = -(np.log(shares[0]) + 2 * np.log(shares[1]) + np.log(shares[3])) / 4
    assert unigram_loss(train, held_out, 4) == pytest.approx(expected, abs=5e-5)


def test_pieces_are_counted_like_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    train = np.random.default_rng(0).integers(0, 6, 1000).astype(np.uint16)
    whole = unigram_loss(train, train[:100], 8)
    monkeypatch.setattr("harness.data.unigram.COUNTED_AT_ONCE", 7)
    assert unigram_loss(train, train[:100], 8) == whole


def test_unigram_loss_of_equal_frequencies_is_the_uniform_guess() -> None:
    every = np.tile(np.arange(8, dtype=np.uint16), 50)
    assert unigram_loss(every, every, 8) == pytest.approx(np.log(8), abs=5e-5)
