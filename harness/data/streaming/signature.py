"""MinHash signatures of documents, of one hash a shingle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt16, UInt64

from harness.data.text.hashes import GAMMA, mix

N_VALUES = 128
ROWS = 4  # values of a band: together 64 bits
BIN_BITS = 57  # bits of a hash that are compared; the others name the bin
EMPTY = np.uint64(2**64 - 1)


def signatures(shingles: Sequence[UInt64[np.ndarray, "shingles"]]) -> UInt16[np.ndarray, "documents values"]:
    """Return the signature of each document.

    Args:
        shingles: hashes of the shingles of each document, at least one.
    """
    found = np.full((len(shingles), N_VALUES), EMPTY)
    hashes = np.concatenate([*shingles, np.zeros(0, np.uint64)])
    document = np.repeat(np.arange(len(shingles)), [len(each) for each in shingles])
    left = np.arange(len(shingles))  # documents with empty bins
    # A round throws each shingle into one bin. Bins that a round left empty get a minimum in the next one, so
    # that short documents too have N_VALUES independent minima.
    for turn in range(2 * N_VALUES):
        words = mix(hashes + np.uint64((turn + 1) * int(GAMMA) % 2**64))
        # After many rounds bins are filled in turn, so that there is an end.
        bins = (words >> np.uint64(BIN_BITS)).astype(np.int64) if turn < N_VALUES else turn - N_VALUES
        minima = np.full((len(left), N_VALUES), EMPTY)
        np.minimum.at(minima.ravel(), document * N_VALUES + bins, words & np.uint64(2**BIN_BITS - 1))
        filled = np.where(found[left] == EMPTY, minima, found[left])
        found[left] = filled
        empty = (filled == EMPTY).any(1)
        hashes, document = hashes[empty[document]], (np.cumsum(empty) - 1)[document[empty[document]]]
        left = left[empty]
        if len(left) == 0:
            break
    # The lowest bits of a minimum are random; 16 of them agree by chance once in 65,536.
    return (found & np.uint64(2**16 - 1)).astype("<u2")
