"""Atomic writes: a reader sees a whole file or none, at whatever moment the writer is killed."""

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
        # Else a power cut could leave the new name with empty content.
        os.fsync(file.fileno())


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` at the end; after an exception `path` stays as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Named after host and process: several may write one file on a shared file system. It lies beside `path`,
    # since a rename is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        # On a full disk, a part of a file would only take up room.
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically as indented JSON with a final newline; NaN and infinities are refused."""
    write_atomic(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_table(path: Path) -> pd.DataFrame:
    """Read a parquet table of a sweep; columns of schema version 1 get their names of today."""
    return with_current_names(pd.read_parquet(path))


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a parquet table atomically."""
    with _replacing(path) as temporary:
        frame.to_parquet(temporary, index=False)
