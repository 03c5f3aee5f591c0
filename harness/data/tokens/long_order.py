"""Order of the windows of a long corpus: a permutation of blocks, and one of the windows in each.

The corpus is cut into BLOCKS equal blocks. A round visits each block once, in scrambled bit-reversed order.
So any 2^k windows in a row come from 2^k equal parts of the corpus. Each block has a permutation of its
windows, computed place by place: any position is found at once.

References: Owen 1995, "Randomly permuted (t,m,s)-nets", section 3 (scrambling); Luby & Rackoff 1988, SIAM
Journal on Computing 17 (permutations from Feistel rounds); Black & Rogaway 2002 (cycle walking).
"""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Int64

from harness.data.text.hashes import GAMMA, mix

Words: TypeAlias = np.ndarray  # 64-bit, unsigned [n]
BLOCK_BITS = 12
BLOCKS = 1 << BLOCK_BITS
ROUNDS = 4  # of Feistel's network; three are enough for a pseudo-random permutation


def n_ordered(n_windows: int) -> int:
    """Return the windows of an epoch: all but a rest of fewer than BLOCKS."""
    return n_windows // BLOCKS * BLOCKS


def windows_at(
    position: Int64[np.ndarray, "n"], n_windows: int, seed: int, epoch: int
) -> Int64[np.ndarray, "n"]:
    """Return the windows at positions of an epoch, each from 0 to below `n_ordered(n_windows)`."""
    size = n_windows // BLOCKS
    turn, place = np.divmod(position, BLOCKS)
    key = _mixed(np.uint64(seed) ^ _mixed(np.full(1, epoch, np.uint64)))[0]
    block = _scrambled(place.astype(np.uint64), _mixed(key ^ turn.astype(np.uint64)))
    inside = _permuted(turn.astype(np.uint64), size, _mixed(key + block + np.uint64(1)))
    return (block * np.uint64(size) + inside).astype(np.int64)


def _scrambled(place: Words, key: Words) -> Words:
    """Return bit-reversed places, each bit flipped at random by the bits before it."""
    block = np.zeros_like(place)
    for bit in range(BLOCK_BITS):
        flip = _mixed(key ^ _prefixes()[block | np.uint64(1 << bit)]) & np.uint64(1)
        block = block << np.uint64(1) | (place >> np.uint64(bit) & np.uint64(1)) ^ flip
    return block


@cache
def _prefixes() -> Words:
    """Return a hash of each prefix of a block's number; a leading one tells their lengths apart."""
    return _mixed(np.arange(BLOCKS, dtype=np.uint64))


def _permuted(index: Words, size: int, key: Words) -> Words:
    """Return the images of indices under keyed permutations of 0 … size − 1."""
    half = max(1, (int(size - 1).bit_length() + 1) // 2)
    found = _feistel(index, half, key)
    # Images beyond the size are mapped again until they are inside: still a permutation.
    while (outside := found >= size).any():
        found[outside] = _feistel(found[outside], half, key[outside])
    return found


def _feistel(index: Words, half: int, key: Words) -> Words:
    """Return the images of indices under keyed permutations of 0 … 4^half − 1."""
    mask, bits = np.uint64((1 << half) - 1), np.uint64(half)
    left, right = index >> bits, index & mask
    for step in range(ROUNDS):
        left, right = right, left ^ (_mixed(key ^ _mixed(right + np.uint64(step << 40))) & mask)
    return left << bits | right


def _mixed(value: Words) -> Words:
    """Return hashed words; 0 does not stay 0."""
    return mix(value + GAMMA)
