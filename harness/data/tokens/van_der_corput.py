"""Owen-scrambled van der Corput order: every stretch reads all parts of the corpus about equally.

This is the van der Corput sequence in base 2 with nested random flips. Any 2^k windows in a row fall one into
each of 2^k equal parts of the corpus, if the number of windows is a power of two. So short runs of different
seeds read the same mixture of documents. Any position is found at once: flips are found by their place, and
the numbers that are skipped can be counted. Epochs of several sources are read in one call, because calls
cost more than numbers.

References: Owen 1995, "Randomly permuted (t,m,s)-nets", section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from harness.data.tokens.owen_scrambling import owen_scrambled
from harness.data.tokens.random_bits import RandomBits

NEVER, NEVER_BITS = 1 << 61, 62  # residue and exponent of a class without places


class Epoch(NamedTuple):
    """One reading of the windows of a corpus.

    Attributes:
        n_windows: windows of the epoch.
        seed: seed of the run.
        number: number of the epoch, from 0.
    """

    n_windows: int
    seed: int
    number: int


@dataclass(frozen=True)
class VanDerCorput:
    """Owen-scrambled van der Corput orders of the windows of some epochs.

    Attributes:
        epochs: the epochs.

    >>> VanDerCorput((Epoch(5, 0, 0), Epoch(3, 0, 1))).windows([0, 1], [5, 2])
    array([2, 4, 0, 3, 1, 2, 0])
    """

    epochs: tuple[Epoch, ...]

    def windows(self, first: Sequence[int], n: Sequence[int]) -> Int64[np.ndarray, "windows"]:
        """Return the windows at positions `first` to `first + n` − 1 of each epoch, one after the other."""
        start = np.array(first)
        begin, end = self._place(np.array([start, start + n]))
        size = end - begin
        epoch = np.arange(len(size)).repeat(size)
        place = np.arange(1, len(epoch) + 1) + (begin - (size.cumsum() - size)).repeat(size)
        row = epoch[:, None]
        window = owen_scrambled(place, self._most_bits, lambda node: self._flips.at(row, node - 1))
        # Bits beyond those of an epoch's own windows come last.
        window >>= (self._most_bits - self._n_bits)[epoch]
        # A place whose window does not exist is skipped, which keeps the rest spread nearly as evenly.
        return window[window < self._n_windows[epoch]]

    @cached_property
    def _n_windows(self) -> Int64[np.ndarray, "epochs"]:
        return np.array([epoch.n_windows for epoch in self.epochs])

    @cached_property
    def _n_bits(self) -> Int64[np.ndarray, "epochs"]:
        return np.array([(epoch.n_windows - 1).bit_length() for epoch in self.epochs])

    @cached_property
    def _most_bits(self) -> int:
        return int(self._n_bits.max())

    @cached_property
    def _flips(self) -> RandomBits:
        """Flips of all prefixes of a window number: of the empty one, of 0 and 1, of 00 to 11, and so on."""
        seeds = [(epoch.seed, epoch.number) for epoch in self.epochs]
        return RandomBits(seeds, max((1 << self._most_bits) - 1, 1))

    def _place(self, position: Int64[np.ndarray, "rows epochs"]) -> Int64[np.ndarray, "rows epochs"]:
        """Return a place of each epoch up to which it has `position` windows."""
        place = (position << self._n_bits) // self._n_windows - 1
        # The count is off by a few. It moves by one at most from place to place, so this goes too far in
        # neither direction.
        while (missing := position - self._n_up_to(place)).any():
            place += missing
        return place

    def _n_up_to(self, place: Int64[np.ndarray, "rows epochs"]) -> Int64[np.ndarray, "rows epochs"]:
        """Return how many of the places up to `place` are not skipped."""
        low, exponent = self._classes
        return place + 1 - ((place[..., None] - low >> exponent) + 1).sum(-1)

    @cached_property
    def _classes(self) -> tuple[Int64[np.ndarray, "epochs bits"], Int64[np.ndarray, "epochs bits"]]:
        """Places that are skipped, as residues modulo powers of two: residues, and exponents.

        A number beyond the last window's differs from it first in a bit that is 0 there. Places of all such
        numbers share the bits up to that one. A bit that is 1 stands for a class without places.
        """
        level = np.arange(self._most_bits)
        n_bits, last = self._n_bits[:, None], self._n_windows[:, None] - 1
        # Zeros below the last bit stand for levels that an epoch does not have.
        last = last << self._most_bits - n_bits
        node = (last | 1 << self._most_bits) >> self._most_bits - level
        flip = self._flips.at(np.arange(len(self.epochs))[:, None], node - 1)
        bit = last >> self._most_bits - level - 1 & 1
        turned = (bit ^ flip) << level
        low = turned.cumsum(axis=1) - turned | (1 ^ flip) << level
        skipped = (bit == 0) & (level < n_bits)
        return np.where(skipped, low, NEVER), np.where(skipped, level + 1, NEVER_BITS)


# The epochs of all sources of a mixture, and those with the next epoch of some.
van_der_corput = lru_cache(maxsize=64)(VanDerCorput)
