"""One teacher-forced pass over any sequences: log-probability, margin and greedy choice at every place."""

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

# Contexts are filled up to one of these widths, or to the model's: one compiled program each.
WIDTHS = (10, 18, 36, 68)
# Tokens scored by one call: few, since on the way to the end a handful of rows are asked.
CALL_TOKENS = 512


@dataclass(frozen=True)
class Scores:
    """What the model says of every token but the first of each sequence, on the host.

    `log_p` in nats; `margin` is its logit above the largest other one; `predicted` the token of the largest.
    """

    log_p: Float[np.ndarray, "rows width"]
    margin: Float[np.ndarray, "rows width"]
    predicted: Int[np.ndarray, "rows width"]

    def part(self, first: int, last: int) -> Scores:
        """Places `first` to `last` − 1."""
        return Scores(*(values[:, first:last] for values in (self.log_p, self.margin, self.predicted)))


def score(engine: Engine, params: Any, sequences: Sequence[np.ndarray]) -> list[Scores]:
    """Scores of several arrays [rows, width + 1], each row a context of its own.

    Rows of about the same width share calls; what they are filled up with comes after them and is dropped.
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
    """Numbers of arrays [rows, width + 1] of about the same width, and their rows, filled up to one width."""
    widths = [_padded(engine, array.shape[1] - 1) for array in sequences]
    for width in sorted(set(widths)):
        members = [number for number, own in enumerate(widths) if own == width]
        yield members, np.concatenate([_fill(sequences[number], width + 1) for number in members])


def distributions(
    engine: Engine, params: Any, contexts: np.ndarray, tokens: np.ndarray
) -> Float[np.ndarray, "rows places tokens"]:
    """Probability of each of `tokens` after every place of `contexts` [rows, width], by one pass for each."""
    width = contexts.shape[1]
    shown = np.concatenate([contexts, np.zeros_like(contexts[:, :1])], axis=1)
    program = _distributions(engine)
    calls = _calls(engine, _fill(shown, _padded(engine, width) + 1))
    found = [np.asarray(program(params, call, tokens)) for call in calls]
    flat = np.concatenate(found).reshape(-1, *found[0].shape[2:])
    return flat[: len(contexts), :width].astype(np.float64)


def _padded(engine: Engine, width: int) -> int:
    longest = engine.model.seq_len
    return min([own for own in WIDTHS if width <= own < longest], default=longest)


def _fill(rows: np.ndarray, width: int) -> np.ndarray:
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1]))).astype(np.int32)


def _calls(engine: Engine, rows: np.ndarray) -> Iterator[np.ndarray | jax.Array]:
    """Rows in calls of one shape [batches, batch, width]; the last one is filled up by repetition."""
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
    program = _scores(engine)
    found = [jax.device_get(program(params, call)) for call in _calls(engine, rows)]
    return tuple(
        np.concatenate([parts[i].reshape(-1, rows.shape[1] - 1) for parts in found])[: len(rows)]
        for i in range(3)
    )


@lru_cache(maxsize=16)
def _scores(engine: Engine) -> Any:
    def of_batch(params: Any, windows: Int[Array, "batch width_plus_1"]) -> tuple[Array, Array, Array]:
        logits = engine.forward.logits(params, windows[:, :-1])
        tokens, labels = jnp.arange(logits.shape[2]), windows[:, 1:, None]
        label = jnp.take_along_axis(logits, labels, axis=2)
        top = logits.max(axis=2, keepdims=True)
        log_p = label - top - jnp.log(jnp.exp(logits - top).sum(axis=2, keepdims=True))
        margin = label[..., 0] - jnp.where(tokens == labels, -jnp.inf, logits).max(axis=2)
        # The first of the largest, as argmax has it, by reductions that run along vectors.
        predicted = jnp.where(logits == top, tokens, len(tokens)).min(axis=2)
        return log_p[..., 0], margin, predicted

    return _compiled(
        engine, lambda params, calls: jax.lax.map(lambda rows: of_batch(params, rows), calls), ()
    )


@lru_cache(maxsize=16)
def _distributions(engine: Engine) -> Any:
    def of_batch(params: Any, windows: Int[Array, "batch width_plus_1"], tokens: Array) -> Array:
        return jax.nn.softmax(engine.forward.logits(params, windows[:, :-1]))[..., tokens]

    plain = meshes.replicated(engine.mesh)
    return _compiled(
        engine,
        lambda params, calls, tokens: jax.lax.map(lambda rows: of_batch(params, rows, tokens), calls),
        (plain,),
    )


def _compiled(engine: Engine, program: Any, further: tuple[Any, ...]) -> Any:
    shardings = (engine.state_shardings["params"], meshes.batch_sharding(engine.mesh, 1, 3), *further)
    return jax.jit(
        program,
        in_shardings=shardings,
        out_shardings=meshes.replicated(engine.mesh),
        compiler_options=quickly(platform_of(engine.mesh)),
    )
