"""Greedy decoding of fixed-width answers, token by token with the keys and values of those before kept.

Models with experts have no such step, since the room of an expert is that of a sequence. There a guess of the
whole answer is replaced by what the model writes after it until nothing changes (Jacobi decoding, Santilli et
al., arXiv:2305.10427, algorithm 1): each pass settles at least one more token, so the result is the same.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from harness.engine import mesh as meshes
from harness.engine.distributed import place
from harness.engine.step import Engine, platform_of, quickly
from harness.evaluate.token_scores import joined, score
from harness.execution.micro_batch import CPU

# Sequences decoded by one call.
CPU_ROWS, ACCELERATOR_ROWS = 32, 256


def greedy_answers(
    engine: Engine, params: Any, sequences: Sequence[np.ndarray], guesses: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """What greedy decoding writes in place of the last tokens of each sequence, as many as the guess has.

    `guesses` are what the model predicts at these places of the sequences as they are. A guess that differs
    from its sequence in the last token at most is the answer already.
    """
    answers = [guess.copy() for guess in guesses]
    rows = [
        _unsettled(guess, tokens[:, -guess.shape[1] :])
        for guess, tokens in zip(guesses, sequences, strict=True)
    ]
    busy = [number for number, own in enumerate(rows) if len(own)]
    decode = _by_fixed_points if engine.model.n_experts > 1 else _token_by_token
    asked = [sequences[number][rows[number]] for number in busy]
    found = decode(engine, params, asked, [guesses[number][rows[number]] for number in busy])
    for number, written in zip(busy, found, strict=True):
        answers[number][rows[number]] = written
    return answers


def _unsettled(written: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Rows in which a token was written after one that is not the one shown there."""
    return np.flatnonzero((written[:, :-1] != shown[:, :-1]).any(axis=1))


def _token_by_token(
    engine: Engine, params: Any, sequences: list[np.ndarray], guesses: list[np.ndarray]
) -> list[np.ndarray]:
    answers = guesses.copy()
    for members, tokens in joined(engine, sequences):
        shapes = [(*sequences[number].shape, guesses[number].shape[1]) for number in members]
        n_given = np.concatenate([np.full(n, width - own, np.int32) for n, width, own in shapes])
        written = _greedy_rows(engine, params, tokens, n_given)
        parts = np.split(written, np.cumsum([n for n, _, _ in shapes])[:-1])
        for number, (_, width, own), part in zip(members, shapes, parts, strict=True):
            # The first token of a sequence is not among those written.
            answers[number] = part[:, width - 1 - own : width - 1]
    return answers


def _greedy_rows(engine: Engine, params: Any, tokens: np.ndarray, n_given: np.ndarray) -> np.ndarray:
    """All tokens but the first, by calls of one shape; the last one is filled up by repetition."""
    n_rows = CPU_ROWS if platform_of(engine.mesh) == CPU else ACCELERATOR_ROWS
    n_rows *= meshes.n_batch_shards(engine.mesh)
    n_calls = -(-len(tokens) // n_rows)
    calls = np.resize(tokens, (n_calls, n_rows, tokens.shape[1]))
    given = np.resize(n_given, (n_calls, n_rows))
    rows, row = (meshes.batch_sharding(engine.mesh, 0, n_axes) for n_axes in (2, 1))
    program = _greedy(engine)
    found = [
        np.asarray(program(params, place(call, rows), place(own, row)))
        for call, own in zip(calls, given, strict=True)
    ]
    return np.concatenate(found)[: len(tokens)]


@lru_cache(maxsize=16)
def _greedy(engine: Engine) -> Any:
    rows, row = (meshes.batch_sharding(engine.mesh, 0, n_axes) for n_axes in (2, 1))
    return jax.jit(
        engine.forward.greedy,
        in_shardings=(engine.state_shardings["params"], rows, row),
        out_shardings=meshes.replicated(engine.mesh),
        compiler_options=quickly(platform_of(engine.mesh)),
    )


def _by_fixed_points(
    engine: Engine, params: Any, sequences: list[np.ndarray], guesses: list[np.ndarray]
) -> list[np.ndarray]:
    answers = [guess.copy() for guess in guesses]
    open_rows = [np.arange(len(guess)) for guess in guesses]
    while any(len(rows) for rows in open_rows):
        busy = [number for number, rows in enumerate(open_rows) if len(rows)]
        tried = [_with_answers(sequences[n][open_rows[n]], answers[n][open_rows[n]]) for n in busy]
        for number, scores in zip(busy, score(engine, params, tried), strict=True):
            rows = open_rows[number]
            written = scores.predicted[:, -answers[number].shape[1] :]
            open_rows[number] = rows[_unsettled(written, answers[number][rows])]
            answers[number][rows] = written
    return answers


def _with_answers(sequences: np.ndarray, answers: np.ndarray) -> np.ndarray:
    return np.concatenate([sequences[:, : -answers.shape[1]], answers], axis=1)


def edit_distance(left: Sequence[Hashable], right: Sequence[Hashable]) -> int:
    """Levenshtein distance: insertions, deletions and substitutions that turn one into the other."""
    row = list(range(len(right) + 1))
    for i, one in enumerate(left, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(right, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (one != other))
    return row[-1]
