"""Which tokens are held out for evaluation: files that are named for it, or a share of all.

Documents are chosen whole if their ends are known. Else blocks are chosen. A separator, if it is known, trims
each block to whole documents; without one a document may lie half in a block and half outside.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from jaxtyping import Int64

from harness.data.tokens.shards import Shard
from harness.data.tokens.stream import whole

MOST_EVAL_TOKENS = 2**24  # more would cost memory in every worker and tell nothing new
BLOCKS_WANTED = 16  # of an evaluation split without documents; fewer would be a few places of the corpus
BLOCK_LIMITS = (2**11, 2**16)  # tokens of a block
STREAM = "evaluation split 1"
FOR_EVALUATION = re.compile(r"(^|[^a-z])(val|valid|validation|eval|evaluation)([^a-z]|$)")

Stretches = Int64[np.ndarray, "stretches 3"]


@dataclass(frozen=True)
class Split:
    """What is trained on and what is held out.

    Attributes:
        train, evaluation: stretches of the shards.
        n_documents: training documents; None if their ends are unknown.
        said: how the evaluation split was chosen, in words.
    """

    train: Stretches
    evaluation: Stretches
    n_documents: int | None
    said: str


def is_for_evaluation(name: str) -> bool:
    """Return whether the name of a file, or of a folder above it, says that it is for evaluation.

    >>> is_for_evaluation("fineweb_val_000000.bin"), is_for_evaluation("values.bin")
    (True, False)
    """
    return any(FOR_EVALUATION.search(part.lower()) for part in PurePath(name).with_suffix("").parts)


def given(shards: Sequence[Shard], evaluates: Sequence[bool]) -> Split:
    """Return the split into shards to train on and shards for evaluation, as `evaluates` says."""
    rows = whole(shards)
    held = np.array(evaluates, bool)[rows[:, 0]]
    ends = [shard.document_ends() for shard, out in zip(shards, evaluates, strict=True) if not out]
    n_documents = sum(len(each) for each in ends if each is not None)
    files = sum(evaluates)
    return Split(
        rows[~held],
        _first(rows[held]),
        n_documents if all(each is not None for each in ends) else None,
        f"{files} file{'' if files == 1 else 's'} of {len(shards)}",
    )


def held_out(shards: Sequence[Shard], fraction: float, separator: int | None = None) -> Split:
    """Hold out a share of the tokens.

    The choice depends on the names of the files and the numbers of the parts in them, not on their order.

    Args:
        shards: the files.
        fraction: share of the tokens to hold out, at most MOST_EVAL_TOKENS of them.
        separator: id between documents, for shards without an index.
    """
    total = sum(shard.n_tokens for shard in shards)
    wanted = min(fraction * total, MOST_EVAL_TOKENS)
    ends = [shard.document_ends() for shard in shards]
    size = int(np.clip(wanted / BLOCKS_WANTED, *BLOCK_LIMITS))
    parts = [
        _parts(index, each if each is not None else _block_ends(shard.n_tokens, size))
        for index, (shard, each) in enumerate(zip(shards, ends, strict=True))
    ]
    every = np.concatenate(parts)
    key = np.concatenate([_numbers(shard.name, len(part)) for shard, part in zip(shards, parts, strict=True)])
    order = np.argsort(key, kind="stable")
    lengths = every[order, 2] - every[order, 1]
    chosen = np.zeros(len(every), bool)
    chosen[order[np.cumsum(lengths) - lengths < wanted]] = True
    documents = all(each is not None for each in ends)
    evaluated = every[chosen]
    if separator is not None and not documents:
        known = np.array([each is not None for each in ends])
        evaluated = np.array([_trimmed(row, shards, separator, bool(known[row[0]])) for row in evaluated])
    evaluated = _joined(evaluated)
    return Split(
        _rest(shards, evaluated),
        evaluated,
        int(np.count_nonzero(~chosen)) if documents else None,
        f"{np.count_nonzero(chosen):,} {'documents' if documents else f'blocks of {size:,} tokens'}",
    )


def _first(stretches: Stretches) -> Stretches:
    """Return the first MOST_EVAL_TOKENS tokens."""
    lengths = stretches[:, 2] - stretches[:, 1]
    left = np.clip(MOST_EVAL_TOKENS - (np.cumsum(lengths) - lengths), 0, lengths)
    found = np.column_stack([stretches[:, 0], stretches[:, 1], stretches[:, 1] + left])
    return found[left > 0]


def _numbers(name: str, n: int) -> np.ndarray:
    """Return `n` uniform random numbers that only the name decides."""
    digest = hashlib.sha256(f"{STREAM} {name}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint64)).random(n)


def _parts(shard: int, ends: np.ndarray) -> Stretches:
    """Return the parts of a shard that end at `ends`, without empty ones."""
    starts = np.append(0, ends[:-1])
    found = np.column_stack([np.full(len(ends), shard), starts, ends]).astype(np.int64)
    return found[found[:, 2] > found[:, 1]]


def _block_ends(n_tokens: int, size: int) -> np.ndarray:
    return np.append(np.arange(size, n_tokens, size), n_tokens)


def _trimmed(row: np.ndarray, shards: Sequence[Shard], separator: int, is_document: bool) -> np.ndarray:
    """Return a block from behind its first separator to behind its last one; empty with fewer than two."""
    shard, low, high = (int(value) for value in row)
    if is_document:
        return row
    places = np.flatnonzero(shards[shard].map()[low:high] == separator)
    if len(places) < 2:
        return np.array([shard, low, low])
    return np.array([shard, low + places[0] + 1, low + places[-1] + 1])


def _joined(stretches: Stretches) -> Stretches:
    """Return stretches in the order of the corpus; neighbours become one, empty ones go."""
    kept = stretches.reshape(-1, 3)
    kept = kept[kept[:, 2] > kept[:, 1]]
    kept = kept[np.lexsort((kept[:, 1], kept[:, 0]))]
    if len(kept) == 0:
        return kept
    begins = np.append(True, (kept[1:, 0] != kept[:-1, 0]) | (kept[1:, 1] != kept[:-1, 2]))
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(kept)) - 1
    return np.column_stack([kept[first, 0], kept[first, 1], kept[last, 2]])


def _rest(shards: Sequence[Shard], evaluated: Stretches) -> Stretches:
    """Return the stretches between those that are held out."""
    found = []
    for index, shard in enumerate(shards):
        own = evaluated[evaluated[:, 0] == index]
        starts, ends = np.append(0, own[:, 2]), np.append(own[:, 1], shard.n_tokens)
        found.append(np.column_stack([np.full(len(starts), index), starts, ends]))
    return _joined(np.concatenate(found).astype(np.int64))
