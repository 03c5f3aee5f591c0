"""Mixture of text and task documents in one token stream, at shares that hold in every stretch of it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from harness.data.tasks.documents import (
    MARKOV,
    Tokens,
    check_lengths,
    mean_tokens,
    training_documents,
)
from harness.data.tasks.families import FAMILIES
from harness.data.tasks.hashed_random import named, seeds, uniform
from harness.data.text.tokenizer import Tokenizer
from harness.records.errors import InputError

# Tokens that are put into the stream at once, which bounds memory.
TOKENS_AT_ONCE = 2**24


@dataclass(frozen=True)
class TaskConfig:
    """A task and its part of the training tokens.

    Attributes:
        name: name of the task.
        share: share of all training tokens.
        lengths: lengths of its problems, with equal parts of the share.
    """

    name: str
    share: float
    lengths: tuple[int, ...]

    @classmethod
    def from_settings(cls, name: str, values: Any) -> TaskConfig:
        """Return the task that data.tasks.NAME sets; raise InputError unless it has share and lengths."""
        try:
            if set(values) == {"share", "lengths"} and all(isinstance(n, int) for n in values["lengths"]):
                return cls(name, float(values["share"]), tuple(values["lengths"]))
        except (TypeError, ValueError):
            pass
        raise InputError(
            f"data.tasks.{name}={values} is no task; a share of all tokens and lengths were expected, "
            f"such as +data.tasks.{name}={{share:0.05,lengths:[4]}}"
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TaskConfig:
        """Return the task from its `dataclasses.asdict`, also after JSON."""
        return cls(values["name"], float(values["share"]), tuple(values["lengths"]))


def check_tasks(tasks: tuple[TaskConfig, ...], tokenizer: str) -> None:
    """Raise InputError for shares, lengths or a tokenizer that no mixture can have.

    Args:
        tasks: the tasks of a corpus.
        tokenizer: `bpe` or `bytes`.
    """
    for task in tasks:
        check_lengths(task.name, task.lengths)
        if not task.share > 0 or not task.lengths:
            raise InputError(
                f"data.tasks.{task.name} has share={task.share:g} and lengths={list(task.lengths)}; a share "
                f"above 0 and a length were expected, remove it with ~data.tasks.{task.name}"
            )
    total = sum(task.share for task in tasks)
    if not total < 1:
        raise InputError(
            f"data.tasks have {total:.0%} of all tokens together and text the rest, which is none; "
            "lower their shares"
        )
    if tasks and tokenizer != "bpe":
        raise InputError(f"data.tokenizer={tokenizer} has no room for the tags of data.tasks; use bpe")


def mix_tasks(
    text: Tokens, tasks: tuple[TaskConfig, ...], tokenizer: Tokenizer
) -> tuple[np.ndarray, dict[str, Any]]:
    """Mix task documents into the text.

    All text is kept, with as many task documents as the shares ask for. The documents of each part are spread
    evenly over the stream, one at a random place in each of equal slices.

    Args:
        text: documents of the training text.
        tasks: the tasks with their shares.
        tokenizer: tokenizer of the text.

    Returns:
        The stream of tokens, and the share, documents and tokens of every part.
    """
    total = len(text.tokens) / (1 - sum(task.share for task in tasks))
    parts, places, report = [text], [_places("text", len(text.lengths))], {}
    for task in tasks:
        for length in task.lengths:
            tokens = total * task.share / len(task.lengths)
            n = max(1, round(tokens / mean_tokens(task.name, length)))
            part = training_documents(task.name, length, 0, n, tokenizer)
            parts.append(part)
            places.append(_places(f"{task.name} {length}", n))
            report[f"{task.name} {length}"] = _described(task.name, length, part)
    stream = _interleave(parts, np.concatenate(places))
    report["text"] = {"documents": len(text.lengths), "tokens": len(text.tokens)}
    return stream, {name: {"share": row["tokens"] / len(stream)} | row for name, row in report.items()}


def _described(task: str, length: int, part: Tokens) -> dict[str, Any]:
    """Return the counts of one task and length for the report."""
    held_out = task == MARKOV or FAMILIES[task].held_out(length)
    problems = None if task == MARKOV else FAMILIES[task].space(length)
    counts = {"documents": len(part.lengths), "tokens": len(part.tokens)}
    return counts | {"problems": problems, "held_out": held_out}


def _places(name: str, n: int) -> Float64[np.ndarray, "documents"]:
    """Return the place of each of `n` documents in the stream, from 0 to 1."""
    index = np.arange(n)
    # One in each slice (stratified): plain random places would leave stretches without a task.
    return (index + uniform(seeds(named("place", name), index))) / n


def _interleave(parts: list[Tokens], places: Float64[np.ndarray, "documents"]) -> np.ndarray:
    """Concatenate the documents of all parts in the order of their places."""
    order = np.argsort(places, kind="stable")
    tokens = np.concatenate([part.tokens for part in parts])
    lengths = np.concatenate([part.lengths for part in parts])
    starts = np.cumsum(lengths) - lengths
    lengths, starts = lengths[order], starts[order]
    ends = np.cumsum(lengths)
    cuts = np.searchsorted(ends, np.arange(0, ends[-1] + TOKENS_AT_ONCE, TOKENS_AT_ONCE))
    pieces = [tokens[_ranges(starts[a:b], lengths[a:b])] for a, b in pairwise(np.unique(cuts))]
    return np.concatenate(pieces)


def _ranges(starts: Int64[np.ndarray, "n"], lengths: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "tokens"]:
    """Return the concatenated ranges starts[i] … starts[i] + lengths[i] − 1."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1]) + np.repeat(starts - ends + lengths, lengths)


def document_lengths(tokens: np.ndarray, separator: int) -> Int64[np.ndarray, "documents"]:
    """Return the tokens of every document in a stream, its separator included."""
    return np.diff(np.flatnonzero(tokens == separator), prepend=-1)
