"""Documents that are held out, and what of them the training text has too."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int32, Int64, UInt8, UInt64

from harness.data.streaming.folder import Folder, replacing
from harness.data.text.dedup import MAX_LEAKED
from harness.data.text.hashes import shingle_hashes

# A bit for the first bits of a hash tells in most cases that it is not among those looked for.
TABLE_BITS = 27


@dataclass(frozen=True)
class HeldOut:
    """Texts to score, in the order of their keys.

    Attributes:
        texts: the texts.
        ids: numbers of the shingles of each text.
        n_distinct: number of different shingles.
    """

    texts: list[str]
    ids: list[Int64[np.ndarray, "shingles"]]
    n_distinct: int

    def apart(self, seen: Bool[np.ndarray, "distinct"]) -> list[str]:
        """Return the texts of which training text has at most MAX_LEAKED."""
        return [t for t, ids in zip(self.texts, self.ids, strict=True) if seen[ids].mean() <= MAX_LEAKED]


def hold_out(folder: Folder, texts: list[str]) -> HeldOut:
    """Number the shingles of held-out texts and write them to be looked for."""
    hashes = [shingle_hashes(text) for text in texts]
    distinct = np.unique(np.concatenate([*hashes, np.zeros(0, np.uint64)]))
    with replacing(folder.shingles) as temporary, temporary.open("wb") as file:
        np.save(file, distinct)
    return HeldOut(texts, [np.searchsorted(distinct, each) for each in hashes], len(distinct))


@dataclass(frozen=True)
class Search:
    """Shingles that are looked for.

    Attributes:
        distinct: the shingles, sorted.
        table: bits of the first TABLE_BITS of each.
    """

    distinct: UInt64[np.ndarray, "distinct"]
    table: UInt8[np.ndarray, "bytes"]

    def found(self, texts: list[str]) -> Int32[np.ndarray, "found"]:
        """Return the numbers of the shingles that any text has."""
        hashes = np.concatenate([shingle_hashes(text) for text in texts] or [np.zeros(0, np.uint64)])
        slot = (hashes >> np.uint64(64 - TABLE_BITS)).astype(np.int64)
        hashes = np.unique(hashes[(self.table[slot >> 3] >> (slot & 7).astype(np.uint8) & 1).astype(bool)])
        place = np.searchsorted(self.distinct, hashes)
        place = place[place < len(self.distinct)] if len(self.distinct) else place[:0]
        return place[self.distinct[place] == hashes[: len(place)]].astype(np.int32)


@lru_cache(maxsize=1)
def search(path: Path, _written_ns: int) -> Search:
    """Return the shingles of a file to look for, kept for the next piece of text."""
    distinct = np.load(path, mmap_mode="r")
    slot = (distinct >> np.uint64(64 - TABLE_BITS)).astype(np.int64)
    table = np.zeros(2 ** (TABLE_BITS - 3), np.uint8)
    np.bitwise_or.at(table, slot >> 3, (1 << (slot & 7)).astype(np.uint8))
    return Search(distinct, table)
