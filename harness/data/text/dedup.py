"""Deduplication, and a split that keeps evaluation text out of the training text.

A shingle is the hash of SHINGLE_WORDS consecutive words. A document's containment is the share of its
shingles that other text has too. MinHash estimates the resemblance of pairs of documents. Here all shingles
of a document are compared with the union of all documents kept before, so a file pasted together from two
others is found too.

References: Broder 1997, "On the resemblance and containment of documents"; Lee et al., arXiv:2107.06499
(duplicates in training sets of language models).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Int64

from harness.data.text.document import Document
from harness.data.text.hashes import shingle_hashes, split_key

# Largest containment of a document in the text kept before it, and of an evaluation document in the training
# text. The second is stricter, because a leak lowers the very loss that is measured.
MAX_SHARED = 0.5
MAX_LEAKED = 0.25


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
    hashes = [shingle_hashes(document.text) for document in documents]
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
    keyed = sorted(((split_key(d.text), d) for d in documents), key=lambda pair: pair[0])
    bound = int(eval_fraction * 2**64)
    train = [document for key, document in keyed if key >= bound]
    held_out = [document for key, document in keyed if key < bound]
    seen = np.zeros(shingles.n_distinct, bool)
    for document in train:
        seen[shingles.ids[document.name]] = True
    apart = [d for d in held_out if seen[shingles.ids[d.name]].mean() <= MAX_LEAKED]
    return Split(train, apart, len(held_out) - len(apart))
