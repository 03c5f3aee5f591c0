"""Cache of compiled programs that processes share, with a checksum of every entry.

JAX trusts the files of its own cache: one flipped bit gives other losses, or a signal that ends the worker.
Here every entry begins with the SHA-256 of the rest. An entry that does not match is deleted and compiled
again.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import jax
from jax._src import compilation_cache
from jax._src.compilation_cache_interface import CacheInterface

from harness.records.files import remove, write_atomic

DIGEST_BYTES = hashlib.sha256().digest_size
log = logging.getLogger(__name__)


class CheckedCache(CacheInterface):
    """Compiled programs by key, one file each.

    Args:
        folder: folder of the files.
    """

    def __init__(self, folder: Path):
        self._path = folder

    def get(self, key: str) -> bytes | None:
        """Return a program; None if there is none, or a damaged one, which is deleted."""
        path = self._file(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except IsADirectoryError:
            data = b""
        digest, program = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
        if hashlib.sha256(program).digest() == digest:
            return program
        log.warning("%s is damaged; the program is compiled again", path)
        remove(path)
        return None

    def put(self, key: str, value: bytes) -> None:
        """Add a program."""
        write_atomic(self._file(key), hashlib.sha256(value).digest() + value, synced=False)

    def _file(self, key: str) -> Path:
        return self._path / f"{key}-checked"


def use_cache(folder: Path) -> None:
    """Keep every program that this process compiles in a folder, and take those that are there.

    Args:
        folder: folder of the cache, which processes may share.
    """
    # Read by JAX when it first needs its cache. A version without this name gets no cache: the name is
    # private, and an unchecked cache is worse than none.
    if not hasattr(compilation_cache, "get_file_cache"):
        log.warning("JAX %s has another cache; programs are compiled anew in every process", jax.__version__)
        return
    compilation_cache.get_file_cache = lambda path: (CheckedCache(Path(path)), path)
    compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Every program, however small and quick to compile: the next worker of a shape starts at once.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
