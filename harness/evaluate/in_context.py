"""In-context learning: loss by position, repeated sequences, Markov chains, attention of induction heads."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
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
from harness.model.attention import repeated, textbook_weights
from harness.model.forward import unstack

TEXT, REPEATED = "text", "repeated"
# Shares of the context: a loss is early up to EARLY and late from LATE on. Olsson et al. compare token 500
# with token 50, which short contexts do not have.
EARLY, LATE = 1 / 8, 1 / 2
# Number of sequences of random tokens, each of which holds its tokens twice.
N_REPEATED = 32


def text_rows(engine: Engine, params: Any, windows: Int[np.ndarray, "windows width"]) -> Iterator[Row]:
    """Yield the loss of text by position in the context, and the in-context learning score.

    Bins of positions double in width: 1, 2, 3–4, 5–8, … tokens of context; `length` is the last of a bin. The
    score is the late minus the early loss, so it is negative if context helps (see EARLY and LATE).

    Args:
        windows: held-out text, inputs and one more target.

    Yields:
        Rows of `loss_at_position`, `icl_early_loss`, `icl_late_loss` and `icl_score`, in nats per token.

    References: Kaplan et al., arXiv:2001.08361, section 3.2.1 (loss by position); Olsson et al.,
    arXiv:2209.11895 (in-context learning score).
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
    """Return random tokens, half a context of them, each sequence followed by itself.

    Args:
        seq_len: context length of the model, in tokens.
        n_tokens: tokens are drawn evenly from the ids below this number.

    Returns:
        Sequences [N_REPEATED, 2 · half] with half = (seq_len + 1) // 2, the same for every run.
    """
    half = (seq_len + 1) // 2
    drawn = below(bits(seeds(named(REPEATED), np.arange(N_REPEATED)), half), n_tokens)
    return np.tile(drawn, (1, 2)).astype(np.int32)


def repeated_rows(
    engine: Engine, params: Any, sequences: Int[np.ndarray, "sequences width"]
) -> Iterator[Row]:
    """Yield how many nats per token the loss falls from the first copy of a sequence to the second.

    References: Olsson et al., arXiv:2209.11895 (repeated random tokens, which only copying from the context
    predicts).
    """
    losses = -score(engine, params, [sequences])[0].log_p.astype(np.float64)
    half = sequences.shape[1] // 2
    # The first token of each copy is left out: no context predicts it, and nothing announces the second copy.
    gain = losses[:, : half - 1].mean(axis=1) - losses[:, half:].mean(axis=1)
    yield {"task": REPEATED, "length": half, "n_shot": 0, "split": HELD_OUT} | row(
        "repeated_sequence_score", gain
    )


def chain_rows(engine: Engine, params: Any, chains: Chains) -> Iterator[Row]:
    """Yield the KL divergence from the true next-state distribution of a chain to four predictions of it.

    The predictions are those of the model, a uniform guess, counts of states (unigram) and counts of
    transitions (bigram). Rows are means over the second half of each chain, in nats.

    References: Edelman et al., arXiv:2402.11004, section 2 (the task and its statistical solutions).
    """
    places = chains.states.shape[1]
    # Positions 0 and 1 are the separator and the tag of the task.
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
    """Yield the prefix-matching score of the best head of every layer; `length` is the layer, from 1.

    A head's score is its mean attention weight, over the second copy of a sequence, on one token: the token
    that followed the first copy of the query. Induction heads have scores near 1.

    References: Olsson et al., arXiv:2209.11895 (prefix matching).
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
    """Return the jitted program for prefix-matching scores [layers, heads, rows] of repeated sequences."""
    model = engine.model

    def of_layers(params: Any, inputs: Int[Array, "rows seq"]) -> Float[Array, "layers heads rows"]:
        # A scanned block is traced once for all layers; apart, each block fills an entry of `found`.
        apart = unstack(params, model.n_layers) if engine.forward.layout.stacked else params
        found: list[Array] = []
        decoder = engine.forward.module(apart)
        for block in decoder.blocks:
            # Fused kernels never form the attention weights, but the textbook formula does.
            block.attention.apply = partial(_watched, found=found, window=block.attention.window)
        with partition.on(engine.mesh):
            decoder(inputs)
        shares = [prefix_share(weights, half) for weights in found]
        return jnp.stack([share.reshape(len(inputs), model.n_heads).T for share in shares])

    return jax.jit(of_layers, compiler_options=quickly(platform_of(engine.mesh)))


def prefix_share(weights: Float[Array, "*heads queries keys"], half: int) -> Float[Array, "*heads"]:
    """Return the mean attention weight on the token that followed the query's first copy.

    Args:
        weights: attention weights; each row of `keys` sums to 1.
        half: tokens of one copy; queries are the positions from `half` on.
    """
    # Query t repeats token t − half, so token t − half + 1 is the one to copy.
    queries = jnp.arange(half, weights.shape[-1])
    return weights[..., queries, queries - half + 1].mean(axis=-1)


def _watched(q: Array, k: Array, v: Array, found: list[Array], window: int | None = None) -> Array:
    """Attend with the textbook formula and append the attention weights [*batch, queries, keys] to `found`.

    Queries are scaled already; the last axis of `q`, `k` and `v` counts positions.
    """
    found.append(textbook_weights(q.astype(jnp.float32), k, window))
    return jnp.einsum("...qk,...dk->...dq", found[-1], repeated(v, q.shape[-3])).astype(v.dtype)
