"""Order of the windows of a long corpus: a permutation of blocks, and one of the windows in each.

The corpus is cut into BLOCKS equal blocks. A round visits each block once, in scrambled bit-reversed order.
So any 2^k windows in a row come from 2^k equal parts of the corpus. Each block has a permutation of its
windows, computed place by place: any position is found at once.

References: Luby & Rackoff 1988, SIAM Journal on Computing 17 (permutations from Feistel rounds); Black &
Rogaway 2002 (cycle walking).
"""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Int64

from harness.data.text.hashes import GAMMA, mix
from harness.data.tokens.owen_scrambling import owen_scrambled

Words: TypeAlias = np.ndarray  # 64-bit, unsigned [n]
BLOCK_BITS = 12
BLOCKS = 1 << BLOCK_BITS
ROUNDS = 4  # of Feistel's network; three are enough for a pseudo-random permutation
FEW = 2**13  # hashes that cost less than the calls that they save


def n_in_blocks(n_windows: int) -> int:
    """Return the windows of an epoch: all but a rest of fewer than BLOCKS."""
    return n_windows // BLOCKS * BLOCKS


def windows_at(
    position: Int64[np.ndarray, "n"],
    n_windows: Int64[np.ndarray, "n"],
    seed: Int64[np.ndarray, "n"],
    epoch: Int64[np.ndarray, "n"],
) -> Int64[np.ndarray, "n"]:
    """Return the windows at positions of epochs, each from 0 to below `n_in_blocks(n_windows)`.

    Args:
        position: positions, each in the epoch of its own that the other arrays describe.
        n_windows: windows of the corpus.
        seed: seed of the run.
        epoch: number of the epoch, from 0.
    """
    size = (n_windows // BLOCKS).astype(np.uint64)
    turn, place = (position >> BLOCK_BITS).astype(np.uint64), position & BLOCKS - 1
    key = _mixed(seed.astype(np.uint64) ^ _mixed(epoch.astype(np.uint64)))
    row = _mixed(key ^ turn)[:, None]
    block = owen_scrambled(place, BLOCK_BITS, lambda node: _flips(row, node)).astype(np.uint64)
    inside = _permuted(turn, size, _mixed(key + block + np.uint64(1)))
    return (block * size + inside).astype(np.int64)


def _flips(key: Words, node: Int64[np.ndarray, "n candidates"]) -> Int64[np.ndarray, "n candidates"]:
    """Return the flip behind each prefix of a block's number; a leading one tells their lengths apart."""
    return (_mixed(key ^ _hashed(BLOCKS)[0, node]) & np.uint64(1)).astype(np.int64)


def _permuted(index: Words, size: Words, key: Words) -> Words:
    """Return the images of indices under keyed permutations of 0 … size − 1, by Feistel rounds."""
    bits = np.frexp(size - np.uint64(1))[1]  # of the largest image
    half = np.maximum((bits + 1) // 2, 1).astype(np.uint64)
    mask = (np.uint64(1) << half) - np.uint64(1)
    hashed = _hashed(1 << int(half.max()))
    few = len(key) * hashed.size <= FEW
    values = _mixed(key[:, None, None] ^ hashed) if few else hashed
    found, row = index.copy(), np.arange(len(index))
    # Images beyond the size are mapped again until they are inside: still a permutation.
    while len(row):
        own = mask[row]
        left, right = found[row] >> half[row], found[row] & own
        for step in range(ROUNDS):
            value = values[row, step, right] if few else _mixed(key[row] ^ values[step, right])
            left, right = right, left ^ value & own
        found[row] = left << half[row] | right
        row = row[found[row] >= size[row]]
    return found


@cache
def _hashed(n: int) -> Words:
    """Return a hash of each number below `n` in each round."""
    step = np.arange(ROUNDS, dtype=np.uint64)[:, None]
    return _mixed(np.arange(n, dtype=np.uint64) + (step << np.uint64(40)))


def _mixed(value: Words) -> Words:
    """Return hashed words; 0 does not stay 0."""
    return mix(value + GAMMA)
