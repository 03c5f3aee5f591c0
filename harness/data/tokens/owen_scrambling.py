"""Owen scrambling of places: their bits reversed, and each bit flipped at random by those before it.

Any 2^k places in a row, from a multiple of 2^k on, fall one into each of 2^k equal parts of the range. A
prefix of the scrambled bits is a node of a binary tree, numbered as in a heap: the empty one is 1, the nodes
behind `node` are 2·node and 2·node + 1.

References: Owen 1995, "Randomly permuted (t,m,s)-nets", section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Int64

# Nodes [places, candidates] to the flips, 0 or 1, of the bits behind them.
Flips: TypeAlias = Callable[[Int64[np.ndarray, "n candidates"]], Int64[np.ndarray, "n candidates"]]
# A call costs as much as some hundred numbers, so a few bits are found at once, of few places.
AHEAD = 4  # bits at most
CANDIDATES = 512  # nodes, if one bit at once has fewer


def owen_scrambled(place: Int64[np.ndarray, "n"], n_bits: int, flips: Flips) -> Int64[np.ndarray, "n"]:
    """Return the places with their bits reversed and flipped.

    Args:
        place: places, of which `n_bits` bits are used.
        n_bits: bits of a place.
        flips: called once for every few bits, with all nodes that these may lead through.
    """
    node = np.ones(len(place), np.int64)
    ahead = max(1, min(AHEAD, (CANDIDATES // max(len(place), 1) + 1).bit_length() - 1))
    for level in range(0, n_bits, ahead):
        bits = min(ahead, n_bits - level)
        shift, first, weights, path = _tree(bits)
        packed = flips(node[:, None] << shift | first) @ weights
        node = node << bits | path[packed << bits | place >> level & (1 << bits) - 1]
    return node - (1 << n_bits)


@cache
def _tree(n_bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the nodes of the next bits as shift and first number, their weights in a packed word, and paths.

    The path is the next bits of a place, by the packed flips of all nodes and the bits of the place.
    """
    nodes = np.arange(1, 1 << n_bits)
    shift = np.frexp(nodes)[1].astype(np.int64) - 1
    packed, place = np.divmod(np.arange(1 << len(nodes) + n_bits), 1 << n_bits)
    node = np.ones_like(place)
    for bit in range(n_bits):
        node = node << 1 | (place >> bit ^ packed >> node - 1) & 1
    return shift, nodes - (1 << shift), 1 << nodes - 1, (node - (1 << n_bits)).astype(np.int8)
