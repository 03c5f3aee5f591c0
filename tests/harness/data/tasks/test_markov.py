"""Markov chains to be learned in context: what the closed forms of their readers say."""

from __future__ import annotations

import numpy as np
import pytest

from harness.data.tasks import markov


def test_bigram_bayes_is_the_posterior_mean() -> None:
    """Against sampled matrices weighted by the likelihood of what was seen."""
    states, _ = markov.chains("check", np.arange(3))
    seen = states[:, :12]
    rng = np.random.default_rng(0)
    matrices = rng.dirichlet(np.ones(4), size=(400_000, 4))
    for row, closed in zip(seen, markov.bigram_bayes(seen)[:, -1], strict=True):
        weights = matrices[:, row[:-1], row[1:]].prod(axis=1)
        sampled = (weights[:, None] * matrices[:, row[-1]]).sum(axis=0) / weights.sum()
        assert closed == pytest.approx(sampled, abs=0.02)


def test_readers_of_chains_are_ordered_and_the_gap_of_bayes_closes() -> None:
    states, matrices = markov.chains("check", np.arange(800))
    true = markov.true_rows(states, matrices)
    gap = {
        name: markov.divergence(true, guess(states))
        for name, guess in (
            ("uniform", markov.uniform_rows),
            ("unigram", markov.unigram_bayes),
            ("bigram", markov.bigram_bayes),
        )
    }
    late = {name: values[:, 50:].mean() for name, values in gap.items()}
    assert late["bigram"] < late["unigram"] < late["uniform"]
    # With n counts in a row of k states the expected gap is about (k − 1) / 2n.
    assert gap["bigram"][:, -1].mean() == pytest.approx(3 / (2 * (100 / 4)), rel=0.35)
    # Of a matrix row drawn evenly from the simplex: ln k − (H_k − 1) (digamma).
    assert gap["uniform"].mean() == pytest.approx(np.log(4) - (1 / 2 + 1 / 3 + 1 / 4), rel=0.05)


def test_chains_follow_their_matrices() -> None:
    states, matrices = markov.chains("check", np.arange(2_000))
    moves = (states[:, :-1] == 0) & (states[:, 1:] == 1)
    expected = (states[:, :-1] == 0) * matrices[:, 0, 1][:, None]
    assert moves.sum() == pytest.approx(expected.sum(), rel=0.02)
