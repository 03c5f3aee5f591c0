"""Which documents stay, and on which side of the split, from what is known of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, UInt8, UInt64

from harness.data.streaming.folder import EVAL, TRAIN, Folder, read_facts, replacing, write_arrays
from harness.data.streaming.minhash import near_duplicates

# More text to score would cost memory and tell nothing new: what lies beyond is trained on.
MOST_EVAL_BYTES = 2**26


@dataclass(frozen=True)
class Documents:
    """What is known of every document, in the order of the blocks.

    Attributes:
        keys: hash of the text, which also decides on the side of the split.
        sizes: bytes of the text.
        characters: characters of the text.
        ends: number of documents up to the end of each block.
    """

    keys: UInt64[np.ndarray, "documents"]
    sizes: Int64[np.ndarray, "documents"]
    characters: Int64[np.ndarray, "documents"]
    ends: Int64[np.ndarray, "blocks"]

    def bounds(self, block: int) -> slice:
        """Return the places of the documents of a block."""
        return slice(int(self.ends[block - 1]) if block else 0, int(self.ends[block]))

    def by_key(self, chosen: Bool[np.ndarray, "documents"]) -> Int64[np.ndarray, "chosen"]:
        """Return the places of the chosen documents, in the order of their keys."""
        places = np.flatnonzero(chosen)
        return places[np.argsort(self.keys[places], kind="stable")]


@dataclass(frozen=True)
class Selection:
    """Side of every document, and the counts after each step.

    Attributes:
        sides: DROPPED, TRAIN or EVAL.
        steps: documents and bytes after each step.
    """

    sides: UInt8[np.ndarray, "documents"]
    steps: dict[str, Any]


def read_documents(blocks: list[Path]) -> Documents:
    """Return what is known of the documents of all blocks."""
    parts: dict[str, list[np.ndarray]] = {"keys": [], "sizes": [], "characters": []}
    for path in blocks:
        with np.load(path) as arrays:
            for name, found in parts.items():
                found.append(arrays[name])
    ends = np.cumsum([len(part) for part in parts["keys"]], dtype=np.int64)
    # One after the other, so that no more than one of them is there twice.
    keys, sizes, characters = (np.concatenate(parts.pop(name)) for name in ("keys", "sizes", "characters"))
    return Documents(keys, sizes, characters, ends)


def select(
    folder: Folder, blocks: list[Path], documents: Documents, eval_fraction: float, most_eval_bytes: int
) -> Selection:
    """Drop duplicates and split what is left; read the result of an earlier call if there is one.

    Of equal documents the first stays, of near duplicates the longest. A document is on the same side
    whatever else the corpus holds, except beyond `most_eval_bytes`.

    Args:
        folder: the folder of the preparation.
        blocks: files of the blocks.
        documents: what is known of their documents.
        eval_fraction: expected share of documents on the evaluation side, before leaks are dropped.
        most_eval_bytes: bytes of text to score, at most.
    """
    path = folder.selection
    if path.exists():
        with np.load(path) as arrays:
            return Selection(arrays["sides"], read_facts(path))
    exact = _first_of_equal(documents.keys)
    _join_signatures(folder, blocks)
    longest = np.argsort(-documents.characters, kind="stable").astype(np.int32)
    near = exact.copy()
    near[near_duplicates(folder.signatures, len(exact), longest[exact[longest]])] = False
    steps = {
        "without exact duplicates": _counts(documents, exact),
        "without near duplicates": _counts(documents, near),
    }
    sides = near.astype(np.uint8) * TRAIN
    held = documents.by_key(near & (documents.keys < np.uint64(int(eval_fraction * 2**64))))
    sides[held[np.cumsum(documents.sizes[held]) <= most_eval_bytes]] = EVAL
    write_arrays(path, steps, sides=sides)
    folder.signatures.unlink()
    return Selection(sides, steps)


def _first_of_equal(keys: UInt64[np.ndarray, "documents"]) -> np.ndarray:
    """Return which documents are the first of those with their key."""
    order = keys.argsort(kind="stable")
    ordered = keys[order]
    found = np.ones(len(keys), bool)
    found[order[1:][ordered[1:] == ordered[:-1]]] = False
    return found


def _join_signatures(folder: Folder, blocks: list[Path]) -> None:
    """Write the signatures of all documents into one file."""
    with replacing(folder.signatures) as temporary, temporary.open("wb") as file:
        for path in blocks:
            with np.load(path) as arrays:
                file.write(arrays["signatures"].data)


def _counts(documents: Documents, chosen: np.ndarray) -> dict[str, int]:
    return {"documents": int(chosen.sum()), "bytes": int(documents.sizes[chosen].sum())}
