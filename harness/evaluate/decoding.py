"""Greedy decoding of answers of fixed width, token by token with a KV cache.

Models with experts have no step for a single token, because an expert's capacity depends on the length of the
whole sequence. Their answers come from Jacobi decoding (Santilli et al., arXiv:2305.10427, algorithm 1). It
predicts all answer tokens in parallel, writes the predictions in place of the answer and repeats until no
token changes. Each pass settles at least one more token, so the result is the same as token by token.
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

# Sequences in one decoding call, for each part into which the mesh cuts a batch. A step reads all weights for
# one token per row, so an accelerator needs many rows to be busy.
CPU_ROWS, ACCELERATOR_ROWS = 32, 256


def greedy_answers(
    engine: Engine, params: Any, sequences: Sequence[np.ndarray], guesses: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Return the answers that greedy decoding writes after the context of each sequence.

    A row whose guess agrees with its sequence everywhere, except perhaps in the last token, needs no
    decoding. Teacher forcing has then fed the model exactly the tokens that it would have written itself.

    Args:
        sequences: arrays [rows, width] of tokens; each row ends with the right answer.
        guesses: arrays [rows, n_positions], one per array of `sequences`: the predicted tokens at the
            positions of the answer, from one teacher-forced pass over `sequences`.

    Returns:
        Arrays [rows, n_positions] of the decoded answers, in the order of `sequences`.
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
    """Return the numbers of the rows whose answers are not yet those of greedy decoding.

    Both arrays are [rows, n_positions]: `shown` was fed to the model, `written` is its prediction. A row is
    settled if both agree before the last token.
    """
    # The last token is not compared: no token of the answer is conditioned on it.
    return np.flatnonzero((written[:, :-1] != shown[:, :-1]).any(axis=1))


def _token_by_token(
    engine: Engine, params: Any, sequences: list[np.ndarray], guesses: list[np.ndarray]
) -> list[np.ndarray]:
    """Decode with the KV cache: context tokens are given, the tokens of the answer are written one by one."""
    answers = guesses.copy()
    for members, tokens in joined(engine, sequences):
        shapes = [(*sequences[number].shape, guesses[number].shape[1]) for number in members]
        n_given = np.concatenate([np.full(n, width - own, np.int32) for n, width, own in shapes])
        written = _greedy_rows(engine, params, tokens, n_given)
        parts = np.split(written, np.cumsum([n for n, _, _ in shapes])[:-1])
        for number, (_, width, own), part in zip(members, shapes, parts, strict=True):
            # Column i of `written` holds token i + 1, because a program never writes the first token.
            answers[number] = part[:, width - 1 - own : width - 1]
    return answers


def _greedy_rows(engine: Engine, params: Any, tokens: np.ndarray, n_given: np.ndarray) -> np.ndarray:
    """Return every token but the first of each row [rows, width], given the first `n_given` tokens.

    All calls have one shape, so they share one compiled program. Repeated rows fill up the last call.
    """
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
    """Return the jitted program for token-by-token decoding on this engine's mesh."""
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
    """Decode by Jacobi iteration: write predictions in place of answers until every row is a fixed point."""
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
    """Return the sequences [rows, width] with their last tokens replaced by `answers` [rows, n_positions]."""
    return np.concatenate([sequences[:, : -answers.shape[1]], answers], axis=1)


def edit_distance(left: Sequence[Hashable], right: Sequence[Hashable]) -> int:
    """Return the Levenshtein distance between two sequences.

    It is the smallest number of insertions, deletions and substitutions that turn `left` into `right`.
    """
    row = list(range(len(right) + 1))
    # Row i of the dynamic programme replaces row i − 1 in place; `diagonal` keeps the overwritten entry.
    for i, one in enumerate(left, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(right, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (one != other))
    return row[-1]
