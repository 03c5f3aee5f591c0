"""How much a model learns from its context: text by position, repeated sequences, chains, attention."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from harness.data.tasks import markov
from harness.data.tasks.documents import MARKOV
from harness.data.tasks.hashed_random import below, bits, named, seeds
from harness.data.tasks.items import HELD_OUT, Chains
from harness.engine.step import Engine, platform_of, quickly
from harness.evaluate.task_metrics import Row, row
from harness.evaluate.token_scores import distributions, score
from harness.model import partition
from harness.model.forward import unstack

TEXT, REPEATED = "text", "repeated"
# Tokens of context before which a loss is early, and from which it is late: shares of the model's context.
EARLY, LATE = 1 / 8, 1 / 2
# Sequences of random tokens, each said twice.
N_REPEATED = 32


def text_rows(engine: Engine, params: Any, windows: Int[np.ndarray, "windows width"]) -> Iterator[Row]:
    """Loss by position in log-spaced bins, and the late − early score (Kaplan et al., arXiv:2001.08361, 3.3;
    Olsson et al., arXiv:2209.11895): both terms and their difference, negative where context helps.
    """
    losses = -score(engine, params, [windows])[0].log_p.astype(np.float64)
    width = losses.shape[1]
    shared = {"task": TEXT, "n_shot": 0, "split": HELD_OUT}
    first, last = 0, 1
    while first < width:
        last = min(last, width)
        yield shared | {"length": last} | row("loss_at_position", losses[:, first:last].mean(axis=1))
        first, last = last, 2 * last
    early = losses[:, : max(1, int(width * EARLY))].mean(axis=1)
    late = losses[:, int(width * LATE) :].mean(axis=1)
    for metric, values in (("icl_early_loss", early), ("icl_late_loss", late), ("icl_score", late - early)):
        yield shared | {"length": width} | row(metric, values)


def repeated_sequences(seq_len: int, n_tokens: int) -> Int[np.ndarray, "sequences width"]:
    """Random tokens below `n_tokens`, half a context of them, twice."""
    half = (seq_len + 1) // 2
    drawn = below(bits(seeds(named(REPEATED), np.arange(N_REPEATED)), half), n_tokens)
    return np.tile(drawn, (1, 2)).astype(np.int32)


def repeated_rows(
    engine: Engine, params: Any, sequences: Int[np.ndarray, "sequences width"]
) -> Iterator[Row]:
    """How many nats a token loses from the first to the second time it is said (Olsson et al.)."""
    losses = -score(engine, params, [sequences])[0].log_p.astype(np.float64)
    half = sequences.shape[1] // 2
    gain = losses[:, : half - 1].mean(axis=1) - losses[:, half:].mean(axis=1)
    yield {"task": REPEATED, "length": half, "n_shot": 0, "split": HELD_OUT} | row(
        "repeated_sequence_score", gain
    )


def chain_rows(engine: Engine, params: Any, chains: Chains) -> Iterator[Row]:
    """KL of the true next-state distribution to the model's and those of three readers, late in a chain."""
    places = chains.states.shape[1]
    # Separator and tag stand before the first state.
    own = distributions(engine, params, chains.sequences, chains.tokens)[:, 2 : 2 + places]
    true = markov.true_rows(chains.states, chains.matrices)
    guesses = {
        "kl_model": own,
        "kl_uniform": markov.uniform_rows(chains.states),
        "kl_unigram": markov.unigram_bayes(chains.states),
        "kl_bigram_bayes": markov.bigram_bayes(chains.states),
    }
    shared = {"task": MARKOV, "length": markov.N_STATES, "n_shot": 0, "split": HELD_OUT}
    for metric, guess in guesses.items():
        late = markov.divergence(true, guess)[:, int(places * LATE) :]
        yield shared | row(metric, late.mean(axis=1))


def prefix_rows(engine: Engine, params: Any, sequences: Int[np.ndarray, "sequences width"]) -> Iterator[Row]:
    """For each layer, how much the best head looks at what followed the token before (Olsson et al.).

    `length` is the layer, from 1. The score of a head is the mean share of its attention, over the second
    time of a sequence, that lies on the token after the same token's first time.
    """
    inputs = sequences[:, : engine.model.seq_len]
    half = sequences.shape[1] // 2
    scores = np.asarray(_prefix_scores(engine, half)(params, inputs), np.float64)
    for layer, by_head in enumerate(scores, 1):
        best = int(by_head.mean(axis=1).argmax())
        shared = {"task": REPEATED, "length": layer, "n_shot": 0, "split": HELD_OUT}
        yield shared | row("prefix_matching_score", by_head[best])


@lru_cache(maxsize=16)
def _prefix_scores(engine: Engine, half: int) -> Any:
    model = engine.model

    def of_layers(params: Any, inputs: Int[Array, "rows seq"]) -> Float[Array, "layers heads rows"]:
        apart = unstack(params, model.n_layers) if engine.forward.layout.stacked else params
        found: list[Array] = []
        decoder = engine.forward.module(apart)
        for block in decoder.blocks:
            block.attention.apply = lambda q, k, v: _watched(q, k, v, found)
        with partition.on(engine.mesh):
            decoder(inputs)
        shares = [prefix_share(weights, half) for weights in found]
        return jnp.stack([share.reshape(len(inputs), model.n_heads).T for share in shares])

    return jax.jit(of_layers, compiler_options=quickly(platform_of(engine.mesh)))


def prefix_share(weights: Float[Array, "*heads queries keys"], half: int) -> Float[Array, "*heads"]:
    """Mean attention, from the second time of `half` tokens, to what followed them the first time."""
    queries = jnp.arange(half, weights.shape[-1])
    return weights[..., queries, queries - half + 1].mean(axis=-1)


def _watched(q: Array, k: Array, v: Array, found: list[Array]) -> Array:
    """Textbook attention that keeps its weights [*batch, queries, keys]."""
    scores = jnp.einsum("...dq,...dk->...qk", q, k).astype(jnp.float32)
    causal = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    found.append(jax.nn.softmax(jnp.where(causal, scores, -math.inf)))
    return jnp.einsum("...qk,...dk->...dq", found[-1], v).astype(v.dtype)
