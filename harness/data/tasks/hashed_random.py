"""Counter-based random numbers: each is a hash of where it is needed, so any document can be made alone."""

from __future__ import annotations

import hashlib

import numpy as np
from jaxtyping import Float64, Int64, UInt64

from harness.data.text.hashes import GAMMA, mix

# Share of a task's problems that are never trained on, if the task holds out any.
TEST_SHARE = 1 / 8
SPLIT_KEY = "task split 1"

Seeds = UInt64[np.ndarray, "rows"]


def named(*parts: str | int) -> np.uint64:
    """Return the number of the random stream with this name."""
    # A hash of fixed definition: hash() is salted anew in every process.
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "big"))


def seeds(stream: np.uint64, *index: np.ndarray) -> Seeds:
    """Return one seed per row of the index arrays, which have equal lengths."""
    found = np.full(len(index[0]), stream, np.uint64)
    for part in index:
        found = mix(found * GAMMA + part.astype(np.uint64) + np.uint64(1))
    return found


def bits(seed: Seeds, width: int, use: int = 0) -> UInt64[np.ndarray, "rows width"]:
    """Return `width` fresh 64-bit words per seed; each `use` of a seed has words of its own."""
    places = np.arange(1, width + 1, dtype=np.uint64) + np.uint64(use << 32)
    return mix(mix(seed)[:, None] + places * GAMMA)


def below(words: UInt64[np.ndarray, "..."], limit: int) -> Int64[np.ndarray, "..."]:
    """Return whole numbers from 0 to `limit` − 1, uniform to one part in 2^32 / limit."""
    # Multiply and shift (Lemire, arXiv:1805.10941), without rejection of the last biased words.
    return ((words >> np.uint64(32)) * np.uint64(limit) >> np.uint64(32)).astype(np.int64)


def uniform(words: UInt64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """Return uniform numbers strictly between 0 and 1."""
    # Half a step above 0, because chains take the logarithm.
    return ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def distinct(words: UInt64[np.ndarray, "rows pool"], n: int) -> Int64[np.ndarray, "rows n"]:
    """Return `n` different numbers below the width of `words`, in random order, for every row."""
    # Stable, so that tied words give the same order on every platform.
    return np.argsort(words, axis=1, kind="stable")[:, :n]


def key_of(values: np.ndarray, name: str) -> Seeds:
    """Return a keyed hash of every row of small non-negative integers."""
    found = np.full(len(values), named(SPLIT_KEY, name), np.uint64)
    for column in values.T:
        found = mix(found * GAMMA + column.astype(np.uint64))
    return found


def is_test(keys: Seeds) -> np.ndarray:
    """Return which problems are held out, by their keys alone."""
    return mix(keys) < np.uint64(int(TEST_SHARE * 2**64))
