"""Hashes of texts: of their runs of words, and one that decides on which side of the split they are."""

from __future__ import annotations

import hashlib
import zlib

import numpy as np
from jaxtyping import UInt64

# Eight words in a row are rarely shared by chance, and small edits leave most shingles as they were.
SHINGLE_WORDS = 8
# Part of what a corpus is: another key is another split.
SPLIT_KEY = b"evaluation split 1"
# Multiplier of the polynomial hash (Knuth's MMIX generator); odd, so multiplying modulo 2^64 loses no bit.
MULTIPLIER = np.uint64(6364136223846793005)
# Increment and finaliser of splitmix64 (Steele, Lea & Flood, 2014, "Fast splittable pseudorandom number
# generators", figure 17).
GAMMA = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def shingle_hashes(text: str) -> UInt64[np.ndarray, "shingles"]:
    """Return a 64-bit hash of every SHINGLE_WORDS consecutive words; of all words if there are fewer."""
    # CRC-32 and not hash(), which Python salts anew in every process.
    words = np.fromiter(map(zlib.crc32, text.encode("utf-8").split()), np.uint64)
    count = max(len(words) - SHINGLE_WORDS, 0) + 1
    hashes = np.zeros(count, np.uint64)
    # All shingles at once: Horner's rule over the words of a shingle. Sums wrap modulo 2^64.
    for offset in range(min(SHINGLE_WORDS, len(words))):
        hashes = hashes * MULTIPLIER + words[offset : offset + count]
    return hashes


def split_key(text: str) -> int:
    """Return a keyed hash of the text, uniform over 64 bits."""
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8, key=SPLIT_KEY)
    return int.from_bytes(digest.digest(), "big")


def mix(values: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """Hash 64-bit words to words that look independent of them, one to one (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * FIRST
    values = (values ^ (values >> np.uint64(27))) * SECOND
    return values ^ (values >> np.uint64(31))
