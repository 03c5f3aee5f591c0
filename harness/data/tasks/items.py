"""The fixed test problems of a sweep, with any number of demonstrations, and wrong answers beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32, Int64

from harness.data.tasks import markov
from harness.data.tasks.documents import (
    MARKOV,
    NEWLINE,
    TEST,
    draw,
    example_width,
    n_examples,
    symbol_ids,
    tag,
)
from harness.data.tasks.draws import below, bits, distinct, named, seeds
from harness.data.tasks.families import FAMILIES, Problems
from harness.data.tasks.mixture import TaskConfig
from harness.data.tokenizer import Tokenizer

N_SHOTS = (0, 1, 2, 4, 8)
# Wrong answers beside the right one, where the problem has as many.
N_DISTRACTORS = 3
# Of all items, those seen with demonstrations, with wrong answers, and at steps before the end.
SHOT_PART, CHOICE_PART, EARLY_PART = 4, 4, 8
# Spaces that are not held out have so few problems that most draws repeat one.
DRAWS_PER_ITEM = 8
HELD_OUT, SEEN = "test", "seen"


@dataclass(frozen=True)
class Group:
    """Items of one task, length and number of demonstrations.

    `sequences` are separator, tag, demonstrations, prompt and answer, which has `n_positions` tokens;
    `choices` the number of symbols to guess from at each of them. `wrong` are other answers for the first
    items.
    """

    task: str
    length: int
    n_shot: int
    split: str
    n_positions: int
    choices: tuple[int, ...]
    sequences: Int32[np.ndarray, "items width"]
    wrong: Int32[np.ndarray, "some distractors answer"]

    def first(self, n: int) -> Group:
        """The first `n` items, at least one, without wrong answers."""
        none = self.wrong[:0]
        return Group(**(vars(self) | {"sequences": self.sequences[: max(1, n)], "wrong": none}))


@dataclass(frozen=True)
class Chains:
    """Markov chains: `sequences` are separator, tag and symbols of `states`, which `tokens` stand for."""

    sequences: Int32[np.ndarray, "items width"]
    states: Int64[np.ndarray, "items places"]
    matrices: Float64[np.ndarray, "items states states"]
    tokens: Int32[np.ndarray, " states"]


@dataclass(frozen=True)
class TaskItems:
    """All test items of a sweep: the same for every run."""

    groups: tuple[Group, ...]
    chains: Chains | None

    def early(self) -> tuple[Group, ...]:
        """A part of the items without demonstrations, for steps on the way."""
        return tuple(g.first(len(g.sequences) // EARLY_PART) for g in self.groups if g.n_shot == 0)


def task_items(tasks: tuple[TaskConfig, ...], n_items: int, tokenizer: Tokenizer, seq_len: int) -> TaskItems:
    """`n_items` of every task and length where so many exist, as far as they fit `seq_len` tokens."""
    groups = [
        group
        for task in tasks
        if task.name != MARKOV
        for length in task.lengths
        for group in _groups(task.name, length, n_items, tokenizer, seq_len)
    ]
    has_chains = any(task.name == MARKOV for task in tasks) and seq_len >= markov.N_SYMBOLS + 1
    return TaskItems(tuple(groups), _chains(n_items, tokenizer) if has_chains else None)


def _groups(task: str, length: int, n_items: int, tokenizer: Tokenizer, seq_len: int) -> Iterator[Group]:
    family, width, most = FAMILIES[task], example_width(task, length), n_examples(task, length)
    numbers = _distinct_documents(task, length, n_items)
    ids = symbol_ids(tokenizer)
    alphabet = family.alphabet(length)
    for n_shot in N_SHOTS:
        # Separator and tag before; no newline after the answer, which is a label and no input.
        if n_shot >= most or (n_shot + 1) * width > seq_len:
            break
        index = numbers if n_shot == 0 else numbers[: max(1, n_items // SHOT_PART)]
        query = _queries(task, length, index)
        parts = [*_demonstrations(task, length, index, n_shot), query.prompt, query.answer]
        symbols = np.concatenate(parts, axis=1)
        head = np.tile(np.array([tokenizer.separator, ids[tag(task)]], np.int32), (len(index), 1))
        n_chosen = max(1, len(index) // CHOICE_PART) if n_shot == 0 else 0
        some = query.take(np.arange(n_chosen))
        yield Group(
            task=task,
            length=length,
            n_shot=n_shot,
            split=HELD_OUT if family.held_out(length) else SEEN,
            n_positions=query.answer.shape[1],
            choices=tuple(len(symbols) for symbols in alphabet),
            sequences=np.concatenate([head, ids[symbols].astype(np.int32)], axis=1),
            wrong=ids[_wrong(task, length, some, alphabet)].astype(np.int32),
        )


def _queries(task: str, length: int, index: np.ndarray) -> Problems:
    """The problem that each test document asks."""
    last = np.full_like(index, n_examples(task, length))
    return draw(task, length, TEST, index, last, test=True)


def _demonstrations(task: str, length: int, index: np.ndarray, n_shot: int) -> Iterator[np.ndarray]:
    """Solved examples: problems of training, or where a document has one rule, those of the rule asked."""
    newline = np.full((len(index), 1), NEWLINE, np.uint8)
    for slot in range(n_shot):
        shown = draw(task, length, TEST, index, np.full_like(index, slot), test=FAMILIES[task].shared)
        yield from (shown.prompt, shown.answer, newline)


def _distinct_documents(task: str, length: int, n_items: int) -> np.ndarray:
    """Numbers of the first test documents that ask different problems."""
    index = np.arange(n_items * DRAWS_PER_ITEM)
    query = _queries(task, length, index)
    first = np.unique(np.concatenate([query.prompt, query.answer], axis=1), axis=0, return_index=True)[1]
    return np.sort(first)[:n_items]


def _wrong(
    task: str, length: int, problems: Problems, alphabet: tuple[np.ndarray, ...]
) -> Int64[np.ndarray, "items distractors answer"]:
    """Answers that are wrong: others that the context offers, or the right one with one symbol changed."""
    n = len(problems.answer)
    seed = seeds(named(task, length, "wrong"), np.arange(n))
    if problems.candidates is not None:
        order = np.argsort(bits(seed, problems.candidates.shape[1]), axis=1)
        # The right one sorts to the end.
        right = np.take_along_axis(problems.candidates, order, axis=1) == problems.answer
        order = np.take_along_axis(order, np.argsort(right, axis=1, kind="stable"), axis=1)[:, :-1]
        return np.take_along_axis(problems.candidates, order[:, :N_DISTRACTORS], axis=1)[:, :, None].astype(
            int
        )
    places = _places_to_change(seed, alphabet)
    # Symbols of an alphabet have consecutive codes.
    first, size = (np.array([f(symbols) for symbols in alphabet], np.int64) for f in (min, len))
    apart = np.where(places == places[:, :1], np.arange(N_DISTRACTORS), 0)
    step = 1 + (below(bits(seed, 1, use=1), 2**20) + apart) % (size[places] - 1)
    right = np.take_along_axis(problems.answer.astype(np.int64), places, axis=1) - first[places]
    wrong = np.repeat(problems.answer[:, None].astype(np.int64), N_DISTRACTORS, axis=1)
    changed = first[places] + (right + step) % size[places]
    np.put_along_axis(wrong, places[:, :, None], changed[:, :, None], axis=2)
    return wrong


def _places_to_change(
    seed: np.ndarray, alphabet: tuple[np.ndarray, ...]
) -> Int64[np.ndarray, "items distractors"]:
    """A position for every wrong answer: different ones, or the one with most symbols in a short answer."""
    if len(alphabet) >= N_DISTRACTORS:
        return distinct(bits(seed, len(alphabet), use=2), N_DISTRACTORS)
    widest = int(np.argmax([len(symbols) for symbols in alphabet]))
    return np.full((len(seed), N_DISTRACTORS), widest)


def _chains(n_items: int, tokenizer: Tokenizer) -> Chains:
    ids = symbol_ids(tokenizer)
    states, matrices = markov.chains(TEST, np.arange(n_items))
    head = np.tile(np.array([tokenizer.separator, ids[tag(MARKOV)]], np.int32), (n_items, 1))
    tokens = ids[markov.STATES].astype(np.int32)
    return Chains(np.concatenate([head, tokens[states]], axis=1), states, matrices, tokens)
