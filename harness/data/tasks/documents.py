"""Task documents by index, as symbols and then as tokens: a tag, then one example per line, or one chain.

`<addition>12+34=046\\n07+80=087\\n`. Symbols 0 to 255 are bytes, each one token; the tags follow them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt16

from harness.data.tasks import markov
from harness.data.tasks.families import FAMILIES, Problems
from harness.data.tasks.hashed_random import below, bits, is_test, named, seeds
from harness.data.text.tokenizer import Tokenizer
from harness.records.errors import InputError

MARKOV = "markov"
# Tags take their ids in this order, so another order gives every corpus with tasks other tokens.
TASKS = (*FAMILIES, MARKOV)
N_BYTES = 256
NEWLINE = 10
# Documents fit a context of 128 tokens with a separator before and after.
DOCUMENT_TOKENS = 120
MAX_EXAMPLES = 9
# Sums must fit 64-bit integers; recall takes each letter of the alphabet once at most.
MAX_LENGTHS = {"addition": 17, "addition_reversed": 17, "recall": 26}
TRAIN, TEST = "train", "test"
# Documents made at once, which bounds memory.
CHUNK = 8_192


@dataclass(frozen=True)
class Tokens:
    """Documents one after the other.

    Attributes:
        tokens: tokens of all documents.
        lengths: number of tokens of each.
    """

    tokens: UInt16[np.ndarray, "tokens"]
    lengths: Int64[np.ndarray, "documents"]

    def __add__(self, other: Tokens) -> Tokens:
        return join([self, other])


def join(parts: list[Tokens]) -> Tokens:
    """Concatenate the documents of all parts."""
    return Tokens(np.concatenate([p.tokens for p in parts]), np.concatenate([p.lengths for p in parts]))


def tag(task: str) -> int:
    """Return the symbol that begins every document of a task."""
    return N_BYTES + TASKS.index(task)


def check_lengths(task: str, lengths: tuple[int, ...]) -> None:
    """Raise InputError for an unknown task, or a length whose examples do not fit a document."""
    if task not in TASKS:
        raise InputError(f"data.tasks.{task} is not known; tasks are {', '.join(TASKS)}")
    for length in lengths:
        # The width is found by drawing a problem, and only a possible length can be drawn.
        fits = 1 <= length <= MAX_LENGTHS.get(task, DOCUMENT_TOKENS)
        if not fits or (task != MARKOV and example_width(task, length) > DOCUMENT_TOKENS):
            raise InputError(
                f"data.tasks.{task}.lengths={list(lengths)}: lengths of at least 1 were expected whose "
                f"examples fit {DOCUMENT_TOKENS} tokens, and {length} does not; leave it out"
            )
    if task == MARKOV and lengths != (markov.N_STATES,):
        raise InputError(
            f"data.tasks.markov.lengths={list(lengths)}: chains have {markov.N_STATES} states; "
            f"type data.tasks.markov.lengths=[{markov.N_STATES}]"
        )


def draw(
    task: str, length: int, stream: str, documents: np.ndarray, slots: np.ndarray, test: bool
) -> Problems:
    """Return the problems in these slots of these documents, on one side of the train-test split.

    A problem on the wrong side is drawn again (rejection sampling). So each is a function of its document and
    slot alone, and any document can be made without the others.

    Args:
        task: name of a family.
        length: length of the problem, in the family's unit.
        stream: name of the random stream, such as TRAIN.
        documents: number of the document of each problem [n].
        slots: place of each problem in its document [n].
        test: whether the problems lie on the test side; ignored if the task holds nothing out.
    """
    family = FAMILIES[task]
    base = named(task, length, stream)

    def attempt(rows: np.ndarray, number: np.ndarray) -> Problems:
        # Examples with one rule share this seed and so one key: a whole document is drawn again together.
        document = seeds(base, documents[rows], number)
        return family.draw(seeds(base, documents[rows], number, slots[rows] + 1), document, length)

    numbers = np.zeros(len(documents), np.int64)
    problems = attempt(np.arange(len(documents)), numbers)
    wrong = np.arange(len(documents)) if family.held_out(length) else np.arange(0)
    wrong = wrong[is_test(problems.key[wrong]) != test]
    while len(wrong):
        numbers[wrong] += 1
        drawn = attempt(wrong, numbers[wrong])
        problems = problems.put(wrong, drawn)
        wrong = wrong[is_test(drawn.key) != test]
    return problems


def example_width(task: str, length: int) -> int:
    """Return the symbols of one example, the newline after it included."""
    one = draw(task, length, TRAIN, np.zeros(1, np.int64), np.zeros(1, np.int64), test=False)
    return one.prompt.shape[1] + one.answer.shape[1] + 1


def n_examples(task: str, length: int) -> int:
    """Return the largest number of examples in a document of a task."""
    return min(MAX_EXAMPLES, (DOCUMENT_TOKENS - 1) // example_width(task, length))


def mean_tokens(task: str, length: int) -> float:
    """Return the expected tokens of a document, tag and separator included."""
    if task == MARKOV:
        return markov.N_SYMBOLS + 3
    return 2 + example_width(task, length) * (n_examples(task, length) + 1) / 2


def symbol_ids(tokenizer: Tokenizer) -> UInt16[np.ndarray, "symbols"]:
    """Return the token of every symbol: 256 bytes, then the tags.

    Tags are the last tokens before the separator, which no text becomes.
    """
    # Bytes bypass the merges of BPE, so that every digit and letter is one token wherever it stands.
    byte_ids = {piece: token for token, piece in enumerate(tokenizer.pieces) if len(piece) == 1}
    first_tag = tokenizer.separator - len(TASKS)
    plain = [byte_ids[bytes([code])] for code in range(N_BYTES)]
    return np.array([*plain, *range(first_tag, tokenizer.separator)], tokenizer.dtype)


def training_documents(task: str, length: int, first: int, n: int, tokenizer: Tokenizer) -> Tokens:
    """Return the documents number `first` to `first + n` − 1 of a task, each followed by a separator.

    They contain no problem of the test side. The number of examples varies between documents.
    """
    ids = symbol_ids(tokenizer)
    parts = [
        _some(task, length, np.arange(start, min(start + CHUNK, first + n)), ids, tokenizer.separator)
        for start in range(first, first + n, CHUNK)
    ]
    return join(parts)


def _some(task: str, length: int, index: np.ndarray, ids: np.ndarray, separator: int) -> Tokens:
    """Return the documents with the numbers `index`; `ids` are the tokens of all symbols."""
    if task == MARKOV:
        symbols = np.full((len(index), markov.N_SYMBOLS + 1), NEWLINE, np.uint16)
        symbols[:, :-1] = markov.STATES[markov.chains(TRAIN, index)[0]]
        kept = np.full(len(index), symbols.shape[1])
    else:
        symbols, kept = _examples(task, length, index)
    tokens = np.full((len(index), symbols.shape[1] + 2), separator, ids.dtype)
    tokens[:, 0] = ids[tag(task)]
    tokens[:, 1:-1] = ids[symbols]
    places = np.arange(tokens.shape[1])
    lengths = kept + 2
    # All documents are made at full width; the separator goes where each one ends, and the rest is cut off.
    tokens[np.arange(len(index)), lengths - 1] = separator
    return Tokens(tokens[places < lengths[:, None]], lengths)


def _examples(task: str, length: int, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return examples of documents side by side, and how many symbols each document keeps.

    Every row of symbols has room for the largest number of examples.
    """
    most = n_examples(task, length)
    slots = np.tile(np.arange(most), len(index))
    problems = draw(task, length, TRAIN, np.repeat(index, most), slots, test=False)
    newline = np.full((len(slots), 1), NEWLINE, np.uint8)
    symbols = np.concatenate([problems.prompt, problems.answer, newline], axis=1)
    width = symbols.shape[1]
    # Documents of every number of examples, so that a model meets problems with any number of demonstrations.
    chosen = below(bits(seeds(named(task, length, "examples"), index), 1), most)[:, 0] + 1
    return symbols.reshape(len(index), most * width), chosen * width
