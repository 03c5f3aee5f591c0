"""Records of the files of a corpus, as they stand in the files, and the documents that they hold.

A file that is cut short or cannot be opened is an error, because nobody knows how much of it is missing.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from harness.data.text.corpora import SourceFile
from harness.data.text.document import Document
from harness.data.text.parse import LONGEST_RECORD, Raw, Record, parse
from harness.data.text.remote import is_remote, open_binary, store_trouble
from harness.records.errors import InputError

# A long .txt file is cut at paragraph ends into documents of about this many characters. So even one book can
# be split into training and evaluation text.
PIECE_CHARACTERS = 16_384
# Rows of a parquet file that are in memory at once.
ROWS_AT_ONCE = 1_024
BUFFER_BYTES = 2**20
READ_ERRORS = (OSError, EOFError, UnicodeDecodeError, zlib.error, pa.ArrowException, MemoryError)
# Bytes that are no UTF-8 become lone surrogates. So does half a character in JSON, and cleaning finds both.
KEEP_BYTES = "surrogateescape"


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
        for number, raw in enumerate(read_raw(file, text_field), 1):
            found = parse(file.name, number, raw, text_field)
            if found is not None:
                yield found


def read_raw(file: SourceFile, text_field: str) -> Iterator[Raw]:
    """Yield the pieces of a .txt file, the lines of JSON lines, or the values of a parquet column.

    Raises:
        InputError: the file is damaged or cannot be opened, or a parquet file lacks the column.
    """
    with whole_file(file):
        yield from _read_one(file, text_field)


@contextmanager
def whole_file(file: SourceFile) -> Iterator[None]:
    """Raise InputError for whatever goes wrong while a file is read: it is damaged or cannot be opened."""
    try:
        with store_trouble(file.path) if is_remote(file.path) else nullcontext():
            yield
    except READ_ERRORS as error:
        kind = type(error).__name__
        raise InputError(
            f"{file.path} cannot be read ({kind}: {error}): expected a whole file that this user may "
            "read, repair or remove it"
        ) from error


def _read_one(file: SourceFile, text_field: str) -> Iterator[Raw]:
    """Yield the records of one file, by its suffix."""
    name = file.name.lower()
    if name.endswith(".txt"):
        with io.TextIOWrapper(open_binary(file.path), encoding="utf-8", errors=KEEP_BYTES) as stream:
            yield from _pieces(stream)
    elif name.endswith(".parquet"):
        yield from _read_parquet(file, text_field)
    else:
        with _open_lines(file) as stream:
            yield from _lines(stream)


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


def _read_parquet(file: SourceFile, text_field: str) -> Iterator[Raw]:
    """Yield the value of one column in each row."""
    # Buffered: else a whole column of a group of rows is read at once.
    source = open_binary(file.path) if is_remote(file.path) else file.path
    table = pq.ParquetFile(source, buffer_size=BUFFER_BYTES)
    columns = table.schema_arrow.names
    if text_field not in columns:
        have = ", ".join(columns)
        raise InputError(f"{file.path} has no column {text_field!r} but {have}: set data.text_field=COLUMN")
    # Batch by batch, because a column of text may be larger than memory.
    for batch in table.iter_batches(ROWS_AT_ONCE, columns=[text_field]):
        yield from map(_value, batch.column(0))


def _value(cell: Any) -> Any:
    """Return the value of a cell; bytes if a column of text holds bytes that are no UTF-8."""
    try:
        return cell.as_py()
    except UnicodeDecodeError:
        return cell.as_buffer().to_pybytes().decode("utf-8", KEEP_BYTES)


def _open_lines(file: SourceFile) -> TextIO:
    """Open a JSON-lines file, decompressed by its suffix; a byte-order mark is left out."""
    return io.TextIOWrapper(decompressed(file), encoding="utf-8-sig", errors=KEEP_BYTES)


def decompressed(file: SourceFile) -> Any:
    """Open a file of bytes, decompressed by its suffix; one that is cut short raises an error at its end."""
    # By the name: the address of a file in an archive ends with that of the archive.
    name, path = file.name.lower(), file.path
    if name.endswith(".gz"):
        return gzip.open(open_binary(path) if is_remote(path) else path, "rb")
    if name.endswith(".zst"):
        # Arrow's reader goes on after the first frame, and it says if the last one is cut short.
        source = pa.PythonFile(open_binary(path), mode="r") if is_remote(path) else pa.OSFile(path)
        return pa.CompressedInputStream(source, "zstd")
    return open_binary(path)


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
