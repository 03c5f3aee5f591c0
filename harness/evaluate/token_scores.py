"""Teacher-forced scores of token sequences: log-probability, margin and greedy choice at every position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from harness.engine import mesh as meshes
from harness.engine.distributed import place
from harness.engine.step import Engine, platform_of, quickly
from harness.execution.micro_batch import ACCELERATOR_EVAL_TOKENS, CPU, cpu_tokens

# Sequences are padded to one of these widths, or to the model's context: one compiled program each.
WIDTHS = (10, 18, 36, 68)
# Tokens scored by one call: few, because evaluations before the end score a handful of rows.
CALL_TOKENS = 512


@dataclass(frozen=True)
class Scores:
    """Scores of every token but the first of each sequence, on the host; column i belongs to token i + 1.

    Attributes:
        log_p: log-probability of the token, nats.
        margin: its logit minus the largest logit of another token.
        predicted: the token with the largest logit.
    """

    log_p: Float[np.ndarray, "rows width"]
    margin: Float[np.ndarray, "rows width"]
    predicted: Int[np.ndarray, "rows width"]

    def part(self, first: int, last: int) -> Scores:
        """Return the columns `first` to `last` − 1."""
        return Scores(*(values[:, first:last] for values in (self.log_p, self.margin, self.predicted)))


def score(engine: Engine, params: Any, sequences: Sequence[np.ndarray]) -> list[Scores]:
    """Score every token of several arrays of sequences with teacher forcing.

    Args:
        sequences: arrays [rows, width + 1] of tokens; every row is a context of its own.

    Returns:
        One `Scores` [rows, width] per array, in order.

    Arrays of about the same width share calls. Padding stands after a sequence, where the causal mask hides
    it from the tokens that count; its own scores are dropped.
    """
    found: list[Scores | None] = [None] * len(sequences)
    for members, rows in joined(engine, sequences):
        parts = _score_rows(engine, params, rows)
        first = 0
        for number in members:
            n, own = len(sequences[number]), sequences[number].shape[1] - 1
            found[number] = Scores(*(part[first : first + n, :own] for part in parts))
            first += n
    return [scores for scores in found if scores is not None]


def joined(engine: Engine, sequences: Sequence[np.ndarray]) -> Iterator[tuple[list[int], np.ndarray]]:
    """Group arrays of about the same width and pad their rows to one width.

    Args:
        sequences: arrays [rows, width + 1].

    Yields:
        The numbers of a group's arrays, and all their rows [rows, padded width + 1] in that order.
    """
    widths = [_padded(engine, array.shape[1] - 1) for array in sequences]
    for width in sorted(set(widths)):
        members = [number for number, own in enumerate(widths) if own == width]
        yield members, np.concatenate([_fill(sequences[number], width + 1) for number in members])


def distributions(
    engine: Engine, params: Any, contexts: np.ndarray, tokens: np.ndarray
) -> Float[np.ndarray, "rows places tokens"]:
    """Return the probabilities of some tokens after every position of a context.

    Args:
        contexts: token ids [rows, width].
        tokens: the ids [tokens] whose probabilities are returned.

    Returns:
        Probabilities as fp64, normalised over the whole vocabulary: their sum over `tokens` may be below 1.
    """
    width = contexts.shape[1]
    # The program takes the last token of a window for a label and cuts it off: append one.
    shown = np.concatenate([contexts, np.zeros_like(contexts[:, :1])], axis=1)
    program = _distributions(engine)
    calls = _calls(engine, _fill(shown, _padded(engine, width) + 1))
    found = [np.asarray(program(params, call, tokens)) for call in calls]
    flat = np.concatenate(found).reshape(-1, *found[0].shape[2:])
    return flat[: len(contexts), :width].astype(np.float64)


def _padded(engine: Engine, width: int) -> int:
    """Return the number of inputs of the smallest program that takes `width` inputs."""
    # With experts the padded width also sets each expert's capacity, see `harness.model.moe.choose`.
    longest = engine.model.seq_len
    return min([own for own in WIDTHS if width <= own < longest], default=longest)


def _fill(rows: np.ndarray, width: int) -> np.ndarray:
    """Pad rows [rows, columns] with token 0 to `width` columns."""
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1]))).astype(np.int32)


def _calls(engine: Engine, rows: np.ndarray) -> Iterator[np.ndarray | jax.Array]:
    """Cut rows into calls of one shape [batches, batch, width]; repeated rows fill up the last call."""
    width = rows.shape[1]
    on_cpu = platform_of(engine.mesh) == CPU
    tokens = cpu_tokens(engine.model.d_model) if on_cpu else ACCELERATOR_EVAL_TOKENS
    batch = max(1, tokens // width) * meshes.n_batch_shards(engine.mesh)
    n_batches = max(1, CALL_TOKENS // (batch * width))
    n_calls = -(-len(rows) // (n_batches * batch))
    calls = np.resize(rows, (n_calls, n_batches, batch, width))
    sharding = meshes.batch_sharding(engine.mesh, 1, 3)
    return (place(call, sharding) for call in calls)


def _score_rows(engine: Engine, params: Any, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return log-probability, margin and greedy choice, each [rows, width], of rows [rows, width + 1]."""
    program = _scores(engine)
    found = [jax.device_get(program(params, call)) for call in _calls(engine, rows)]
    return tuple(
        np.concatenate([parts[i].reshape(-1, rows.shape[1] - 1) for parts in found])[: len(rows)]
        for i in range(3)
    )


@lru_cache(maxsize=16)
def _scores(engine: Engine) -> Any:
    """Return the jitted program for the scores of one call [batches, batch, width + 1]."""

    def of_batch(params: Any, windows: Int[Array, "batch width_plus_1"]) -> tuple[Array, Array, Array]:
        logits = engine.forward.logits(params, windows[:, :-1])
        tokens, labels = jnp.arange(logits.shape[2])[None, None, :], windows[:, 1:, None]
        label = jnp.take_along_axis(logits, labels, axis=2)
        # Log-softmax at the label alone, shifted by the largest logit against overflow.
        top = logits.max(axis=2, keepdims=True)
        log_p = label - top - jnp.log(jnp.exp(logits - top).sum(axis=2, keepdims=True))
        margin = label[..., 0] - jnp.where(tokens == labels, -jnp.inf, logits).max(axis=2)
        # Equal to argmax (the first of tied tokens), in reductions that the compiler vectorises.
        predicted = jnp.where(logits == top, tokens, logits.shape[2]).min(axis=2)
        return log_p[..., 0], margin, predicted

    # lax.map and not vmap, so that only one batch of logits is in memory at a time.
    return _compiled(
        engine, lambda params, calls: jax.lax.map(lambda rows: of_batch(params, rows), calls), ()
    )


@lru_cache(maxsize=16)
def _distributions(engine: Engine) -> Any:
    """Return the jitted program for the probabilities of chosen tokens [batches, batch, width, tokens]."""

    def of_batch(params: Any, windows: Int[Array, "batch width_plus_1"], tokens: Array) -> Array:
        return jax.nn.softmax(engine.forward.logits(params, windows[:, :-1]))[..., tokens]

    plain = meshes.replicated(engine.mesh)
    return _compiled(
        engine,
        lambda params, calls, tokens: jax.lax.map(lambda rows: of_batch(params, rows, tokens), calls),
        (plain,),
    )


def _compiled(engine: Engine, program: Any, further: tuple[Any, ...]) -> Any:
    """Jit a program of parameters and a call of windows: batches are sharded, results are on every device."""
    shardings = (engine.state_shardings["params"], meshes.batch_sharding(engine.mesh, 1, 3), *further)
    return jax.jit(
        program,
        in_shardings=shardings,
        out_shardings=meshes.replicated(engine.mesh),
        compiler_options=quickly(platform_of(engine.mesh)),
    )
