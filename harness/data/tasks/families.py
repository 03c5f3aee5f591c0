"""Families of problems: from a seed to a prompt and its answer, each of fixed width.

Symbols are byte codes of characters, one token each. With fixed width, greedy decoding writes an answer
exactly if teacher forcing predicts it at every position.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8, UInt64

from harness.data.tasks.hashed_random import Seeds, below, bits, distinct, key_of

DIGITS = np.frombuffer(b"0123456789", np.uint8)
LOWER = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", np.uint8)
UPPER = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", np.uint8)
# Entities of one k-hop problem.
N_ENTITIES = 6
# Rules of the few-shot task, see `functions`.
N_FUNCTIONS = 6
# Below this many problems nothing is held out: either side would be too small to learn from or to score.
MIN_SPACE = 3_000


@dataclass(frozen=True)
class Problems:
    """Problems of one family and length.

    Attributes:
        prompt: symbols of the prompts.
        answer: symbols of the answers.
        key: keys that decide the side of the train-test split; equal problems have equal keys.
        candidates: symbols in the context that could all be the answer; None if the context offers none.
    """

    prompt: UInt8[np.ndarray, "rows prompt"]
    answer: UInt8[np.ndarray, "rows answer"]
    key: UInt64[np.ndarray, "rows"]
    candidates: UInt8[np.ndarray, "rows candidates"] | None = None

    def take(self, rows: np.ndarray) -> Problems:
        """Return the problems in these rows."""
        candidates = None if self.candidates is None else self.candidates[rows]
        return Problems(self.prompt[rows], self.answer[rows], self.key[rows], candidates)

    def put(self, rows: np.ndarray, other: Problems) -> Problems:
        """Return these problems with the given rows replaced by `other`."""
        arrays = {
            name: _replaced(value, rows, getattr(other, name))
            for name, value in vars(self).items()
            if value is not None
        }
        return replace(self, **arrays)


@dataclass(frozen=True)
class Family:
    """One kind of problem at any length.

    Attributes:
        name: name of the task.
        draw: problems from a seed per problem, a seed per document and the length.
        space: number of different problems of a length.
        alphabet: symbols that an answer can have at each position; uniform guessing chooses among as many.
        shared: whether all examples of a document have one rule and one key.
    """

    name: str
    draw: Callable[[Seeds, Seeds, int], Problems]
    space: Callable[[int], float]
    alphabet: Callable[[int], tuple[np.ndarray, ...]]
    shared: bool = False

    def held_out(self, length: int) -> bool:
        """Return whether some problems of this length are kept for tests alone."""
        return self.space(length) >= MIN_SPACE


def _replaced(values: np.ndarray, rows: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return a copy of `values` with the given rows replaced."""
    values = values.copy()
    values[rows] = new
    return values


def _join(*parts: np.ndarray | bytes) -> UInt8[np.ndarray, "rows width"]:
    """Concatenate columns; bytes stand in every row."""
    n = next(len(part) for part in parts if isinstance(part, np.ndarray))
    columns = [
        np.tile(np.frombuffer(part, np.uint8), (n, 1)) if isinstance(part, bytes) else part for part in parts
    ]
    return np.concatenate(columns, axis=1)


def _digits_of(numbers: np.ndarray, width: int) -> np.ndarray:
    """Return the decimal digits of each number, highest first, zeros in front [n, width]."""
    return numbers[:, None] // 10 ** np.arange(width - 1, -1, -1) % 10


def _addition(seed: Seeds, length: int, reverse: bool) -> Problems:
    """Draw sums of two operands of `length` digits, zeros in front included; the sum has one digit more.

    a + b and b + a are one problem with one key, in either order of the sum's digits.
    """
    digits = below(bits(seed, 2 * length), 10)
    left, right = (part @ 10 ** np.arange(length - 1, -1, -1) for part in np.split(digits, 2, axis=1))
    answer = DIGITS[_digits_of(left + right, length + 1)]
    operands = [DIGITS[part] for part in np.split(digits, 2, axis=1)]
    # Sorted operands: otherwise a test problem could be trained on with its operands exchanged.
    key = key_of(np.sort(np.stack([left, right], axis=1), axis=1), f"addition {length}")
    return Problems(_join(operands[0], b"+", operands[1], b"="), answer[:, ::-1] if reverse else answer, key)


def addition(seed: Seeds, _: Seeds, length: int) -> Problems:
    """Draw `12+34=046`: highest digit first."""
    return _addition(seed, length, reverse=False)


def addition_reversed(seed: Seeds, _: Seeds, length: int) -> Problems:
    """Draw `12+34=640`: lowest digit first, the order in which carries propagate."""
    return _addition(seed, length, reverse=True)


def digit_sum(seed: Seeds, _: Seeds, length: int) -> Problems:
    """Draw `1234=0`: the sum of the digits modulo 10.

    Problems that differ only in the order of digits are one problem with one key.
    """
    digits = below(bits(seed, length), 10)
    answer = DIGITS[digits.sum(axis=1, keepdims=True) % 10]
    return Problems(_join(DIGITS[digits], b"="), answer, key_of(np.sort(digits, axis=1), "digit_sum"))


def _letters(seed: Seeds, length: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Draw lower-case letters [n, length] and the keys of the problems."""
    letters = below(bits(seed, length), len(LOWER))
    return LOWER[letters], key_of(letters, name)


def copy(seed: Seeds, _: Seeds, length: int) -> Problems:
    """Draw `abca=abca`: repeat the letters."""
    letters, key = _letters(seed, length, "copy")
    return Problems(_join(letters, b"="), letters, key)


def backwards(seed: Seeds, _: Seeds, length: int) -> Problems:
    """Draw `abcd=dcba`: repeat the letters in reverse."""
    letters, key = _letters(seed, length, "reverse")
    return Problems(_join(letters, b"="), letters[:, ::-1], key)


def recall(seed: Seeds, _: Seeds, length: int) -> Problems:
    """Draw `aXbYcZ?bY`: associative recall, the value that followed a key.

    Keys are distinct, and values too. `length` counts pairs.
    """
    keys = LOWER[distinct(bits(seed, 26), length)]
    values = UPPER[distinct(bits(seed, 26, use=1), length)]
    asked = below(bits(seed, 1, use=2), length)
    pairs = np.stack([keys, values], axis=2).reshape(len(seed), -1)
    query = np.take_along_axis(keys, asked, axis=1)
    prompt = _join(pairs, b"?", query)
    answer = np.take_along_axis(values, asked, axis=1)
    return Problems(prompt, answer, key_of(prompt, "recall"), values)


def hops(seed: Seeds, _: Seeds, length: int) -> Problems:
    """Draw `abbccdda?2a=c`: `length` steps along a permutation whose arrows stand in random order."""
    entities = LOWER[distinct(bits(seed, 26), N_ENTITIES)]
    to = distinct(bits(seed, N_ENTITIES, use=1), N_ENTITIES)
    order = distinct(bits(seed, N_ENTITIES, use=2), N_ENTITIES)
    start = below(bits(seed, 1, use=3), N_ENTITIES)
    end = start
    for _step in range(length):
        end = np.take_along_axis(to, end, axis=1)
    heads = np.take_along_axis(entities, np.take_along_axis(to, order, axis=1), axis=1)
    arrows = np.stack([np.take_along_axis(entities, order, axis=1), heads], axis=2)
    asked = np.take_along_axis(entities, start, axis=1)
    prompt = _join(arrows.reshape(len(seed), -1), f"?{length}".encode(), asked, b"=")
    answer = np.take_along_axis(entities, end, axis=1)
    return Problems(prompt, answer, key_of(prompt, "hops"), entities)


def functions(seed: Seeds, document: Seeds, length: int) -> Problems:
    """Draw `37>q`: a yes-or-no function of a number of `length` digits, with two letters as its values.

    Function and letters belong to the document, and so does the key. Test documents have pairings of function
    and letters that were never trained on, so only the examples before a problem reveal its labels.
    """
    digits = below(bits(seed, length), 10)
    first, last, total = digits[:, 0], digits[:, -1], digits.sum(axis=1)
    values = np.stack([last % 2, last >= 5, first % 2, first >= 5, total % 2, total % 3 == 0], axis=1).astype(
        np.int64
    )
    rule = below(bits(document, 1), N_FUNCTIONS)
    pair = distinct(bits(document, 26, use=1), 2)
    value = np.take_along_axis(values, rule, axis=1)
    answer = LOWER[np.take_along_axis(pair, value, axis=1)]
    key = key_of(np.concatenate([rule, pair], axis=1), "functions")
    return Problems(_join(DIGITS[digits], b">"), answer, key, LOWER[pair])


def _sum_alphabet(length: int) -> tuple[np.ndarray, ...]:
    """Return the symbols of a sum by position: its highest digit is 0 or 1."""
    return (DIGITS[:2], *[DIGITS] * length)


FAMILIES = {
    family.name: family
    for family in (
        Family("addition", addition, lambda n: 100.0**n, _sum_alphabet),
        Family("addition_reversed", addition_reversed, lambda n: 100.0**n, lambda n: _sum_alphabet(n)[::-1]),
        Family("digit_sum", digit_sum, lambda n: 10.0**n, lambda _: (DIGITS,)),
        Family("copy", copy, lambda n: 26.0**n, lambda n: (LOWER,) * n),
        Family("reverse", backwards, lambda n: 26.0**n, lambda n: (LOWER,) * n),
        Family("recall", recall, lambda n: 26.0 ** (2 * n), lambda n: (UPPER[:n],)),
        Family("hops", hops, lambda _: 26.0**N_ENTITIES, lambda _: (LOWER[:N_ENTITIES],)),
        Family("functions", functions, lambda _: 26.0 * 25 * N_FUNCTIONS, lambda _: (LOWER[:2],), True),
    )
}
