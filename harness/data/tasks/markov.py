"""Markov chains to be learned in context: every document has a transition matrix of its own.

Rows of the matrices are uniform on the simplex, Dirichlet(1, …, 1). The best prediction without knowing the
matrix is its posterior mean: after counts n(a→b), P(b | a) = (n(a→b) + 1) / (n(a→·) + states).

References: Edelman et al., arXiv:2402.11004, section 2.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64

from harness.data.tasks.families import UPPER
from harness.data.tasks.hashed_random import bits, named, seeds, uniform

N_STATES = 4
N_SYMBOLS = 100
STATES = UPPER[:N_STATES]

Distribution = Float64[np.ndarray, "rows places states"]


def chains(
    stream: str, index: np.ndarray
) -> tuple[Int64[np.ndarray, "rows places"], Float64[np.ndarray, "rows states states"]]:
    """Return the chains with the numbers `index`: states 0 to 3, and transition matrices.

    Args:
        stream: name of the random stream, TRAIN or TEST.
        index: numbers of the chains [rows].
    """
    seed = seeds(named("markov", stream), index)
    # Normalised exponential variates are uniform on the simplex.
    gaps = -np.log(uniform(bits(seed, N_STATES**2, use=1))).reshape(-1, N_STATES, N_STATES)
    matrices = gaps / gaps.sum(axis=2, keepdims=True)
    cumulative = np.cumsum(matrices, axis=2)[:, :, :-1]
    # Place by place, all chains at once: invert the cumulative sums of their rows.
    draws = uniform(bits(seed, N_SYMBOLS))
    states = np.zeros((len(index), N_SYMBOLS), np.int64)
    rows = np.arange(len(index))
    states[:, 0] = draws[:, 0] * N_STATES
    for place in range(1, N_SYMBOLS):
        row = cumulative[rows, states[:, place - 1]]
        states[:, place] = (draws[:, place, None] > row).sum(axis=1)
    return states, matrices


def true_rows(states: np.ndarray, matrices: np.ndarray) -> Distribution:
    """Return the true distribution of the state after each place."""
    return matrices[np.arange(len(states))[:, None], states]


def bigram_bayes(states: np.ndarray) -> Distribution:
    """Return the posterior mean of the distribution after each place, from counts of transitions."""
    counts = np.ones((len(states), N_STATES, N_STATES))
    rows = np.arange(len(states))
    found = np.empty((*states.shape, N_STATES))
    # No transition has been seen yet.
    found[:, 0] = 1 / N_STATES
    for place in range(1, states.shape[1]):
        counts[rows, states[:, place - 1], states[:, place]] += 1
        seen = counts[rows, states[:, place]]
        found[:, place] = seen / seen.sum(axis=1, keepdims=True)
    return found


def unigram_bayes(states: np.ndarray) -> Distribution:
    """Return the posterior mean of the distribution after each place, from counts of states alone."""
    counts = np.cumsum(np.eye(N_STATES)[states], axis=1) + 1
    return np.asarray(counts / counts.sum(axis=2, keepdims=True))


def uniform_rows(states: np.ndarray) -> Distribution:
    """Return equal probabilities for every state."""
    return np.full((*states.shape, N_STATES), 1 / N_STATES)


def divergence(true: Distribution, guess: Distribution) -> Float64[np.ndarray, "rows places"]:
    """Return KL(true ‖ guess) in nats.

    `guess` may sum to less than one, because a model also gives probability to other tokens.
    """
    return np.asarray((true * np.log(true / guess)).sum(axis=2))
