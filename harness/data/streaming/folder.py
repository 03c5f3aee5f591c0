"""The folder of a preparation: every file in it is whole, so what is there need not be made again.

- `block-<file>-<block>.zst` and `.npz`: cleaned documents of a block, and what is known of each
- `file-<file>.json`: number of blocks of a file that was read to its end
- `selection.npz`: on which side of the split each document is
- `tokenizer.json`: the tokenizer that was learned
- `train-<piece>.bin` and `.npz`: tokens of a piece, and which held-out shingles it has
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

DROPPED, TRAIN, EVAL = 0, 1, 2  # sides of the split
LEVEL = 1  # of compression: a third of the size for 2 ms a megabyte


@dataclass(frozen=True)
class Folder:
    """The folder of one preparation, with every file name in it."""

    root: Path

    @property
    def signatures(self) -> Path:
        """File of the signatures of all documents."""
        return self.root / "signatures.bin"

    @property
    def shingles(self) -> Path:
        """File of the shingles that are looked for in the training text."""
        return self.root / "held_out_shingles.npy"

    def blocks_of(self, file: int) -> Path:
        """File with the number of blocks of a file."""
        return self.root / f"file-{file:06d}.json"

    def block(self, file: int, block: int) -> Path:
        """File of what is known of a block, written after its texts."""
        return self.root / f"block-{file:06d}-{block:06d}.npz"

    @property
    def selection(self) -> Path:
        """File of the sides of all documents."""
        return self.root / "selection.npz"

    @property
    def tokenizer(self) -> Path:
        """File of the tokenizer that was learned."""
        return self.root / "tokenizer.json"

    def tokens(self, piece: int) -> Path:
        """File of the tokens of a piece."""
        return self.root / f"train-{piece:05d}.bin"

    def piece(self, piece: int) -> Path:
        """File of what is known of a piece, written after its tokens."""
        return self.root / f"train-{piece:05d}.npz"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name for a file, which becomes `path` at the end."""
    temporary = path.with_name(f"{path.name}.partial")
    yield temporary
    temporary.replace(path)


def write_texts(path: Path, texts: list[bytes]) -> None:
    """Write the texts of a block beside `path`, compressed and without marks between them."""
    with replacing(path.with_suffix(".zst")) as temporary:
        temporary.write_bytes(zstandard.compress(b"".join(texts), LEVEL))


def read_texts(path: Path, sizes: np.ndarray, chosen: np.ndarray) -> list[bytes]:
    """Return the chosen texts of a block.

    Args:
        path: file of the block.
        sizes: bytes of each text.
        chosen: which texts, as a mask.
    """
    data = zstandard.decompress(path.with_suffix(".zst").read_bytes())
    ends = np.cumsum(sizes)
    return [data[ends[i] - sizes[i] : ends[i]] for i in np.flatnonzero(chosen)]


def write_arrays(path: Path, facts: dict[str, Any], **arrays: np.ndarray) -> None:
    """Write arrays and facts in one file."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        packed = {"facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)} | arrays
        np.savez(file, allow_pickle=False, **packed)


def read_facts(path: Path) -> Any:
    """Return the facts of a file of arrays."""
    with np.load(path) as arrays:
        return json.loads(arrays["facts"].tobytes())
