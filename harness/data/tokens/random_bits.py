"""Bits that NumPy's generator PCG64 draws, each found by its place without those before it.

The state of a linear congruential generator after j steps is s + d·(1 + M + … + M^(j−1)), d being the
change of the first step. These sums are a table that all seeds share. So a state far on costs
one product of 128 bits, and one call finds bits of many seeds.

References: O'Neill 2014, "PCG", HMC-CS-2014-0905 (XSL RR 128/64); Brown 1994, "Random number generation with
arbitrary strides" (jumps).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property, lru_cache
from typing import TypeAlias, cast

import numpy as np
from jaxtyping import Int64

Words: TypeAlias = np.ndarray  # 64-bit, unsigned
Wide: TypeAlias = tuple[Words, Words]  # upper and lower halves of numbers of 128 bits
MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
FULL, HALF = (1 << 128) - 1, (1 << 64) - 1
STRIDE_BITS = 18
STRIDE = 1 << STRIDE_BITS  # steps between two states that are kept
DRAWN = 1 << 12  # bits that are drawn one after the other: up to there this is faster


class RandomBits:
    """The bits that `default_rng(seed).integers(0, 2, n)` draws for each of several seeds.

    Args:
        seeds: entropy of each generator.
        n: how many bits of each may be asked for.

    >>> bits = RandomBits([[3, 0], [3, 1]], 4)
    >>> bits.at(np.zeros(4, int), np.arange(4)).tolist(), bits.at(np.ones(4, int), np.arange(4)).tolist()
    ([1, 0, 0, 0], [1, 0, 1, 0])
    >>> np.random.default_rng([3, 0]).integers(0, 2, 4).tolist()
    [1, 0, 0, 0]
    """

    def __init__(self, seeds: Sequence[Sequence[int]], n: int):
        self._n_drawn = min(n + n % 2, DRAWN)
        self._n_strides = -(-n // (2 * STRIDE))
        begun = [_begun(tuple(seed)) for seed in seeds]
        self._first = np.array([first for first, _ in begun], np.uint64)
        # Of each 64 bits the generator uses the highest of the lower half, then that of the upper half.
        raw = np.concatenate([raw[: self._n_drawn // 2] for _, raw in begun])
        self._drawn = raw.astype("<u8", copy=False).view("<u4")

    def at(self, seed: Int64[np.ndarray, "..."], place: Int64[np.ndarray, "..."]) -> Int64[np.ndarray, "..."]:
        """Return the bits at places from 0 on; `seed` has the number of the seed of each."""
        if not place.size or place.max() < self._n_drawn:
            return self._drawn[seed * self._n_drawn + place].astype(np.int64) >> 31
        stride, step = seed * self._n_strides + (place >> STRIDE_BITS + 1), place >> 1 & STRIDE - 1
        states, changes = self._strides
        upper, lower = _sum(
            _picked(states, stride), _product(_picked(_sums(), step), _picked(changes, stride))
        )
        # The output is the exclusive or of both halves, rotated to the right by the highest six bits.
        # An odd place has the highest bit of the output, an even one the highest of its lower half.
        turned = (upper >> np.uint64(58)) + ((place.view(np.uint64) << np.uint64(5)) + np.uint64(31))
        return ((upper ^ lower) >> (turned & np.uint64(63)) & np.uint64(1)).view(np.int64)

    @cached_property
    def _strides(self) -> tuple[Wide, Wide]:
        """State of each seed before each stride, and its change in the first step from there."""
        upper, lower, d_upper, d_lower = self._first.T
        if self._n_strides == 1:
            return (upper, lower), (d_upper, d_lower)
        sums, powers = _jumps(self._n_strides)
        one, d = _column((upper, lower)), _column((d_upper, d_lower))
        return _flat(_sum(one, _product(sums, d))), _flat(_product(powers, d))


# One for each source of a mixture: when one of them begins an epoch, the others are in memory.
@lru_cache(maxsize=64)
def _begun(seed: tuple[int, ...]) -> tuple[tuple[int, int, int, int], Words]:
    """Return the first state of a generator and its first change, each in halves, and the first numbers."""
    generator = np.random.PCG64(np.random.SeedSequence(seed))
    inner = cast("dict[str, int]", generator.state["state"])
    state = inner["state"]
    change = (state * (MULTIPLIER - 1) + inner["inc"]) & FULL
    return (state >> 64, state & HALF, change >> 64, change & HALF), generator.random_raw(DRAWN // 2)


def _sum(a: Wide, b: Wide) -> Wide:
    """Return sums modulo 2^128."""
    lower = a[1] + b[1]
    return a[0] + b[0] + (lower < a[1]), lower


def _product(a: Wide, b: Wide) -> Wide:
    """Return products modulo 2^128."""
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    a_upper, a_lower, b_upper, b_lower = a[1] >> half, a[1] & mask, b[1] >> half, b[1] & mask
    middle = a_upper * b_lower + (a_lower * b_lower >> half)
    other = a_lower * b_upper + (middle & mask)
    carried = a_upper * b_upper + (middle >> half) + (other >> half)
    return carried + a[0] * b[1] + a[1] * b[0], a[1] * b[1]


def _picked(numbers: Wide, index: Int64[np.ndarray, "..."]) -> Wide:
    return numbers[0][index], numbers[1][index]


def _column(numbers: Wide) -> Wide:
    return numbers[0][:, None], numbers[1][:, None]


def _flat(numbers: Wide) -> Wide:
    return numbers[0].ravel(), numbers[1].ravel()


def _wide(numbers: Sequence[int]) -> Wide:
    return np.array([x >> 64 for x in numbers], np.uint64), np.array([x & HALF for x in numbers], np.uint64)


@cache
def _sums() -> Wide:
    """Return 1 + M + … + M^j for each step j of a stride."""
    found, power, total = _wide([1]), MULTIPLIER, 1
    for _ in range(STRIDE_BITS):
        # What is known of the first steps, as many steps on.
        later = _sum(_wide([total]), _product(found, _wide([power])))
        found = np.concatenate([found[0], later[0]]), np.concatenate([found[1], later[1]])
        power, total = power * power & FULL, (total * power + total) & FULL
    return found


@cache
def _jumps(n: int) -> tuple[Wide, Wide]:
    """Return 1 + M + … + M^(j − 1) and M^j for j of 0, STRIDE, …, (n − 1)·STRIDE."""
    upper, lower = _sums()
    power, total = pow(MULTIPLIER, STRIDE, 1 << 128), int(upper[-1]) << 64 | int(lower[-1])
    sums, powers = [0], [1]
    for _ in range(n - 1):
        sums.append((sums[-1] * power + total) & FULL)
        powers.append(powers[-1] * power & FULL)
    return _wide(sums), _wide(powers)
