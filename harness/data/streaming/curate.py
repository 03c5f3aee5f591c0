"""One block of records into cleaned documents, with what is needed to find duplicates among all blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.streaming.folder import Folder, read_facts, write_arrays, write_texts
from harness.data.streaming.signature import signatures
from harness.data.text.clean import TEXT_LIMITS, clean
from harness.data.text.document import Dropped, Tally
from harness.data.text.hashes import shingle_hashes, split_key
from harness.data.text.parse import Raw, Record, parse


@dataclass(frozen=True)
class Block:
    """Some records of a file in a row.

    Attributes:
        file: number of the file.
        number: number of the block in the file.
        name: name of the file.
        first: number of the first record, from 1.
        records: the records, as they stand in the file.
    """

    file: int
    number: int
    name: str
    first: int
    records: list[Raw]


@dataclass
class Curation:
    """Counts of cleaning.

    Attributes:
        read: what was in the files.
        cleaned: what is worth learning.
        dropped: what is not.
    """

    read: Tally
    cleaned: Tally
    dropped: Dropped

    @classmethod
    def of(cls, blocks: list[Path]) -> Curation:
        """Return the counts of all blocks together."""
        found = cls(Tally(), Tally(), Dropped())
        for facts in map(read_facts, blocks):
            for total, part in ((found.read, facts["read"]), (found.cleaned, facts["cleaned"])):
                total.documents += part["documents"]
                total.bytes += part["bytes"]
            found.dropped.counts.update(facts["dropped"])
            found.dropped.first = facts["first"] | found.dropped.first
        return found


def curate(root: Path, text_field: str, block: Block) -> int:
    """Clean a block and write its documents; return the bytes of text that were read.

    Args:
        root: folder of the preparation.
        text_field: field or column of the text.
        block: the records.
    """
    found = Curation(Tally(), Tally(), Dropped())
    usable = clean(found.read.watch(_parsed(block, text_field)), TEXT_LIMITS, found.dropped)
    texts = [document.text for document in found.cleaned.watch(usable)]
    encoded = [text.encode() for text in texts]
    facts: dict[str, Any] = {
        "read": asdict(found.read),
        "cleaned": asdict(found.cleaned),
        "dropped": found.dropped.counts,
        "first": found.dropped.first,
    }
    path = Folder(root).block(block.file, block.number)
    write_texts(path, encoded)
    write_arrays(
        path,
        facts,
        keys=np.array([split_key(text) for text in texts], np.uint64),
        sizes=np.array([len(data) for data in encoded], np.int64),
        characters=np.array([len(text) for text in texts], np.int64),
        signatures=signatures([shingle_hashes(text) for text in texts]),
    )
    return found.read.bytes


def _parsed(block: Block, text_field: str) -> Iterator[Record]:
    for number, raw in enumerate(block.records, block.first):
        record = parse(block.name, number, raw, text_field)
        if record is not None:
            yield record
