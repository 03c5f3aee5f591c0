"""Files cut into blocks of records: what one process cleans at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from harness.data.streaming.curate import Block
from harness.data.streaming.folder import Folder, replacing
from harness.data.text.corpora import SourceFile
from harness.data.text.parse import Raw
from harness.data.text.read import read_raw

# A block takes some 30 MB in each of the processes, more if its text is not ASCII.
CHARACTERS = 2**22
BYTES_OF_A_VALUE = 64  # counted for a value without a length
# Bytes of text behind a byte of a file, for files that are compressed. Typical of prose and of code.
EXPANSION = {".gz": 4.0, ".zst": 4.0, ".parquet": 2.5}


def text_bytes(file: SourceFile) -> float:
    """Return about how many bytes of text a file holds, without opening it."""
    return file.size * EXPANSION.get(Path(file.name).suffix.lower(), 1.0)


def read_blocks(
    folder: Folder, files: list[SourceFile], text_field: str, characters: int
) -> Iterator[Block | Path]:
    """Yield the blocks to clean, and the files of those that are finished.

    Blocks depend on the files alone. A file whose blocks are all finished is not read again.

    Args:
        folder: the folder of the preparation.
        files: the files.
        text_field: field or column of the text.
        characters: least length of a block, except the last one of a file.
    """
    for index, file in enumerate(files):
        if _is_finished(folder, index):
            yield from _blocks(folder, index)
            continue
        number = -1
        for number, (first, records) in enumerate(_cut(file, text_field, characters)):
            path = folder.block(index, number)
            yield path if path.exists() else Block(index, number, file.name, first, records)
        with replacing(folder.blocks_of(index)) as temporary:
            temporary.write_text(json.dumps(number + 1))


def finished_blocks(folder: Folder, n_files: int) -> list[Path]:
    """Return the blocks of all files in order, once all are read."""
    return [path for index in range(n_files) for path in _blocks(folder, index)]


def _blocks(folder: Folder, index: int) -> list[Path]:
    number = json.loads(folder.blocks_of(index).read_text())
    return [folder.block(index, block) for block in range(number)]


def _is_finished(folder: Folder, index: int) -> bool:
    return folder.blocks_of(index).exists() and all(path.exists() for path in _blocks(folder, index))


def _cut(file: SourceFile, text_field: str, characters: int) -> Iterator[tuple[int, list[Raw]]]:
    """Yield the number of the first record and the records of each block."""
    records: list[Raw] = []
    first, length = 1, 0
    for raw in read_raw(file, text_field):
        records.append(raw)
        length += len(raw) if isinstance(raw, str) else BYTES_OF_A_VALUE
        if length >= characters:
            yield first, records
            first, records, length = first + len(records), [], 0
    if records:
        yield first, records
