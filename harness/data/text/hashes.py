"""Hashes of texts: of their runs of words, which can be looked up, and one that decides about the split."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64, UInt8, UInt64

# Eight words in a row are rarely shared by chance, and small edits leave most shingles as they were.
SHINGLE_WORDS = 8
# Part of what a corpus is: another key is another split.
SPLIT_KEY = b"evaluation split 1"
# Multiplier of the polynomial hash (Knuth's MMIX generator); odd, so multiplying modulo 2^64 loses no bit.
MULTIPLIER = np.uint64(6364136223846793005)
TABLE_BITS = 27
# Increment and finaliser of splitmix64 (Steele, Lea & Flood, 2014, "Fast splittable pseudorandom number
# generators", figure 17).
GAMMA = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def shingle_hashes(text: str) -> UInt64[np.ndarray, "shingles"]:
    """Return a 64-bit hash of every SHINGLE_WORDS consecutive words; of all words if there are fewer."""
    return run_hashes(word_hashes(text), SHINGLE_WORDS)


def word_hashes(text: str) -> UInt64[np.ndarray, "words"]:
    """Return a hash of every word of a text: what stands between white space."""
    # CRC-32 and not hash(), which Python salts anew in every process.
    return np.fromiter(map(zlib.crc32, text.encode("utf-8").split()), np.uint64)


def run_hashes(words: UInt64[np.ndarray, "words"], size: int) -> UInt64[np.ndarray, "runs"]:
    """Return a 64-bit hash of every `size` consecutive words; of all words if there are fewer."""
    count = max(len(words) - size, 0) + 1
    hashes = np.zeros(count, np.uint64)
    # All runs at once: Horner's rule over the words of a run. Sums wrap modulo 2^64.
    for offset in range(min(size, len(words))):
        hashes = hashes * MULTIPLIER + words[offset : offset + count]
    return hashes


def split_key(text: str) -> int:
    """Return a keyed hash of the text, uniform over 64 bits."""
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8, key=SPLIT_KEY)
    return int.from_bytes(digest.digest(), "big")


def is_held_out(text: str, eval_fraction: float) -> bool:
    """Return whether a document with this text is on the evaluation side of the split."""
    return split_key(text) < int(eval_fraction * 2**64)


def mix(values: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """Hash 64-bit words to words that look independent of them, one to one (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * FIRST
    values = (values ^ (values >> np.uint64(27))) * SECOND
    return values ^ (values >> np.uint64(31))


@dataclass(frozen=True)
class Lookup:
    """Hashes that are looked for.

    Attributes:
        hashes: the hashes, sorted and distinct.
    """

    hashes: UInt64[np.ndarray, "distinct"]

    @cached_property
    def _table(self) -> UInt8[np.ndarray, "bytes"]:
        """A bit for the first TABLE_BITS of each hash: in most cases it tells that a hash is not there."""
        slot = (self.hashes >> np.uint64(64 - TABLE_BITS)).astype(np.int64)
        table = np.zeros(2 ** (TABLE_BITS - 3), np.uint8)
        np.bitwise_or.at(table, slot >> 3, (1 << (slot & 7)).astype(np.uint8))
        return table

    def found(self, hashes: UInt64[np.ndarray, "n"]) -> tuple[Int64[np.ndarray, "m"], Int64[np.ndarray, "m"]]:
        """Return the numbers of the hashes that are among `hashes`, rising, and the first place of each."""
        slot = (hashes >> np.uint64(64 - TABLE_BITS)).astype(np.int64)
        maybe = np.flatnonzero(self._table[slot >> 3] >> (slot & 7).astype(np.uint8) & 1)
        distinct, first = np.unique(hashes[maybe], return_index=True)
        number = np.searchsorted(self.hashes, distinct)
        there = self.hashes[np.minimum(number, len(self.hashes) - 1)] == distinct
        return number[there], maybe[first[there]]
