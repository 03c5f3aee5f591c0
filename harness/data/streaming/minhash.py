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

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt16, UInt64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from harness.data.streaming.signature import N_VALUES, ROWS

# Estimated resemblance from which the shorter of two documents is dropped. Banding finds a pair of .5 with a
# probability of .87, one of .6 with .99.
MIN_RESEMBLANCE = 0.5
BANDS = N_VALUES // ROWS
# Bands whose keys are in memory at once, documents read at once, and pairs compared at once.
BANDS_AT_ONCE = 4
DOCUMENTS_AT_ONCE = 2**16
PAIRS_AT_ONCE = 2**13


def near_duplicates(
    path: Path, rank: Int64[np.ndarray, "documents"], chosen: Bool[np.ndarray, "documents"]
) -> Bool[np.ndarray, "documents"]:
    """Return which documents resemble one of a lower rank.

    Resemblance is passed on: of documents that are linked by near duplicates, only one stays.

    Args:
        path: file of all signatures, in the order of the documents.
        rank: order in which documents are kept, each number once.
        chosen: documents that are compared; others are neither dropped nor kept.
    """
    group = np.arange(len(rank))
    places = np.flatnonzero(chosen)
    places = places[np.argsort(rank[places])]
    for band in _bands(path, len(rank)):
        head, member = _candidates(band, places)
        new = group[head] != group[member]
        head, member = head[new], member[new]
        alike = resemblance(path, len(rank), head, member) >= MIN_RESEMBLANCE
        group = _joined(group, head[alike], member[alike])
    # The documents stand by rank, so the first of a group is the one that stays.
    first = places[np.unique(group[places], return_index=True)[1]]
    dropped = chosen.copy()
    dropped[first] = False
    return dropped


def resemblance(
    path: Path, n: int, one: Int64[np.ndarray, "pairs"], other: Int64[np.ndarray, "pairs"]
) -> Float64[np.ndarray, "pairs"]:
    """Return the estimated resemblance of pairs of documents."""
    found = np.zeros(len(one))
    for first in range(0, len(one), PAIRS_AT_ONCE):
        part = slice(first, first + PAIRS_AT_ONCE)
        # Mapped anew each time: pages that were read count as memory of this process.
        values: UInt16[np.ndarray, "documents values"] = np.memmap(path, "<u2", "r", shape=(n, N_VALUES))
        found[part] = (values[one[part]] == values[other[part]]).mean(1)
        del values
    return found


def _bands(path: Path, n: int) -> Iterator[UInt64[np.ndarray, "documents"]]:
    """Yield the key of every document in each band."""
    for first in range(0, BANDS, BANDS_AT_ONCE):
        keys = np.empty((BANDS_AT_ONCE, n), np.uint64)
        with path.open("rb") as file:
            for done in range(0, n, DOCUMENTS_AT_ONCE):
                rows = np.fromfile(file, "<u8", DOCUMENTS_AT_ONCE * BANDS).reshape(-1, BANDS)
                keys[:, done : done + len(rows)] = rows[:, first : first + BANDS_AT_ONCE].T
        yield from keys


def _candidates(
    band: UInt64[np.ndarray, "documents"], places: Int64[np.ndarray, "chosen"]
) -> tuple[Int64[np.ndarray, "pairs"], Int64[np.ndarray, "pairs"]]:
    """Return the first document of each group with equal keys, and another of it, for every other one."""
    # A stable sort keeps the order of the ranks within a group.
    order = places[np.argsort(band[places], kind="stable")]
    keys = band[order]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.zeros(0, np.int64)
    sizes = np.diff(np.append(starts, len(keys)))
    head = np.repeat(order[starts], sizes)
    other = head != order
    return head[other], order[other]


def _joined(
    group: Int64[np.ndarray, "documents"],
    one: Int64[np.ndarray, "pairs"],
    other: Int64[np.ndarray, "pairs"],
) -> Int64[np.ndarray, "documents"]:
    """Return the groups after those of each pair became one, each named by its first document."""
    if len(one) == 0:
        return group
    n = len(group)
    rows, columns = np.append(np.arange(n), one), np.append(group, other)
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(n, n))
    _, numbers = connected_components(graph, directed=False)
    first = np.unique(numbers, return_index=True)[1]
    return np.asarray(first[numbers])
