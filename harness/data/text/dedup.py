"""Deduplication, and a split that keeps evaluation text out of the training text.

A shingle is the hash of SHINGLE_WORDS consecutive words. A document's containment is the share of its
shingles that other text has too. MinHash estimates the resemblance of pairs of documents. Here all shingles
of a document are compared with the union of all documents kept before, so a file pasted together from two
others is found too.

References: Broder 1997, "On the resemblance and containment of documents"; Lee et al., arXiv:2107.06499
(duplicates in training sets of language models).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Int64, UInt64

from harness.data.text.document import Document

# Eight words in a row are rarely shared by chance, and small edits leave most shingles as they were.
SHINGLE_WORDS = 8
# Largest containment of a document in the text kept before it, and of an evaluation document in the training
# text. The second is stricter, because a leak lowers the very loss that is measured.
MAX_SHARED = 0.5
MAX_LEAKED = 0.25
# Part of what a corpus is: another key is another split.
SPLIT_KEY = b"evaluation split 1"
# Multiplier of the polynomial hash (Knuth's MMIX generator); odd, so multiplying modulo 2^64 loses no bit.
MULTIPLIER = np.uint64(6364136223846793005)


@dataclass(frozen=True)
class Shingles:
    """Shingles of all documents; equal shingles have equal numbers.

    Attributes:
        ids: numbers of a document's shingles, by the document's name.
        n_distinct: number of different shingles.
    """

    ids: dict[str, Int64[np.ndarray, "shingles"]]
    n_distinct: int


@dataclass(frozen=True)
class Split:
    """Documents on both sides of the split.

    Attributes:
        train: documents to train on.
        eval: documents to score.
        n_leaks: evaluation documents that were dropped because the training text contains much of them.
    """

    train: list[Document]
    eval: list[Document]
    n_leaks: int


def drop_exact(documents: Iterable[Document]) -> list[Document]:
    """Keep the first of all documents with the same text.

    >>> documents = [Document("a", "one"), Document("b", "two"), Document("c", "one")]
    >>> [document.name for document in drop_exact(documents)]
    ['a', 'b']
    """
    first: dict[str, Document] = {}
    for document in documents:
        first.setdefault(document.text, document)
    return list(first.values())


def shingle(documents: list[Document]) -> Shingles:
    """Number the shingles of all documents together.

    >>> words = [f"word{number}" for number in range(20)]
    >>> shingles = shingle([Document("whole", " ".join(words)), Document("part", " ".join(words[:10]))])
    >>> {name: len(ids) for name, ids in shingles.ids.items()}, shingles.n_distinct
    ({'whole': 13, 'part': 3}, 13)
    """
    if not documents:
        return Shingles({}, 0)
    hashes = [_shingle_hashes(document.text) for document in documents]
    ids, distinct = pd.factorize(np.concatenate(hashes))
    parts = np.split(ids, np.cumsum([len(h) for h in hashes])[:-1])
    names = [document.name for document in documents]
    return Shingles(dict(zip(names, parts, strict=True)), len(distinct))


def drop_near(documents: list[Document], shingles: Shingles) -> list[Document]:
    """Keep the documents of which at most MAX_SHARED was seen before, in the order given.

    >>> words = [f"word{number}" for number in range(20)]
    >>> documents = [Document("part", " ".join(words[:10])), Document("whole", " ".join(words))]
    >>> [document.name for document in drop_near(documents, shingle(documents))]
    ['whole']
    """
    seen = np.zeros(shingles.n_distinct, bool)
    kept = set()
    # Longest first, so that a part meets the whole that contains it; names make the order definite.
    for document in sorted(documents, key=lambda d: (-len(d.text), d.name)):
        ids = shingles.ids[document.name]
        if seen[ids].mean() <= MAX_SHARED:
            seen[ids] = True
            kept.add(document.name)
    return [document for document in documents if document.name in kept]


def split_documents(documents: list[Document], shingles: Shingles, eval_fraction: float) -> Split:
    """Split by a keyed hash of the text, and drop leaks from the evaluation side.

    A document is on the same side whatever else the corpus holds. The hash also orders both sides, so
    documents with neighbouring names are scattered.

    Args:
        documents: deduplicated documents.
        shingles: their shingles.
        eval_fraction: expected share of documents on the evaluation side, before leaks are dropped.
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


def is_held_out(text: str, eval_fraction: float) -> bool:
    """Return whether `split_documents` puts a document with this text on the evaluation side."""
    return _split_key(text) < int(eval_fraction * 2**64)


def _shingle_hashes(text: str) -> UInt64[np.ndarray, "shingles"]:
    """Return a 64-bit hash of every SHINGLE_WORDS consecutive words; of all words if there are fewer."""
    # CRC-32 and not hash(), which Python salts anew in every process.
    words = np.fromiter(map(zlib.crc32, text.encode("utf-8").split()), np.uint64)
    count = max(len(words) - SHINGLE_WORDS, 0) + 1
    hashes = np.zeros(count, np.uint64)
    # All shingles at once: Horner's rule over the words of a shingle. Sums wrap modulo 2^64.
    for offset in range(min(SHINGLE_WORDS, len(words))):
        hashes = hashes * MULTIPLIER + words[offset : offset + count]
    return hashes


def _split_key(text: str) -> int:
    """Return a keyed hash of the text, uniform over 64 bits."""
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8, key=SPLIT_KEY)
    return int.from_bytes(digest.digest(), "big")
