"""A Markov source of exactly known entropy rate, against which a fitted E can be checked.

Contexts of every length back off to shorter ones, as in interpolated n-gram models:

    q_0(x) ∝ (x + 1)^-zipf
    q_j(x | c_j) = (1 − w) q_{j−1}(x | c_{j−1}) + w Σ_r z_r [x = successor_j(c_j, r)],   z_r ∝ (r + 1)^-zipf

c_j is the last j symbols, w = SHARE, and each of the V^j contexts has `branching` successors drawn from q_0.
The symbols form a Markov chain of the given order. Frequencies of contexts span many orders of magnitude, and
a small model cannot hold all contexts. So its loss falls with N and with D.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Int32, UInt

from harness.data.text.tokenizer import token_dtype
from harness.records.errors import InputError

if TYPE_CHECKING:
    import scipy.sparse as sp

MAX_CONTEXTS = 2**20
# The exact entropy compares the successors of every context with each other.
MAX_COMPARISONS = 2**28
# w of the formula: at every level, the probability that a context's own successors decide.
SHARE = 0.6
# Chains are generated side by side, because a step over all of them is one numpy call. Each chain is a
# document of at least MIN_CHAIN symbols.
MAX_CHAINS = 4096
MIN_CHAIN = 256
# Steps whose random numbers are drawn at once, which bounds memory.
STEPS_PER_BLOCK = 256
# Total change of the stationary distribution at which its iteration ends.
STATIONARY_TOLERANCE = 1e-13


@dataclass(frozen=True)
class Source:
    """A Markov source. A context is a number in base `vocab_size` whose last digit is the latest symbol.

    Attributes:
        vocab_size: number of symbols V.
        order: symbols of context on which the next symbol depends.
        marginal: q_0, the probability of each symbol without context.
        weights: z, the probability of each successor rank.
        successors: entry j − 1 has the successors of contexts of j symbols [V^j, branching].
    """

    vocab_size: int
    order: int
    marginal: Float64[np.ndarray, "vocab"]
    weights: Float64[np.ndarray, "branching"]
    successors: tuple[Int32[np.ndarray, "contexts branching"], ...]

    def probability(self, context: np.ndarray, symbol: np.ndarray, level: int | None = None) -> np.ndarray:
        """Return q_level(symbol | context), by default of the highest level, which is the true probability.

        Args:
            context: numbers of contexts [n].
            symbol: symbols [n].
            level: symbols of context that count, 0 to `order`.
        """
        level = self.order if level is None else level
        if level == 0:
            return self.marginal[symbol]
        successors = self.successors[level - 1][context % self.vocab_size**level]
        own = (successors == symbol[:, None]) @ self.weights
        return (1 - SHARE) * self.probability(context, symbol, level - 1) + SHARE * own

    def context_entropies(self) -> Float64[np.ndarray, "contexts"]:
        """Return the entropy in nats of the symbol after each context of `order` symbols.

        With h(p) = −p ln p, scaling gives Σ h((1−w) q) = (1−w) Σ h(q) + h(1−w). Each distinct successor then
        changes one term of the sum.
        """
        entropy = np.array([_surprise(self.marginal).sum()])
        for level, table in enumerate(self.successors, 1):
            contexts = np.arange(len(table))
            entropy = (1 - SHARE) * entropy[contexts % len(entropy)] + _surprise(np.array(1 - SHARE))
            for rank in range(table.shape[1]):
                symbol = table[:, rank]
                # The same symbol may be drawn twice as a successor; its term of the sum changes once.
                repeated = (table[:, :rank] == symbol[:, None]).any(axis=1)
                without = (1 - SHARE) * self.probability(contexts, symbol, level - 1)
                change = _surprise(self.probability(contexts, symbol, level)) - _surprise(without)
                entropy += np.where(repeated, 0, change)
        return entropy

    @cached_property
    def stationary(self) -> Float64[np.ndarray, "contexts"]:
        """Stationary distribution over contexts: the fixed point of the chain, by power iteration.

        `order` draws from q_0 in a row make the chain forget its past, so the iteration contracts.
        """
        n_contexts = self.vocab_size**self.order
        move = self._successor_moves()
        back_off = (1 - SHARE) ** self.order * self.marginal
        share, change = np.full(n_contexts, 1 / n_contexts), np.inf
        while change > STATIONARY_TOLERANCE:
            # Draws from q_0 ignore the context, so their part of the transition is an outer product and the
            # matrix stays sparse.
            recent = share.reshape(self.vocab_size, -1).sum(axis=0)
            following = share @ move + np.outer(recent, back_off).ravel()
            change = np.abs(following - share).sum()
            share = following
        return share / share.sum()

    def conditional_entropies(self) -> tuple[float, ...]:
        """Return the entropy in nats of a symbol given the last 0, 1, …, `order` symbols [order + 1].

        The last entry is the entropy rate.
        """
        block = [0.0]
        for length in range(1, self.order + 1):
            # Entropies of blocks of symbols; their differences are conditional entropies (chain rule).
            marginal = self.stationary.reshape(-1, self.vocab_size**length).sum(axis=0)
            block.append(float(_surprise(marginal).sum()))
        return (*np.diff(block).tolist(), float(self.stationary @ self.context_entropies()))

    def generate(self, n_tokens: int, seed: int, stream: int) -> UInt[np.ndarray, "tokens"]:
        """Generate symbols: independent chains in turn, each begun in the stationary distribution.

        Args:
            n_tokens: number of symbols.
            seed: seed of the source.
            stream: number of the random stream, which separates splits.
        """
        rng = np.random.default_rng([seed, stream])
        chains = n_chains(n_tokens)
        n_steps = -(-n_tokens // chains)
        symbols = np.empty((n_steps, chains), token_dtype(self.vocab_size))
        # Rounding may leave the last cumulative sum just below a drawn number.
        context = np.searchsorted(np.cumsum(self.stationary)[:-1], rng.random(chains), side="right")
        table, keep = self._flat_table(), self.vocab_size ** (self.order - 1)
        for first in range(0, n_steps, STEPS_PER_BLOCK):
            offsets, moduli = self._draw(rng, (min(STEPS_PER_BLOCK, n_steps - first), chains))
            for step, (offset, modulus) in enumerate(zip(offsets, moduli, strict=True), first):
                symbol = table[offset + context % modulus * len(self.weights)]
                context = context % keep * self.vocab_size + symbol
                symbols[step] = symbol
        return symbols.T.ravel()[:n_tokens]

    def _successor_moves(self) -> sp.csr_array:
        """Return the transition matrix over contexts, without the draws from q_0."""
        # Here, because a prepared corpus does without: every start of a sweep or worker is sooner.
        import scipy.sparse as sp

        n_contexts, width = self.vocab_size**self.order, len(self.weights)
        contexts = np.arange(n_contexts)
        stem = contexts % (n_contexts // self.vocab_size) * self.vocab_size
        move = sp.csr_array((n_contexts, n_contexts))
        for level, successors in enumerate(self.successors, 1):
            share = SHARE * (1 - SHARE) ** (self.order - level)
            columns = stem[:, None] + successors[contexts % len(successors)]
            values = np.tile(share * self.weights, n_contexts)
            starts = np.arange(n_contexts + 1) * width
            move = move + sp.csr_array((values, columns.ravel(), starts), shape=move.shape)
        return move

    def _flat_table(self) -> Int32[np.ndarray, "entries"]:
        """Return all successors, longest contexts first, then every symbol as itself for draws from q_0."""
        parts = [table.ravel() for table in reversed(self.successors)]
        return np.concatenate([*parts, np.arange(self.vocab_size, dtype=np.int32)])

    def _draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return each symbol's place in the flat table: an offset, and the modulus that cuts its context."""
        shares, offsets, moduli, start = [], [], [], 0
        for level in range(self.order, 0, -1):
            shares.append(SHARE * (1 - SHARE) ** (self.order - level) * self.weights)
            offsets.append(start + np.arange(len(self.weights)))
            moduli.append(np.full(len(self.weights), self.vocab_size**level))
            start += self.successors[level - 1].size
        # One number picks level and rank together; what the levels leave over is a draw from q_0.
        slots = np.searchsorted(np.cumsum(np.concatenate(shares)), rng.random(shape), side="right")
        unigram = _sample(rng, self.marginal, shape)
        offset = np.append(np.concatenate(offsets), start)[slots]
        modulus = np.append(np.concatenate(moduli), 1)[slots]
        return np.where(modulus == 1, offset + unigram, offset), modulus


def make_source(vocab_size: int, order: int, branching: int, zipf: float, seed: int) -> Source:
    """Draw the successor tables of a source.

    Args:
        vocab_size: number of symbols V.
        order: symbols of context on which the next symbol depends.
        branching: successors of every context.
        zipf: exponent of symbol frequencies and successor weights.
        seed: seed of the tables.

    Raises:
        InputError: a parameter is too small, or there are more than MAX_CONTEXTS contexts.
    """
    contexts = vocab_size**order if order < 64 else MAX_CONTEXTS + 1
    if vocab_size < 2 or order < 1 or branching < 1 or contexts > MAX_CONTEXTS:
        raise InputError(
            "data=synthetic needs vocab_size ≥ 2, markov_order ≥ 1, branching ≥ 1 and at most "
            f"{MAX_CONTEXTS} contexts, got {vocab_size}^{order} contexts and branching={branching}: lower "
            "vocab_size or markov_order"
        )
    if contexts * branching**2 > MAX_COMPARISONS:
        most = math.isqrt(MAX_COMPARISONS // contexts)
        raise InputError(
            f"data.branching={branching} successors of {contexts} contexts take too long to compare; use at "
            f"most {most}, or lower markov_order"
        )
    rng = np.random.default_rng([seed, 0])
    marginal = _zipf(vocab_size, zipf)
    tables = [
        _sample(rng, marginal, (vocab_size**level, branching)).astype(np.int32)
        for level in range(1, order + 1)
    ]
    return Source(vocab_size, order, marginal, _zipf(branching, zipf), tuple(tables))


def window_entropy(conditional: tuple[float, ...], seq_len: int) -> float:
    """Return the lowest possible loss, in nats per token, over windows of `seq_len` targets.

    Target t of a window sees only the t symbols before it. So the loss on the first targets cannot reach the
    entropy rate.

    Args:
        conditional: entropies from `Source.conditional_entropies`.
        seq_len: targets per window.
    """
    order = len(conditional) - 1
    seen = np.minimum(np.arange(1, seq_len + 1), order)
    return float(np.mean(np.array(conditional)[seen]))


def n_chains(n_tokens: int) -> int:
    """Return the number of chains in a stream of `n_tokens` symbols."""
    return max(1, min(MAX_CHAINS, n_tokens // MIN_CHAIN))


def _zipf(size: int, exponent: float) -> Float64[np.ndarray, "size"]:
    """Return Zipf probabilities ∝ rank^-exponent of `size` ranks."""
    weights = np.arange(1, size + 1) ** -exponent
    return weights / weights.sum()


def _sample(rng: np.random.Generator, shares: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Draw indices with the probabilities `shares`, by inverting their cumulative sum."""
    return np.searchsorted(np.cumsum(shares)[:-1], rng.random(shape), side="right")


def _surprise(p: np.ndarray) -> np.ndarray:
    """Return −p ln p, which is 0 at p = 0."""
    return -p * np.log(np.where(p > 0, p, 1))
