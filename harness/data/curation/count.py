"""What passes between two steps and what a step drops, counted by each task in a file of its own.

Nothing here imports datatrove: its executors take any function of documents, and its filters any writer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness.records.files import write_json

N_EXAMPLES = 10
EXCERPT = 300  # characters of an example
# Bounds of the table of lengths, in bytes.
LENGTHS = (256, 1_024, 4_096, 16_384, 65_536, 262_144)
KEPT, DROPPED = "kept", "dropped"


class Document(Protocol):
    """The part of datatrove's document that is used here."""

    text: str
    id: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Count:
    """Pass documents on, and write how many they were once all have passed.

    Attributes:
        folder: folder of the counts.
        step: name of the step before.
    """

    folder: str
    step: str

    def __call__(
        self,
        data: Iterable[Document],
        rank: int = 0,
        world_size: int = 1,  # noqa: ARG002
    ) -> Iterator[Document]:
        """Pass the documents of one task on."""
        n_documents = n_bytes = 0
        lengths = [[0, 0] for _ in range(len(LENGTHS) + 1)]
        languages: dict[str, list[int]] = {}
        for document in data:
            size = len(document.text.encode())
            n_documents, n_bytes = n_documents + 1, n_bytes + size
            _add(lengths[sum(size >= bound for bound in LENGTHS)], size)
            language = document.metadata.get("language")
            if isinstance(language, str):
                _add(languages.setdefault(language, [0, 0]), size)
            yield document
        content = {"documents": n_documents, "bytes": n_bytes, "lengths": lengths, "languages": languages}
        write_json(counts_file(self.folder, KEPT, self.step, rank), content)


@dataclass
class Dropped:
    """Exclusion writer of a filter: counts by reason, and a few examples drawn by hash.

    Attributes:
        folder: folder of the counts.
        step: name of the filter.
        reason: reason of a document for which the filter names none.
    """

    folder: str
    step: str
    reason: str = "dropped"
    rank: int = 0
    reasons: dict[str, list[int]] = field(default_factory=dict)
    languages: dict[str, list[int]] = field(default_factory=dict)
    examples: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __enter__(self) -> Dropped:
        self.reasons, self.languages, self.examples = {}, {}, []
        return self

    def write(self, document: Document, rank: int = 0) -> None:
        """Count a document that was dropped."""
        self.rank = rank
        reason = str(document.metadata.get("filter_reason") or self.reason)
        size = len(document.text.encode())
        _add(self.reasons.setdefault(reason, [0, 0]), size)
        language = document.metadata.get("language")
        if isinstance(language, str):
            _add(self.languages.setdefault(language, [0, 0]), size)
        # By hash, because the first documents of a file often come from one site.
        key = hashlib.sha1(f"{self.step} {document.text}".encode()).hexdigest()
        if len(self.examples) == N_EXAMPLES and key > self.examples[-1][0]:
            return
        example = {
            "id": document.id,
            "reason": reason,
            "bytes": size,
            "text": document.text[:EXCERPT],
            "url": str(document.metadata.get("url") or ""),
        }
        self.examples = sorted([*self.examples, (key, example)], key=lambda each: each[0])[:N_EXAMPLES]

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self.reasons:
            content = {"reasons": self.reasons, "languages": self.languages, "examples": self.examples}
            write_json(counts_file(self.folder, DROPPED, self.step, self.rank), content)


def counts_file(folder: str, what: str, step: str, rank: int) -> Path:
    """Return the file of one task; a task that is done again replaces it."""
    return Path(folder) / what / step / f"{rank:05d}.json"


def _add(count: list[int], size: int) -> None:
    count[0] += 1
    count[1] += size
