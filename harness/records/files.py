"""Atomic writes and checked reads: a reader sees a whole file as it was written, or hears that it is damaged.

A parquet table carries a CRC-32 of all its bytes in its metadata, and one of every page, which other readers
verify too. Tables of other programs and of earlier versions have none and are read without.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import socket
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.records.columns import with_current_names
from harness.records.errors import Damaged

# File systems that cannot force a file to the disk say so by one of these.
NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
# Size from which a table is read by several threads.
THREADED_BYTES = 2**20
# In the metadata of a table, followed by the CRC-32 as hexadecimal digits. The digits count as zeros.
MARK, NO_DIGITS = b"harness-crc32:", b"00000000"


def sync(descriptor: int) -> None:
    """Force an open file to the disk, if its file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise


def write_atomic(path: Path, data: bytes | str, synced: bool = True) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Args:
        path: the file.
        data: its content.
        synced: whether the content must survive a power cut; without it a reader needs a checksum.
    """
    write_parts(path, [data.encode() if isinstance(data, str) else data], synced)


def write_parts(path: Path, parts: Iterable[bytes | memoryview], synced: bool = True) -> None:
    """Write a file as `write_atomic` does, from parts that need not be in memory at the same time."""
    with _replacing(path) as temporary, open(temporary, "wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        # Else a power cut could leave the new name with empty content.
        if synced:
            sync(file.fileno())


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` at the end; after an exception `path` stays as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Named after host and process: several may write one file on a shared file system. It lies beside `path`,
    # since a rename is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        yield temporary
        if path.is_dir() and not path.is_symlink():
            set_aside(path)
        os.replace(temporary, path)
    except BaseException:
        # On a full disk, a part of a file would only take up room.
        temporary.unlink(missing_ok=True)
        raise


def set_aside(path: Path) -> Path:
    """Give a damaged file, or a folder in a file's place, a name that nothing reads; return that name."""
    number = 0
    while (aside := path.with_name(f"{path.name}.damaged{number or ''}")).exists():
        number += 1
    path.rename(aside)
    return aside


def remove(path: Path) -> None:
    """Delete a file that need not be there; a folder in its place is set aside, because it is not ours."""
    if path.is_dir() and not path.is_symlink():
        set_aside(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically as indented JSON with a final newline; NaN and infinities are refused."""
    write_atomic(path, json_text(value))


def json_text(value: Any) -> str:
    """Return `value` as indented JSON with a final newline; NaN and infinities are refused."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        Damaged: there is no such file, or a folder in its place.
        OSError: the file may not be read, or the disk fails: another attempt may end otherwise.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise Damaged(path, (error.strerror or "it cannot be read").lower()) from error


def version(path: Path) -> tuple[int, int] | None:
    """Return what changes if a file is written anew, its time and size; None if there is no such file."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_mtime_ns, found.st_size


def read_table(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a parquet table and verify its checksums; columns of schema version 1 get their names of today.

    Args:
        path: the file.
        columns: columns to read; all by default.

    Raises:
        Damaged: there is no such file, it is no parquet, or it has other bytes than were written.
    """
    table = read_arrow(path, columns)
    with _as_damaged(path):
        # Threads take longer to wake than a small table takes to convert.
        found = table.to_pandas(use_threads=table.nbytes > THREADED_BYTES)
    return with_current_names(found)


def read_arrow(path: Path, columns: Sequence[str] | None = None) -> Any:
    """Read a parquet table as `read_table` does, as an Arrow table with the names of the file.

    To make a frame of a small table takes several times as long as to read it, so many are joined first.
    """
    # Imported here, so that commands that read no table start sooner.
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import parquet

    data = read_bytes(path)
    if not data:
        raise Damaged(path, "it is empty")
    if not _is_as_written(data):
        raise Damaged(path, "its checksum differs")
    with _as_damaged(path):
        # Half the time of pandas' own reader, which counts for thousands of small files.
        file = parquet.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        missing = [name for name in columns or () if name not in file.schema_arrow.names]
        if missing:
            raise Damaged(path, f"it lacks {', '.join(missing)}")
        # Threads take longer to wake than a small table takes to read.
        threads = len(data) > THREADED_BYTES
        return file.read(columns=None if columns is None else list(columns), use_threads=threads)


@contextlib.contextmanager
def _as_damaged(path: Path) -> Iterator[None]:
    """Turn whatever a parser of damaged bytes raises into Damaged."""
    import pyarrow as pa

    try:
        yield
    except Damaged:
        raise
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise Damaged(path, str(error).splitlines()[0] if str(error) else "it is no parquet") from error


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a parquet table atomically, with checksums."""
    write_atomic(path, table_bytes(frame))


def table_bytes(frame: pd.DataFrame) -> bytes:
    """Return the parquet file of a table, with checksums; equal tables have equal bytes."""
    import pyarrow as pa

    return arrow_bytes(pa.Table.from_pandas(frame, preserve_index=False))


def arrow_bytes(table: Any) -> bytes:
    """Return the parquet file of an Arrow table, as `table_bytes` does."""
    from pyarrow import parquet

    metadata = (table.schema.metadata or {}) | {b"check": MARK + NO_DIGITS}
    sink = io.BytesIO()
    parquet.write_table(table.replace_schema_metadata(metadata), sink, write_page_checksum=True)
    data = sink.getvalue()
    # The last one, since a text in the table may hold the same words and metadata stand at the end.
    sink.seek(data.rindex(MARK + NO_DIGITS) + len(MARK))
    sink.write(b"%08x" % zlib.crc32(data))
    return sink.getvalue()


def _is_as_written(data: bytes) -> bool:
    """Return whether the checksum over the bytes of a table is the one in its metadata, if it has one."""
    at = data.rfind(MARK)
    if at < 0:
        return True
    first, end = at + len(MARK), at + len(MARK) + len(NO_DIGITS)
    view = memoryview(data)
    found = zlib.crc32(view[end:], zlib.crc32(NO_DIGITS, zlib.crc32(view[:first])))
    return data[first:end] == b"%08x" % found
