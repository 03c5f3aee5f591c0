"""Randomness by index: every number is a hash of where it is needed, so any document can be made alone."""

from __future__ import annotations

import hashlib

import numpy as np
from jaxtyping import Float64, Int64, UInt64

# Increment and finaliser of splitmix64 (Steele, Lea & Flood, 2014, "Fast splittable pseudorandom number
# generators", figure 17).
GAMMA = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
# Of all problems of a task that is held out, this share is never trained on.
TEST_SHARE = 1 / 8
SPLIT_KEY = "task split 1"

Seeds = UInt64[np.ndarray, "rows"]


def mix(values: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """64 bits that look independent of `values`, one for one."""
    values = (values ^ (values >> np.uint64(30))) * FIRST
    values = (values ^ (values >> np.uint64(27))) * SECOND
    return values ^ (values >> np.uint64(31))


def named(*parts: str | int) -> np.uint64:
    """A number that stands for a stream with this name."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "big"))


def seeds(stream: np.uint64, *index: np.ndarray) -> Seeds:
    """One seed for each row of the index arrays, which are as long as each other."""
    found = np.full(len(index[0]), stream, np.uint64)
    for part in index:
        found = mix(found * GAMMA + part.astype(np.uint64) + np.uint64(1))
    return found


def bits(seed: Seeds, width: int, use: int = 0) -> UInt64[np.ndarray, "rows width"]:
    """`width` fresh words for every seed; other uses of a seed have other words."""
    places = np.arange(1, width + 1, dtype=np.uint64) + np.uint64(use << 32)
    return mix(mix(seed)[:, None] + places * GAMMA)


def below(words: UInt64[np.ndarray, "..."], limit: int) -> Int64[np.ndarray, "..."]:
    """Whole numbers from 0 to `limit` − 1, even to one part in 2^32 / limit."""
    return ((words >> np.uint64(32)) * np.uint64(limit) >> np.uint64(32)).astype(np.int64)


def uniform(words: UInt64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """Numbers above 0 and below 1."""
    return ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def distinct(words: UInt64[np.ndarray, "rows pool"], n: int) -> Int64[np.ndarray, "rows n"]:
    """`n` different numbers below `pool` in random order, for every row."""
    return np.argsort(words, axis=1, kind="stable")[:, :n]


def key_of(values: np.ndarray, name: str) -> Seeds:
    """A keyed hash of every row of small whole numbers."""
    found = np.full(len(values), named(SPLIT_KEY, name), np.uint64)
    for column in values.T:
        found = mix(found * GAMMA + column.astype(np.uint64))
    return found


def is_test(keys: Seeds) -> np.ndarray:
    """Which problems are held out, by their keys alone."""
    return mix(keys) < np.uint64(int(TEST_SHARE * 2**64))
