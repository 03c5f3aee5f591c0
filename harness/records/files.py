"""Files that a reader sees whole or not at all, whatever moment a writer is killed."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from harness.records.columns import with_current_names


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    with _replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A name to write to, of this process on this host alone, that takes the place of `path` at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        # On a full disk a part of a file would only take up room.
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically as indented JSON with a final newline."""
    write_atomic(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_table(path: Path) -> pd.DataFrame:
    """Read a parquet table of a sweep; columns of schema version 1 get their names of today."""
    return with_current_names(pd.read_parquet(path))


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a parquet table atomically."""
    with _replacing(path) as temporary:
        frame.to_parquet(temporary, index=False)
