"""Remove duplicates, and keep training and evaluation text apart.

A document is a set of shingles: hashes of every SHINGLE_WORDS consecutive words. MinHash estimates the
likeness of pairs; here whole sets are compared with the union of everything kept before, so that a file half
copied from two others is found too.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Int64, UInt64

from harness.data.text.corpora import Document

SHINGLE_WORDS = 8
# Share of its shingles that a document may have in common with the text kept before it, and that an
# evaluation document may have in common with the training text.
MAX_SHARED = 0.5
MAX_LEAKED = 0.25
SPLIT_KEY = b"evaluation split 1"
# Odd multiplier of the polynomial hash (Knuth's MMIX generator).
MULTIPLIER = np.uint64(6364136223846793005)


@dataclass(frozen=True)
class Shingles:
    """Numbers of each document's shingles, by document name; equal shingles have equal numbers."""

    ids: dict[str, Int64[np.ndarray, "shingles"]]
    n_distinct: int


@dataclass(frozen=True)
class Split:
    train: list[Document]
    eval: list[Document]
    # Evaluation documents dropped because training documents contain much of them.
    n_leaks: int


def drop_exact(documents: list[Document]) -> list[Document]:
    """Keep the first of all documents with the same text."""
    first: dict[str, Document] = {}
    for document in documents:
        first.setdefault(document.text, document)
    return list(first.values())


def shingle(documents: list[Document]) -> Shingles:
    """Number the shingles of all documents together."""
    if not documents:
        return Shingles({}, 0)
    hashes = [_shingle_hashes(document.text) for document in documents]
    ids, distinct = pd.factorize(np.concatenate(hashes))
    parts = np.split(ids, np.cumsum([len(h) for h in hashes])[:-1])
    names = [document.name for document in documents]
    return Shingles(dict(zip(names, parts, strict=True)), len(distinct))


def drop_near(documents: list[Document], shingles: Shingles) -> list[Document]:
    """Keep documents of which at most MAX_SHARED has been seen before, in the order given.

    The longest come first, so that a part meets its whole.
    """
    seen = np.zeros(shingles.n_distinct, bool)
    kept = set()
    for document in sorted(documents, key=lambda d: (-len(d.text), d.name)):
        ids = shingles.ids[document.name]
        if seen[ids].mean() <= MAX_SHARED:
            seen[ids] = True
            kept.add(document.name)
    return [document for document in documents if document.name in kept]


def split_documents(documents: list[Document], shingles: Shingles, eval_fraction: float) -> Split:
    """Split by a keyed hash of the text, which also orders both sides; drop leaks from the evaluation side.

    A document stays on its side whatever else is in the corpus, and neighbours by name are scattered.
    """
    keyed = sorted(((_split_key(d.text), d) for d in documents), key=lambda pair: pair[0])
    bound = int(eval_fraction * 2**64)
    train = [document for key, document in keyed if key >= bound]
    held_out = [document for key, document in keyed if key < bound]
    seen = np.zeros(shingles.n_distinct, bool)
    for document in train:
        seen[shingles.ids[document.name]] = True
    apart = [d for d in held_out if seen[shingles.ids[d.name]].mean() <= MAX_LEAKED]
    return Split(train, apart, len(held_out) - len(apart))


def _shingle_hashes(text: str) -> UInt64[np.ndarray, "shingles"]:
    """64-bit hash of every SHINGLE_WORDS consecutive words; of all words where there are fewer."""
    words = np.fromiter(map(zlib.crc32, text.encode("utf-8").split()), np.uint64)
    count = max(len(words) - SHINGLE_WORDS, 0) + 1
    hashes = np.zeros(count, np.uint64)
    for offset in range(min(SHINGLE_WORDS, len(words))):
        hashes = hashes * MULTIPLIER + words[offset : offset + count]
    return hashes


def _split_key(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8, key=SPLIT_KEY)
    return int.from_bytes(digest.digest(), "big")
