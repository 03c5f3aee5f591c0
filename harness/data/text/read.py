"""Documents of the files of a corpus.

A record that cannot be used is no reason to stop: it is passed on as unusable, and cleaning counts it. A file
that is cut short or cannot be opened is an error, because nobody knows how much of it is missing.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from harness.data.text.corpora import SourceFile
from harness.data.text.document import Document, Unusable
from harness.records.errors import InputError

# A long .txt file is cut at paragraph ends into documents of about this many characters. So even one book can
# be split into training and evaluation text.
PIECE_CHARACTERS = 16_384
# A longer line or cell is no document. A compressed file of 100 kB can hold a line of 4 GB.
LONGEST_RECORD = 2**26
TOO_LONG = f"longer than {LONGEST_RECORD:,} characters"
LONGEST_DETAIL = 200  # characters
# Rows of a parquet file that are in memory at once.
ROWS_AT_ONCE = 1_024
READ_ERRORS = (OSError, EOFError, UnicodeDecodeError, zlib.error, pa.ArrowException, MemoryError)
# Bytes that are no UTF-8 become lone surrogates. So does half a character in JSON, and cleaning finds both.
KEEP_BYTES = "surrogateescape"

Record = Document | Unusable


def read_python(files: list[SourceFile]) -> Iterator[Record]:
    """Yield every file as one document."""
    for file in files:
        yield Document(file.name, Path(file.path).read_bytes().decode("utf-8", KEEP_BYTES))


def read_text(files: list[SourceFile], text_field: str) -> Iterator[Record]:
    """Yield the documents of text, JSON-lines and parquet files, and the records that hold no text.

    Args:
        files: the files.
        text_field: field of JSON lines, or column of parquet files, that holds the text.

    Raises:
        InputError: a file is damaged or cannot be opened, or a parquet file lacks the column.
    """
    for file in files:
        try:
            yield from _read_one(file, text_field)
        except READ_ERRORS as error:
            kind = type(error).__name__
            raise InputError(
                f"{file.path} cannot be read ({kind}: {error}): expected a whole file that this user may "
                "read, repair or remove it"
            ) from error


def _read_one(file: SourceFile, text_field: str) -> Iterator[Record]:
    """Yield the records of one file, by its suffix."""
    name = file.name.lower()
    if name.endswith(".txt"):
        with open(file.path, encoding="utf-8", errors=KEEP_BYTES) as stream:
            for number, piece in enumerate(_pieces(stream), 1):
                yield Document(f"{file.name}:{number}", piece)
    elif name.endswith(".parquet"):
        yield from _read_parquet(file, text_field)
    else:
        yield from _read_json_lines(file, text_field)


def _pieces(stream: TextIO) -> Iterator[str]:
    """Cut a text after the first blank line (else line end, else anywhere) past each PIECE_CHARACTERS."""
    limit = 2 * PIECE_CHARACTERS
    text = stream.read(limit)
    while text:
        end = limit
        for mark in ("\n\n", "\n"):
            found = text.find(mark, PIECE_CHARACTERS, limit)
            if found >= 0:
                end = found + len(mark)
                break
        yield text[:end]
        text = text[end:]
        text += stream.read(limit - len(text))


def _read_parquet(file: SourceFile, text_field: str) -> Iterator[Record]:
    """Yield one record per row; rows are numbered from 1."""
    table = pq.ParquetFile(file.path)
    columns = table.schema_arrow.names
    if text_field not in columns:
        have = ", ".join(columns)
        raise InputError(f"{file.path} has no column {text_field!r} but {have}: set data.text_field=COLUMN")
    number = 0
    # Batch by batch, because a column of text may be larger than memory.
    for batch in table.iter_batches(ROWS_AT_ONCE, columns=[text_field]):
        for cell in batch.column(0):
            number += 1
            yield _record(f"{file.name}:{number}", _value(cell), text_field)


def _value(cell: Any) -> Any:
    """Return the value of a cell; bytes if a column of text holds bytes that are no UTF-8."""
    try:
        return cell.as_py()
    except UnicodeDecodeError:
        return cell.as_buffer().to_pybytes().decode("utf-8", KEEP_BYTES)


def _read_json_lines(file: SourceFile, text_field: str) -> Iterator[Record]:
    """Yield one record per line that is not blank; lines are numbered from 1."""
    with _open_lines(file.path) as stream:
        for number, line in enumerate(_lines(stream), 1):
            name = f"{file.name}:{number}"
            if line is None:
                yield Unusable(name, TOO_LONG)
            elif line.strip():
                yield _parsed(name, line, text_field)


def _open_lines(path: str) -> TextIO:
    """Open a JSON-lines file, decompressed by its suffix; a byte-order mark is left out."""
    return io.TextIOWrapper(_decompressed(path), encoding="utf-8-sig", errors=KEEP_BYTES)


def _decompressed(path: str) -> Any:
    if path.lower().endswith(".gz"):
        return gzip.open(path, "rb")
    if path.lower().endswith(".zst"):
        # Arrow's reader goes on after the first frame, and it says if the last one is cut short.
        return pa.CompressedInputStream(pa.OSFile(path), "zstd")
    return open(path, "rb")


def _lines(stream: TextIO) -> Iterator[str | None]:
    """Yield every line, and None in place of one that is longer than LONGEST_RECORD."""
    while line := stream.readline(LONGEST_RECORD):
        if len(line) < LONGEST_RECORD or line.endswith("\n"):
            yield line
            continue
        rest = line
        while rest and not rest.endswith("\n"):
            rest = stream.readline(PIECE_CHARACTERS * 64)
        yield None


def _parsed(name: str, line: str, text_field: str) -> Record:
    """Return the record in a line of JSON."""
    try:
        # Numbers are not used, and Python refuses to parse an integer of 5,000 digits.
        row = json.loads(line, parse_int=float)
    except RecursionError:
        return Unusable(name, "not JSON", "brackets within brackets without end")
    except ValueError as error:
        return Unusable(name, "not JSON", str(error))
    if not isinstance(row, dict):
        return Unusable(name, _no_text(text_field), f"is no object but {type(row).__name__}")
    if text_field in row:
        return _record(name, row[text_field], text_field)
    have = f"has the fields {', '.join(row)}"[:LONGEST_DETAIL] if row else "has no field"
    return Unusable(name, _no_text(text_field), have)


def _record(name: str, value: object, text_field: str) -> Record:
    """Return the document of a value that is text, else an unusable record."""
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        return Unusable(name, _no_text(text_field), f"holds {kind}")
    return Document(name, value) if len(value) <= LONGEST_RECORD else Unusable(name, TOO_LONG)


def _no_text(text_field: str) -> str:
    return f"no text in {text_field!r}"
