"""Files that hold a table: parquet, plain text, JSON and JSON lines, told apart by what is in them."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeGuard

import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from analysis.tables.dialect import read_text
from analysis.tables.names import with_plain_names
from harness.records.errors import InputError
from harness.records.files import read_table

FORMATS = ".csv, .tsv, .txt, .json, .jsonl or .parquet"
JSON = (".json", ".jsonl", ".ndjson")
MAX_BYTES = 2**30  # of a table that was packed
AT_ONCE = 2**20  # bytes
# First bytes of files that are no table, and what to say of them.
OTHERS = {
    b"\xd0\xcf\x11\xe0": "it is an old Excel workbook: save the sheet as .csv",
    b"SQLite format 3": "it is a database: export the table as .csv",
    b"\x93NUMPY": "it is an array of NumPy: save the columns with their names as .csv",
    b"\x89HDF": "it is an HDF5 file: export the table as .csv",
    b"ARROW1": "it is an Arrow file: save the table as .parquet",
    b"%PDF": "it is a PDF: copy the table into a .csv",
    b"\x80": "it looks like a pickle: save the table as .parquet or .csv",
}
PACKED: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
    # Arrow's reader goes on after the first frame, and it says if the last one is cut short.
    b"\x28\xb5\x2f\xfd": lambda file: pa.CompressedInputStream(file, "zstd"),
}
# Byte order marks, the longer ones first.
MARKS = {
    b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16",
}  # fmt: skip
PARQUET = b"PAR1"
# What systems pack beside a table.
SYSTEM_FILES = re.compile(r"(^|/)(__MACOSX/|\.|Thumbs\.db$|desktop\.ini$)")
NOT_FLAT = 'expected a list of flat records, one a finished run, such as [{"N": 7e7, "D": 1e9, "loss": 3.2}]'


def read_frame(path: Path) -> pd.DataFrame:
    """Read the table of a file.

    Args:
        path: plain text, JSON, JSON lines or parquet, whatever its suffix; text may be packed.

    Raises:
        InputError: there is no such file, or no table in it.
    """
    if not path.exists():
        raise InputError(f"there is no file {path}: give the path of a {FORMATS} table")
    if path.is_dir():
        inside = f" such as {path / 'points.parquet'}" if (path / "points.parquet").exists() else ""
        raise InputError(f"cannot read {path} as a table: it is a folder, give a file{inside}")
    try:
        with open(path, "rb") as file:
            start = file.read(len(PARQUET))
        if start == PARQUET:
            return with_plain_names(read_table(path))
        return with_plain_names(_from_bytes(path.read_bytes(), path.suffix.casefold()))
    # RuntimeError comes from an archive with a password, and from JSON of thousands of levels.
    except (OSError, ValueError, EOFError, RuntimeError, pa.ArrowException, zlib.error,
            zipfile.BadZipFile, lzma.LZMAError) as error:  # fmt: skip
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"cannot read {path} as a {FORMATS} table: {reason}") from error


def _from_bytes(data: bytes, suffix: str) -> pd.DataFrame:
    data = _unpacked(data)
    if data.startswith(PARQUET):
        return pq.read_table(pa.BufferReader(data)).to_pandas()
    if not data.strip():
        raise InputError("it is empty")
    for start, reason in OTHERS.items():
        if data.startswith(start):
            raise InputError(reason)
    if suffix == ".parquet":
        raise InputError("it is no parquet file: its first bytes are not those of one")
    text = _decoded(data)
    if suffix in JSON or text.lstrip().startswith(("[", "{")):
        try:
            return _from_json(text)
        except json.JSONDecodeError as error:
            if suffix in JSON:
                raise InputError(f"it is no JSON: {error}") from error
    return read_text(text)


def _unpacked(data: bytes) -> bytes:
    """Return the content of a packed file, and other content as it is."""
    for start, unpack in PACKED.items():
        if data.startswith(start):
            with unpack(io.BytesIO(data)) as file:
                return _read_at_most(file)
    if not data.startswith(b"PK\x03\x04"):
        return data
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile as error:
        raise InputError(
            "it is a damaged archive or Excel workbook: copy it again, and save a sheet as .csv"
        ) from error
    with archive:
        names = [n for n in archive.namelist() if not (n.endswith("/") or SYSTEM_FILES.search(n))]
        if any(name.startswith("xl/") for name in names):
            raise InputError("it is an Excel workbook: save the sheet as .csv")
        if len(names) != 1:
            raise InputError(f"it is an archive of {len(names)} files: unpack it and give one of them")
        with archive.open(names[0]) as file:
            return _read_at_most(file)


def _read_at_most(file: IO[bytes]) -> bytes:
    """Return the rest of a file; refuse one of more than MAX_BYTES before it fills the memory."""
    parts, size = [], 0
    while part := file.read(AT_ONCE):
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            raise InputError(f"it unpacks to more than {MAX_BYTES >> 30} GiB")
    return b"".join(parts)


def _decoded(data: bytes) -> str:
    """Return text of UTF-8, of UTF-16 with a byte order mark, or else of the usual Windows encoding."""
    for mark, encoding in MARKS.items():
        if data.startswith(mark):
            return data.decode(encoding)
    if b"\0" in data:
        raise InputError("it holds zero bytes, so it is no text")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252")


def _from_json(text: str) -> pd.DataFrame:
    """Return the records of JSON or of JSON lines; keys of nested objects are joined by points."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        if len(lines) < 2 or not lines[0][1].strip().endswith("}"):
            raise
        found = [_line(number, line) for number, line in lines]
    records = _records(found)
    flat = [all(not isinstance(value, Mapping) for value in record.values()) for record in records]
    return pd.DataFrame(records) if all(flat) else pd.json_normalize(records)


def _line(number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"line {number} is no JSON: {error.msg}") from error


def _records(found: Any) -> list[dict[str, Any]]:
    """Return one object a row from the shapes in which tables are written as JSON."""
    if isinstance(found, Mapping):
        return _from_object(found)
    if not _is_list(found) or not all(isinstance(record, Mapping) for record in found):
        raise InputError(f"it is JSON without records: {NOT_FLAT}")
    return [dict(record) for record in found]


def _from_object(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    values = list(found.values())
    names, rows = found.get("columns"), found.get("data")
    if _is_list(names) and _is_list(rows) and all(_is_list(row) and len(row) == len(names) for row in rows):
        return [dict(zip(map(str, names), row, strict=True)) for row in rows]
    alike = bool(values) and all(map(_is_list, values)) and len({len(column) for column in values}) == 1
    if alike and not any(isinstance(cell, Mapping) for column in values for cell in column):
        return [dict(zip(found, row, strict=True)) for row in zip(*values, strict=True)]
    if values and all(isinstance(value, Mapping) for value in values):
        keys = {key for value in values for key in value}
        if all(key.isdigit() for key in keys):  # {"N": {"0": …, "1": …}, "D": …}
            numbers = sorted(keys, key=lambda key: (len(key), key))
            return [{name: column.get(number) for name, column in found.items()} for number in numbers]
        return [{"name": name, **record} for name, record in found.items()]
    lists = [value for value in values if _is_list(value) and value and isinstance(value[0], Mapping)]
    if len(lists) == 1:
        return _records(lists[0])
    if found and not any(isinstance(value, Mapping | list) for value in values):
        return [dict(found)]
    raise InputError(f"it is a JSON object without one list of records: {NOT_FLAT}")


def _is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str)
