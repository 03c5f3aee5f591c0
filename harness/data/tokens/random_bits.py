"""Bits that NumPy's generator PCG64 draws, each found by its place without those before it.

The state of a linear congruential generator after j steps is s + d·(1 + M + … + M^(j−1)), d being the
change of the first step. These sums are a table that all seeds share. So a state far on costs
one product of 128 bits.

References: O'Neill 2014, "PCG", HMC-CS-2014-0905 (XSL RR 128/64); Brown 1994, "Random number generation with
arbitrary strides" (jumps).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Int64

Words: TypeAlias = np.ndarray  # 64-bit, unsigned [n]
Wide: TypeAlias = tuple[Words, Words]  # upper and lower halves of numbers of 128 bits
MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
FULL, HALF = (1 << 128) - 1, (1 << 64) - 1
STRIDE_BITS = 13
STRIDE = 1 << STRIDE_BITS  # steps between two states that are kept
DRAWN = 1 << 14  # bits that are drawn one after the other: up to there this is faster


class RandomBits:
    """The bits that `default_rng(seed).integers(0, 2, n)` draws, in one call or in several.

    Args:
        seed: entropy of the generator.
        n: how many bits may be asked for.

    >>> RandomBits([3, 0], 4).at(np.arange(4)).tolist()
    [1, 0, 0, 0]
    >>> np.random.default_rng([3, 0]).integers(0, 2, 4).tolist()
    [1, 0, 0, 0]
    """

    def __init__(self, seed: Sequence[int], n: int):
        # Of each 64 bits the generator uses the highest of the lower half, then that of the upper half.
        generator = np.random.PCG64(seed)
        inner = generator.state["state"]
        state, increment = int(inner["state"]), int(inner["inc"])
        raw = generator.random_raw(-(-min(n, DRAWN) // 2))
        self._drawn = (raw.astype("<u8", copy=False).view("<u4") >> 31).astype(np.int64)
        states, changes = [], []
        power, total = _jump()
        for _ in range(-(-n // (2 * STRIDE)) if n > DRAWN else 0):
            states.append(state)
            changes.append((state * MULTIPLIER + increment - state) & FULL)
            state = (state * power + total * increment) & FULL
        self._states, self._changes = _wide(states), _wide(changes)

    def at(self, place: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
        """Return the bits at places from 0 on."""
        if not len(place) or place.max() < len(self._drawn):
            return self._drawn[place]
        stride, step = place >> STRIDE_BITS + 1, place >> 1 & STRIDE - 1
        upper, lower = _state(_picked(self._states, stride), _picked(self._changes, stride), step)
        # The output is the exclusive or of both halves, rotated to the right by the highest six bits.
        # An odd place has the highest bit of the output, an even one the highest of its lower half.
        turned = (upper >> np.uint64(58)) + ((place.view(np.uint64) << np.uint64(5)) + np.uint64(31))
        return ((upper ^ lower) >> (turned & np.uint64(63)) & np.uint64(1)).view(np.int64)


def _state(state: Wide, change: Wide, step: Int64[np.ndarray, "n"]) -> Wide:
    """Return states after `step` + 1 steps: one output more than the number of those before it."""
    upper, lower = _product(_picked(_sums(), step), change)
    low = lower + state[1]
    return upper + state[0] + (low < lower), low


def _product(a: Wide, b: Wide) -> Wide:
    """Return products modulo 2^128."""
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    a_upper, a_lower, b_upper, b_lower = a[1] >> half, a[1] & mask, b[1] >> half, b[1] & mask
    middle = a_upper * b_lower + (a_lower * b_lower >> half)
    other = a_lower * b_upper + (middle & mask)
    carried = a_upper * b_upper + (middle >> half) + (other >> half)
    return carried + a[0] * b[1] + a[1] * b[0], a[1] * b[1]


def _picked(numbers: Wide, index: Int64[np.ndarray, "n"]) -> Wide:
    return numbers[0][index], numbers[1][index]


def _wide(numbers: Sequence[int]) -> Wide:
    return np.array([x >> 64 for x in numbers], np.uint64), np.array([x & HALF for x in numbers], np.uint64)


@cache
def _sums() -> Wide:
    """Return 1 + M + … + M^j for each step j of a stride."""
    found, total = [], 0
    for _ in range(STRIDE):
        total = (total * MULTIPLIER + 1) & FULL
        found.append(total)
    return _wide(found)


@cache
def _jump() -> tuple[int, int]:
    """Return M^STRIDE and 1 + M + … + M^(STRIDE − 1)."""
    upper, lower = _sums()
    return pow(MULTIPLIER, STRIDE, 1 << 128), int(upper[-1]) << 64 | int(lower[-1])
