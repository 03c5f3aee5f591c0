"""Fixed test items of a sweep: held-out problems, with demonstrations before and distractors beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

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
from harness.data.tasks.families import FAMILIES, Problems
from harness.data.tasks.hashed_random import below, bits, distinct, named, seeds
from harness.data.tasks.mixture import TaskConfig
from harness.data.text.tokenizer import Tokenizer

N_SHOTS = (1, 2, 4, 8)
# Distractors beside the right answer, if the problem allows as many.
N_DISTRACTORS = 3
# One in so many items gets distractors, is a document with demonstrations, is a chain (each has many places),
# or is asked before the end.
CHOICE_PART, SHOT_PART, CHAIN_PART, EARLY_PART = 8, 8, 2, 32
# Problems drawn for each different item. A small space, which is not held out, repeats itself often.
DRAWS_PER_ITEM, DRAWS_PER_SEEN_ITEM = 2, 8
HELD_OUT, SEEN = "test", "seen"


@dataclass(frozen=True)
class Group:
    """Items of one task, length and number of demonstrations.

    Attributes:
        task: name of the task.
        length: length of its problems.
        n_shot: demonstrations before the problem that is asked.
        split: HELD_OUT, or SEEN if the task holds nothing out.
        n_positions: tokens of an answer.
        choices: number of symbols to guess from at each position.
        sequences: separator, tag and examples; groups may share them.
        end: column after the asked answer; the examples before it are its demonstrations.
        wrong: distractors for the first items.
    """

    task: str
    length: int
    n_shot: int
    split: str
    n_positions: int
    choices: tuple[int, ...]
    sequences: Int32[np.ndarray, "items width"]
    end: int
    wrong: Int32[np.ndarray, "some distractors answer"]

    @property
    def right(self) -> Int32[np.ndarray, "items answer"]:
        """The right answers."""
        return self.sequences[:, self.end - self.n_positions : self.end]

    def first(self, n: int) -> Group:
        """Return the first `n` items, at least one, without distractors."""
        return replace(self, sequences=self.sequences[: max(1, n)], wrong=self.wrong[:0])


@dataclass(frozen=True)
class Chains:
    """Markov chains for tests.

    Attributes:
        sequences: separator, tag and the symbols of the states.
        states: state at each place, 0 to 3.
        matrices: transition matrices; row a has the probabilities of the states after a.
        tokens: token of each state.
    """

    sequences: Int32[np.ndarray, "items width"]
    states: Int64[np.ndarray, "items places"]
    matrices: Float64[np.ndarray, "items states states"]
    tokens: Int32[np.ndarray, " states"]


@dataclass(frozen=True)
class TaskItems:
    """All test items of a sweep, the same for every run."""

    groups: tuple[Group, ...]
    chains: Chains | None

    def early(self) -> tuple[Group, ...]:
        """Return a part of the items without demonstrations, for steps before the end."""
        return tuple(g.first(len(g.sequences) // EARLY_PART) for g in self.groups if g.n_shot == 0)


def task_items(tasks: tuple[TaskConfig, ...], n_items: int, tokenizer: Tokenizer, seq_len: int) -> TaskItems:
    """Return the test items of all tasks.

    Args:
        tasks: the tasks of the corpus.
        n_items: items per task and length; fewer if not as many different problems exist.
        tokenizer: tokenizer of the corpus.
        seq_len: context of the model in tokens; items that do not fit are left out.
    """
    groups = [
        group
        for task in tasks
        if task.name != MARKOV
        for length in task.lengths
        for group in _groups(task.name, length, n_items, tokenizer, seq_len)
    ]
    has_chains = any(task.name == MARKOV for task in tasks) and seq_len >= markov.N_SYMBOLS + 1
    return TaskItems(tuple(groups), _chains(max(1, n_items // CHAIN_PART), tokenizer) if has_chains else None)


def _groups(task: str, length: int, n_items: int, tokenizer: Tokenizer, seq_len: int) -> Iterator[Group]:
    """Yield problems alone, then documents of problems in which each one follows its demonstrations."""
    family, width = FAMILIES[task], example_width(task, length)
    if width > seq_len:
        return
    ids, alphabet = symbol_ids(tokenizer), family.alphabet(length)
    alone = _distinct_problems(task, length, n_items)
    some = alone.take(np.arange(max(1, len(alone.answer) // CHOICE_PART)))
    group = Group(
        task=task,
        length=length,
        n_shot=0,
        split=HELD_OUT if family.held_out(length) else SEEN,
        n_positions=alone.answer.shape[1],
        choices=tuple(len(symbols) for symbols in alphabet),
        sequences=_sequences(task, [alone.prompt, alone.answer], tokenizer),
        end=width + 1,
        wrong=ids[_wrong(task, length, some, alphabet)].astype(np.int32),
    )
    yield group
    # Inputs of a document: separator, tag and examples, without the last token and the newline after it.
    shots = [n for n in N_SHOTS if n < n_examples(task, length) and (n + 1) * width <= seq_len]
    if shots:
        sequences = _documents(task, length, max(1, n_items // SHOT_PART), shots[-1] + 1, tokenizer)
        for n in shots:
            end = 1 + (n + 1) * width
            yield replace(group, n_shot=n, sequences=sequences, end=end, wrong=group.wrong[:0])


def _distinct_problems(task: str, length: int, n_items: int) -> Problems:
    """Return the first `n_items` test problems that differ from each other."""
    held_out = FAMILIES[task].held_out(length)
    # More than needed, because draws repeat problems; the first different ones are kept.
    index = np.arange(n_items * (DRAWS_PER_ITEM if held_out else DRAWS_PER_SEEN_ITEM))
    found = draw(task, length, TEST, index, np.zeros_like(index), test=True)
    first = np.unique(np.concatenate([found.prompt, found.answer], axis=1), axis=0, return_index=True)[1]
    return found.take(np.sort(first)[:n_items])


def _documents(task: str, length: int, n: int, n_shown: int, tokenizer: Tokenizer) -> np.ndarray:
    """Return test documents of `n_shown` examples, the last one without its newline."""
    index, slots = np.repeat(np.arange(n), n_shown), np.tile(np.arange(n_shown), n)
    shown = draw(task, length, f"{TEST} documents", index, slots, test=True)
    newline = np.full((len(index), 1), NEWLINE, np.uint8)
    examples = np.concatenate([shown.prompt, shown.answer, newline], axis=1)
    return _sequences(task, [examples.reshape(n, -1)[:, :-1]], tokenizer)


def _sequences(
    task: str, symbols: list[np.ndarray], tokenizer: Tokenizer
) -> Int32[np.ndarray, "items width"]:
    """Return separator, tag of the task and `symbols` as tokens."""
    ids = symbol_ids(tokenizer)
    head = np.tile(np.array([tokenizer.separator, ids[tag(task)]], np.int32), (len(symbols[0]), 1))
    return np.concatenate([head, *(ids[part].astype(np.int32) for part in symbols)], axis=1)


def _wrong(
    task: str, length: int, problems: Problems, alphabet: tuple[np.ndarray, ...]
) -> Int64[np.ndarray, "items distractors answer"]:
    """Return distractors: other candidates of the context, or the right answer with one symbol changed."""
    n = len(problems.answer)
    seed = seeds(named(task, length, "wrong"), np.arange(n))
    if problems.candidates is not None:
        order = np.argsort(bits(seed, problems.candidates.shape[1]), axis=1)
        # The right candidate goes to the end and is cut off.
        right = np.take_along_axis(problems.candidates, order, axis=1) == problems.answer
        order = np.take_along_axis(order, np.argsort(right, axis=1, kind="stable"), axis=1)[:, :-1]
        return np.take_along_axis(problems.candidates, order[:, :N_DISTRACTORS], axis=1)[:, :, None].astype(
            int
        )
    places = _places_to_change(seed, alphabet)
    # Symbols of an alphabet have consecutive codes.
    first, size = (np.array([f(symbols) for symbols in alphabet], np.int64) for f in (min, len))
    # Distractors at one position differ. A step from 1 to size − 1 never gives the right symbol.
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
    """Return the position that each distractor changes.

    Positions differ if the answer is long enough. Else all distractors change the position with most symbols.
    """
    if len(alphabet) >= N_DISTRACTORS:
        return distinct(bits(seed, len(alphabet), use=2), N_DISTRACTORS)
    widest = int(np.argmax([len(symbols) for symbols in alphabet]))
    return np.full((len(seed), N_DISTRACTORS), widest)


def _chains(n_items: int, tokenizer: Tokenizer) -> Chains:
    """Return `n_items` Markov chains of the test stream."""
    states, matrices = markov.chains(TEST, np.arange(n_items))
    tokens = symbol_ids(tokenizer)[markov.STATES].astype(np.int32)
    return Chains(_sequences(MARKOV, [markov.STATES[states]], tokenizer), states, matrices, tokens)
