"""Prepared corpora on disk: token files in a folder named by their content, found again by their inputs.

A folder is written under a temporary name and renamed, and its checksums are compared before every use; what
does not match is built again. Any number of processes may prepare the same corpus at once.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import tempfile
import time
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.records.errors import InputError
from harness.records.files import write_json

PARTIAL = ".partial-"
# A build takes a minute; what is older was left by a killed process.
PARTIAL_LIFETIME_S = 86_400


@dataclass(frozen=True)
class Entry:
    """What the index says about a prepared corpus; `files` maps names to [size, crc32]."""

    folder: str
    files: dict[str, list[int]]
    meta: dict[str, Any]


@dataclass(frozen=True)
class Store:
    """Every file name of the cache."""

    root: Path

    def find(self, key: str) -> tuple[Path, dict[str, Any]] | None:
        """Folder and description of the corpus prepared from these inputs, if it is there and whole."""
        try:
            entry = Entry(**json.loads(self._index(key).read_text()))
            folder = self._folder(entry.folder)
            return (folder, entry.meta) if _checks(folder) == entry.files else None
        except (OSError, ValueError, TypeError):
            return None

    def add(self, key: str, name: str, files: dict[str, bytes | np.ndarray], meta: dict[str, Any]) -> None:
        """Publish a corpus under its content's name and remember which inputs it came from."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()
        partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=self.root))
        try:
            for file, content in files.items():
                _write(partial / file, content)
            entry = Entry(name, _checks(partial), meta)
            self._publish(partial, key, entry)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise InputError(
                    f"The disk of {self.root} is full: free space or set SCALING_CACHE to another folder."
                ) from error
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _index(self, key: str) -> Path:
        return self.root / "index" / f"{key}.json"

    def _folder(self, name: str) -> Path:
        return self.root / "corpora" / name

    def _publish(self, partial: Path, key: str, entry: Entry) -> None:
        """Rename into place, unless the same corpus is there already; a damaged one is thrown away."""
        folder = self._folder(entry.folder)
        folder.parent.mkdir(exist_ok=True)
        with open(self.root / ".lock", "w") as lock:
            # Held until the file is closed, also by a kill: only one process at a time replaces folders.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _checks(folder) != entry.files:
                shutil.rmtree(folder, ignore_errors=True)
                os.rename(partial, folder)
            write_json(self._index(key), asdict(entry))

    def _remove_leftovers(self) -> None:
        for path in self.root.glob(f"{PARTIAL}*"):
            with suppress(FileNotFoundError):  # its process published it in the meantime
                if time.time() - path.stat().st_mtime > PARTIAL_LIFETIME_S:
                    shutil.rmtree(path, ignore_errors=True)


def _write(path: Path, content: bytes | np.ndarray) -> None:
    with open(path, "wb") as file:
        file.write(content.data if isinstance(content, np.ndarray) else content)
        file.flush()
        os.fsync(file.fileno())


def _checks(folder: Path) -> dict[str, list[int]]:
    """Size and CRC-32 of every file; about a second per 1.5 GB."""
    checks = {}
    for path in sorted(folder.glob("*")):
        data = np.memmap(path, mode="r").data if path.stat().st_size else b""
        checks[path.name] = [len(data), zlib.crc32(data)]
    return checks
