"""Random order of windows in which every stretch reads all parts of the corpus about equally.

This is the van der Corput sequence in base 2 with nested random flips. Any 2^k windows in a row fall one into
each of 2^k equal parts of the corpus, if the number of windows is a power of two. So short runs of different
seeds read the same mixture of documents. Any position is found at once: flips are found by their place, and
the numbers that are skipped can be counted.

References: Owen 1995, "Randomly permuted (t,m,s)-nets", section 3.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Int64

from harness.data.tokens.random_bits import RandomBits

TABLED = 9  # bits of a window number that are looked up


@dataclass(frozen=True)
class Spread:
    """Order of the windows of one epoch.

    Attributes:
        n_windows: windows of the epoch.
        seed: seed of the run.
        epoch: number of the epoch, from 0.

    >>> Spread(n_windows=5, seed=0, epoch=0).windows(0, 5)
    array([2, 4, 0, 3, 1])
    """

    n_windows: int
    seed: int
    epoch: int

    def windows(self, first: int, n: int) -> Int64[np.ndarray, "n"]:
        """Return the windows at the positions `first` to `first + n` − 1, all below `n_windows`."""
        if n < 1:
            return np.zeros(0, np.int64)
        begin = self._place(first, 0, 1 << self._n_bits)
        # At most every second place is skipped.
        end = self._place(first + n - 1, begin, begin + 2 * n)
        places = np.arange(begin, end + 1)
        # A place whose window does not exist is skipped, which keeps the rest spread nearly as evenly.
        window = self._flipped(places)
        return window[window < self.n_windows]

    @cached_property
    def _n_bits(self) -> int:
        return int(self.n_windows - 1).bit_length()

    @cached_property
    def _flips(self) -> RandomBits:
        """Flips of all prefixes of a window number: of the empty one, of 0 and 1, of 00 to 11, and so on."""
        return RandomBits([self.seed, self.epoch], (1 << self._n_bits) - 1)

    def _flipped(self, place: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
        """Return reversed bits of places, each flipped at random by the bits before it."""
        tabled = len(self._beginnings).bit_length() - 1
        window = self._beginnings[place & len(self._beginnings) - 1]
        for level in range(tabled, self._n_bits):
            flip = self._flips.at((1 << level) - 1 + window)
            window = window << 1 | (place >> level & 1) ^ flip
        return window

    @cached_property
    def _beginnings(self) -> Int64[np.ndarray, "beginnings"]:
        """First bits of the window at a place, by the last bits of the place."""
        window = np.zeros(1, np.int64)
        for level in range(min(self._n_bits, TABLED)):
            flipped = window << 1 | self._flips.at((1 << level) - 1 + window)
            window = np.concatenate([flipped, flipped ^ 1])
        return window

    def _place(self, position: int, low: int, high: int) -> int:
        """Return the place, from `low` to below `high`, of the window at a position."""
        return bisect_left(range(high), position + 1, low, key=self._n_up_to)

    def _n_up_to(self, place: int) -> int:
        """Return how many of the places up to `place` are not skipped."""
        return place + 1 - sum((place - low >> bits) + 1 for low, bits in self._classes)

    @cached_property
    def _classes(self) -> list[tuple[int, int]]:
        """Places that are skipped, as residues modulo powers of two: (residue, exponent).

        A number beyond the last window's differs from it first in a bit that is 0 there. Places of all such
        numbers share the bits up to that one.
        """
        level = np.arange(self._n_bits)
        prefix = self.n_windows - 1 >> self._n_bits - level
        flips = self._flips.at((1 << level) - 1 + prefix)
        bits = self.n_windows - 1 >> self._n_bits - level - 1 & 1
        found, low = [], 0
        for exponent, (bit, flip) in enumerate(zip(bits.tolist(), flips.tolist(), strict=True)):
            if not bit:
                found.append((low | (1 ^ flip) << exponent, exponent + 1))
            low |= (bit ^ flip) << exponent
        return found


# One for each source of a mixture, and the next epoch of each.
spread = lru_cache(maxsize=64)(Spread)
