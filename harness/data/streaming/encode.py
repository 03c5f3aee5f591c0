"""Tokens of the documents to train on, one piece of some blocks at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from harness.data.streaming.folder import TRAIN, Folder, read_texts, replacing, write_arrays
from harness.data.text.file_tokenizer import AnyTokenizer
from harness.data.text.hashes import Lookup, shingle_hashes

# Encoded at once: the library keeps a hundred bytes for each token.
BATCH_CHARACTERS = 2**20


@dataclass(frozen=True)
class Piece:
    """Some blocks whose tokens become one file.

    Attributes:
        root: folder of the preparation.
        number: number of the piece.
        blocks: files of its blocks.
        sides: on which side each of their documents is, by block.
        tokenizer: encodes the documents.
    """

    root: Path
    number: int
    blocks: list[Path]
    sides: list[np.ndarray]
    tokenizer: AnyTokenizer


def encode(piece: Piece) -> int:
    """Write the tokens of a piece, and which held-out shingles it has; return the bytes of its text."""
    folder = Folder(piece.root)
    lookup = _looked_for(folder.shingles, folder.shingles.stat().st_mtime_ns)
    n_tokens = n_bytes = 0
    seen = []
    with replacing(folder.tokens(piece.number)) as temporary, temporary.open("wb") as file:
        for block, sides in zip(piece.blocks, piece.sides, strict=True):
            for texts in _batches(block, sides == TRAIN):
                tokens = piece.tokenizer.encode(texts)
                file.write(np.ascontiguousarray(tokens).data)
                n_tokens += len(tokens)
                n_bytes += sum(len(text.encode()) for text in texts)
                seen.append(lookup.found(np.concatenate([shingle_hashes(text) for text in texts]))[0])
    found = np.unique(np.concatenate([*seen, np.zeros(0, np.int64)])).astype(np.int32)
    write_arrays(folder.piece(piece.number), {"tokens": n_tokens, "bytes": n_bytes}, seen=found)
    return n_bytes


def _batches(block: Path, chosen: np.ndarray) -> Iterator[list[str]]:
    """Yield the chosen texts of a block, some at a time."""
    with np.load(block) as arrays:
        sizes = arrays["sizes"]
    batch: list[str] = []
    length = 0
    for data in read_texts(block, sizes, chosen):
        batch.append(data.decode())
        length += len(batch[-1])
        if length >= BATCH_CHARACTERS:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


@lru_cache(maxsize=1)
def _looked_for(path: Path, _written_ns: int) -> Lookup:
    """Return the shingles of a file, kept for the next piece of text."""
    return Lookup(np.load(path, mmap_mode="r"))
