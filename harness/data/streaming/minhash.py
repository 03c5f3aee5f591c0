"""Near duplicates by MinHash with banding: the memory is that of a few numbers a document.

A signature has N_VALUES minima of hashes. The share of equal minima estimates the resemblance of two
documents: the shingles that both have, over those that either has. Documents that agree in all minima of a
band are compared by their whole signatures.

The minima come from one hash a shingle, not one for each minimum, as in Dahlgaard, Knudsen & Thorup,
arXiv:1704.04370, "Fast similarity sketching", algorithm 1.

References: Broder 1997, "On the resemblance and containment of documents"; Leskovec, Rajaraman & Ullman,
"Mining of massive datasets", section 3.4 (banding).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt16, UInt64

from harness.data.streaming.signature import N_VALUES, ROWS

# Estimated resemblance from which the shorter of two documents is dropped. Banding finds a pair of .5 with a
# probability of .87, one of .6 with .99.
MIN_RESEMBLANCE = 0.5
BANDS = N_VALUES // ROWS
# Bands whose keys are in memory at once, documents read at once, and pairs compared at once.
BANDS_AT_ONCE = 4
DOCUMENTS_AT_ONCE = 2**16
PAIRS_AT_ONCE = 2**13


def near_duplicates(path: Path, n: int, order: Int32[np.ndarray, "chosen"]) -> Int32[np.ndarray, "dropped"]:
    """Return which of the documents of `order` resemble one before them in it.

    Resemblance is passed on: of documents that are linked by near duplicates, only the first stays.

    Args:
        path: file of all signatures.
        n: how many documents that file has.
        order: documents that are compared, in the order in which they are kept; others are left alone.
    """
    # Documents are known by their places in the order. The group of each is its first place.
    group = np.arange(len(order), dtype=np.int32)
    place = np.full(n, len(order), np.int32)
    place[order] = group
    for keys in _bands(path, place, len(order)):
        head, member = _candidates(keys)
        new = group[head] != group[member]
        head, member = head[new], member[new]
        alike = resemblance(path, order[head], order[member]) >= MIN_RESEMBLANCE
        group = _joined(group, head[alike], member[alike])
    return order[group != np.arange(len(order), dtype=np.int32)]


def resemblance(
    path: Path, one: Int32[np.ndarray, "pairs"], other: Int32[np.ndarray, "pairs"]
) -> Float64[np.ndarray, "pairs"]:
    """Return the estimated resemblance of pairs of documents.

    Args:
        path: file of all signatures.
        one, other: documents of each pair.
    """
    found = np.zeros(len(one))
    with path.open("rb") as file:
        for first in range(0, len(one), PAIRS_AT_ONCE):
            part = slice(first, first + PAIRS_AT_ONCE)
            found[part] = (_read(file, one[part]) == _read(file, other[part])).mean(1)
    return found


def _read(file: BinaryIO, documents: Int32[np.ndarray, "n"]) -> UInt16[np.ndarray, "n values"]:
    """Return the signatures of documents; mapped, the pages around them would count as memory too."""
    size = 2 * N_VALUES
    rows = [os.pread(file.fileno(), size, size * document) for document in documents.tolist()]
    return np.frombuffer(b"".join(rows), "<u2").reshape(-1, N_VALUES)


def _bands(
    path: Path, place: Int32[np.ndarray, "documents"], n_chosen: int
) -> Iterator[UInt64[np.ndarray, "chosen"]]:
    """Yield the key in each band of every chosen document, by places."""
    # The last one is for documents that are not compared.
    keys = np.empty((BANDS_AT_ONCE, n_chosen + 1), np.uint64)
    for first in range(0, BANDS, BANDS_AT_ONCE):
        with path.open("rb") as file:
            for done in range(0, len(place), DOCUMENTS_AT_ONCE):
                rows = np.fromfile(file, "<u8", DOCUMENTS_AT_ONCE * BANDS).reshape(-1, BANDS)
                keys[:, place[done : done + len(rows)]] = rows[:, first : first + BANDS_AT_ONCE].T
        yield from keys[:, :-1]


def _candidates(
    keys: UInt64[np.ndarray, "chosen"],
) -> tuple[Int64[np.ndarray, "pairs"], Int64[np.ndarray, "pairs"]]:
    """Return the first document of each group with equal keys, and another of it, for every other one."""
    # A stable sort keeps the order within a group.
    order = keys.argsort(kind="stable")
    ordered = keys[order]
    later = np.flatnonzero(ordered[1:] == ordered[:-1]) + 1
    del ordered
    begins = np.append(True, later[1:] != later[:-1] + 1)[: len(later)]
    return order[(later[begins] - 1)[begins.cumsum() - 1]], order[later]


def _joined(
    group: Int32[np.ndarray, "chosen"],
    one: Int64[np.ndarray, "pairs"],
    other: Int64[np.ndarray, "pairs"],
) -> Int32[np.ndarray, "chosen"]:
    """Return the groups after those of each pair became one, each named by its first document."""
    if len(one) == 0:
        return group
    # Imported here, so that workers, which look for no duplicates, start sooner.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.append(group[one], group[other])
    names, ends = np.unique(ends, return_inverse=True)
    size, shape = len(one), (len(names), len(names))
    graph = coo_array((np.ones(size, np.int8), (ends[:size], ends[size:])), shape=shape)
    _, numbers = connected_components(graph, directed=False)
    first = np.unique(numbers, return_index=True)[1]
    renamed = np.arange(len(group), dtype=np.int32)
    renamed[names] = names[first[numbers]]
    return renamed[group]
