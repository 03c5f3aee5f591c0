"""Cache of prepared corpora: folders named by their content, found through an index of their inputs.

A folder is written under a temporary name and renamed, so no reader sees a part of it. Its checksums are
compared before every use; after a mismatch the corpus is built again. Any number of processes may prepare the
same corpus at once.
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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.records.errors import InputError
from harness.records.files import sync, write_json

PARTIAL = ".partial-"
# A build takes minutes at most; an older temporary folder belongs to a killed process.
PARTIAL_LIFETIME_S = 86_400


@dataclass(frozen=True)
class Entry:
    """Entry of the index: where a prepared corpus lies, and its description.

    Attributes:
        folder: name of the folder.
        files: [size in bytes, CRC-32] of each file.
        meta: description of the corpus.
    """

    folder: str
    files: dict[str, list[int]]
    meta: dict[str, Any]


@dataclass(frozen=True)
class Store:
    """The folder of the cache, with every file name in it."""

    root: Path

    def find(self, key: str) -> tuple[Path, dict[str, Any]] | None:
        """Return folder and description of the corpus prepared from these inputs.

        The result is None if there is no such corpus or a file of it is damaged.
        """
        try:
            entry = Entry(**json.loads(self._index(key).read_text()))
            folder = self._folder(entry.folder)
            return (folder, entry.meta) if _checks(folder) == entry.files else None
        except (OSError, ValueError, TypeError):
            # A missing entry, a broken one and one with other fields all mean: build the corpus again.
            return None

    def add(
        self, key: str, name: str, files: dict[str, bytes | np.ndarray | Path], meta: dict[str, Any]
    ) -> None:
        """Publish a corpus under its content's name, and record the inputs that it came from.

        Args:
            key: hash of the inputs.
            name: name of the folder, made of hashes of the content.
            files: content of each file; a path, of a file on the same disk, is moved there.
            meta: description of the corpus, for the index.

        Raises:
            InputError: the disk is full.
        """
        partial = self._new_folder()
        try:
            for file, content in files.items():
                if isinstance(content, Path):
                    os.rename(content, partial / file)
                else:
                    _write(partial / file, content)
            entry = Entry(name, _checks(partial), meta)
            self._publish(partial, key, entry)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise InputError(
                    f"the disk of {self.root} is full: free space or set SCALING_CACHE to another folder"
                ) from error
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield a new folder on the disk of the cache, and remove it at the end."""
        folder = self._new_folder()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def work(self, key: str) -> Iterator[Path]:
        """Yield the folder in which a long preparation goes on where an earlier process left off.

        It is removed at the end, except after an error. Another process that asks for it waits.

        Args:
            key: hash of the inputs.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        folder = self.root / f"{PARTIAL}{key}"
        self._remove_leftovers(folder)
        with self._locked(folder.with_name(f"{folder.name}.lock")):
            folder.mkdir(exist_ok=True)
            yield folder
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        """Hold a lock that ends with this process, also by a kill."""
        while True:
            with open(path, "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                # The process that held it before has removed the file, and another may have made a new one.
                if not path.exists() or not os.path.samestat(os.stat(path), os.fstat(lock.fileno())):
                    continue
                yield
                path.unlink()
                return

    def _new_folder(self) -> Path:
        self.root.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()
        return Path(tempfile.mkdtemp(prefix=PARTIAL, dir=self.root))

    def note(self, name: str) -> Any:
        """Return what was noted under a name; None if there is nothing, or it is damaged."""
        try:
            return json.loads(self._index(name).read_text())
        except (OSError, ValueError):
            return None

    def write_note(self, name: str, content: Any) -> None:
        """Note what was found out about a corpus."""
        write_json(self._index(name), content)

    def _index(self, key: str) -> Path:
        """Return the index entry of the inputs with this hash, or the note of this name."""
        return self.root / "index" / f"{key}.json"

    def _folder(self, name: str) -> Path:
        """Return the folder of a corpus."""
        return self.root / "corpora" / name

    def _publish(self, partial: Path, key: str, entry: Entry) -> None:
        """Rename the folder into place, unless the same corpus is there already; replace a damaged one."""
        folder = self._folder(entry.folder)
        folder.parent.mkdir(exist_ok=True)
        with open(self.root / ".lock", "w") as lock:
            # The lock ends with the open file, also by a kill: only one process at a time replaces folders.
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Compared under the lock, because another process may have published the same corpus.
            if _checks(folder) != entry.files:
                shutil.rmtree(folder, ignore_errors=True)
                os.rename(partial, folder)
            # The entry comes last, so that it never names a folder that is not complete.
            write_json(self._index(key), asdict(entry))

    def _remove_leftovers(self, wanted: Path | None = None) -> None:
        """Remove temporary folders that killed processes left behind, except the one that is wanted."""
        for path in set(self.root.glob(f"{PARTIAL}*")) - {wanted}:
            with suppress(FileNotFoundError):  # its process published it in the meantime
                if time.time() - path.stat().st_mtime > PARTIAL_LIFETIME_S:
                    shutil.rmtree(path, ignore_errors=True)


def _write(path: Path, content: bytes | np.ndarray) -> None:
    """Write a file and flush it to disk."""
    with open(path, "wb") as file:
        file.write(content.data if isinstance(content, np.ndarray) else content)
        file.flush()
        # The rename could reach the disk before the content does.
        sync(file.fileno())


def _checks(folder: Path) -> dict[str, list[int]]:
    """Return [size, CRC-32] of every file in a folder; this takes about a second per 1.5 GB."""
    checks = {}
    for path in sorted(folder.glob("*")):
        # Mapped, because a corpus may be larger than memory; an empty file cannot be mapped.
        data = np.memmap(path, mode="r").data if path.stat().st_size else b""
        checks[path.name] = [len(data), zlib.crc32(data)]
    return checks
