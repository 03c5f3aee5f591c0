"""A document of a corpus, and the account of those that were left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from harness.records.errors import printable


@dataclass(frozen=True)
class Document:
    """A text with a name that is unique in its corpus.

    The text may hold lone surrogates, for bytes that are no UTF-8 and for halves of characters in JSON.
    Cleaning drops such a document.
    """

    name: str
    text: str


@dataclass(frozen=True)
class Unusable:
    """A record without a text.

    Attributes:
        name: its file and line, as in a Document.
        reason: why, in words that many records share.
        detail: what came instead; empty if the reason says it all.
    """

    name: str
    reason: str
    detail: str = ""


Item = TypeVar("Item", "Document", "Document | Unusable")


@dataclass
class Dropped:
    """Documents that were left out.

    Attributes:
        counts: their number by reason.
        first: where the first of them stands, by reason.
    """

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, place: str) -> None:
        """Count one document."""
        self.counts[reason] += 1
        # Names of files and fields come from outside, and a terminal obeys some characters.
        self.first.setdefault(reason, printable(place))

    def in_words(self, with_places: bool) -> str:
        """Return the counts in words, the most frequent reason first, and on demand the first places."""
        return ", ".join(
            f"{reason} {count:,}" + (f" (first: {self.first[reason]})" if with_places else "")
            for reason, count in self.counts.most_common()
        )


@dataclass
class Tally:
    """Number and size of the documents that pass from one step to the next.

    Attributes:
        documents: documents so far.
        bytes: bytes of their texts in UTF-8.
    """

    documents: int = 0
    bytes: int = 0

    def watch(self, documents: Iterable[Item]) -> Iterator[Item]:
        """Yield the documents as they come, and count them."""
        for document in documents:
            self.documents += 1
            if isinstance(document, Document):
                self.bytes += n_bytes(document.text)
            yield document


def n_bytes(text: str) -> int:
    """Return the length of a text in UTF-8; a lone surrogate counts as the three bytes it would have."""
    return len(text.encode("utf-8", "surrogatepass"))
