"""Documents that are held out, and what of them the training text has too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from harness.data.streaming.folder import Folder, replacing
from harness.data.text.dedup import MAX_LEAKED
from harness.data.text.hashes import shingle_hashes


@dataclass(frozen=True)
class HeldOut:
    """Texts to score, in the order of their keys.

    Attributes:
        texts: the texts.
        ids: numbers of the shingles of each text.
        n_distinct: number of different shingles.
    """

    texts: list[str]
    ids: list[Int64[np.ndarray, "shingles"]]
    n_distinct: int

    def apart(self, seen: Bool[np.ndarray, "distinct"]) -> list[str]:
        """Return the texts of which training text has at most MAX_LEAKED."""
        return [t for t, ids in zip(self.texts, self.ids, strict=True) if seen[ids].mean() <= MAX_LEAKED]


def hold_out(folder: Folder, texts: list[str]) -> HeldOut:
    """Number the shingles of held-out texts and write them to be looked for."""
    hashes = [shingle_hashes(text) for text in texts]
    distinct = np.unique(np.concatenate([*hashes, np.zeros(0, np.uint64)]))
    with replacing(folder.shingles) as temporary, temporary.open("wb") as file:
        np.save(file, distinct)
    return HeldOut(texts, [np.searchsorted(distinct, each) for each in hashes], len(distinct))
