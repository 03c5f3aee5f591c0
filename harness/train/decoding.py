"""Greedy decoding of fixed-width answers, by fixed points instead of one pass for every token.

A guess of the whole answer is replaced by what the model writes after it until nothing changes (Jacobi
decoding, Santilli et al., arXiv:2305.10427, algorithm 1). Each pass settles at least one more token, so the
result is that of greedy decoding token by token, after at most as many passes.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from harness.train.step import Engine
from harness.train.token_scores import score


def greedy_answers(
    engine: Engine, params: Any, sequences: Sequence[np.ndarray], guesses: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """What greedy decoding writes in place of the last tokens of each sequence, as many as the guess has.

    `guesses` are what the model predicts at these places of the sequences as they are: a first pass.
    """
    answers = [guess.copy() for guess in guesses]
    shown = [tokens[:, -guess.shape[1] :] for tokens, guess in zip(sequences, guesses, strict=True)]
    open_rows = [np.flatnonzero((a != b).any(axis=1)) for a, b in zip(answers, shown, strict=True)]
    while any(len(rows) for rows in open_rows):
        busy = [number for number, rows in enumerate(open_rows) if len(rows)]
        tried = [_with_answers(sequences[n][open_rows[n]], answers[n][open_rows[n]]) for n in busy]
        for number, scores in zip(busy, score(engine, params, tried), strict=True):
            rows = open_rows[number]
            written = scores.predicted[:, -answers[number].shape[1] :]
            changed = (written != answers[number][rows]).any(axis=1)
            answers[number][rows] = written
            open_rows[number] = rows[changed]
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
