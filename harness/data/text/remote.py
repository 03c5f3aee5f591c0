"""Files behind addresses such as s3://bucket/texts or zip://*.txt::texts.zip: whatever `fsspec` opens."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import fsspec  # type: ignore[import-untyped]

from harness.records.errors import InputError, printable

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# What stores call the version or the last change of a file.
CHANGES = (
    "ETag",
    "LastModified",
    "Last-Modified",
    "mtime",
    "updated",
    "created",
    "md5Hash",
    "CRC",
    "date_time",
)
NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "PermissionError", "AccessDenied")
COPIED_AT_ONCE = 2**23  # bytes
LONGEST_REASON = 200  # characters


def is_remote(path: str | None) -> bool:
    """Return whether a path is an address of `fsspec`.

    >>> [is_remote(path) for path in ("s3://bucket/texts", "zip://*.txt::texts.zip", "C:/texts", "texts")]
    [True, True, False, False]
    """
    return path is not None and ADDRESS.match(path) is not None


def from_root(path: str | None) -> str | None:
    """Return a path from the root of this machine, `~` replaced; None and an address stay as they are."""
    if path is None or is_remote(path):
        return path
    return str(Path(os.path.expanduser(path)).absolute())


def open_binary(path: str) -> IO[bytes]:
    """Open a file of this machine or behind an address."""
    if not is_remote(path):
        return open(path, "rb")
    system, name = fsspec.core.url_to_fs(path)
    file = system.open(name, "rb")
    # An archive is closed when nobody holds it any more, and its files do not hold it.
    file.opened_from = system
    return cast("IO[bytes]", file)


def list_remote(path: str, key: str) -> list[tuple[str, str, int, int]]:
    """Return name, address, size, and a number of the last change, of each file at or below an address.

    Args:
        path: address of a file or folder, or a pattern with `*`.
        key: setting that holds the address, for messages.

    Raises:
        InputError: the store cannot be reached, or holds nothing there.
    """
    with store_trouble(f"{key}={path}"):
        system, root = fsspec.core.url_to_fs(path)
        if "*" in root:
            found = system.glob(root, detail=True)
            root = root[: root.index("*")].rpartition("/")[0]
        elif system.isfile(root):
            found = {root: system.info(root)}
            root = root.rpartition("/")[0]
        else:
            # Missing addresses give an error here, and an empty list below.
            system.info(root)
            found = system.find(root, detail=True)
        behind = path.partition("::")[1:]
        files = {name: info for name, info in found.items() if info["type"] == "file"}
        return [
            (
                name.removeprefix(root).lstrip("/"),
                "".join([system.unstrip_protocol(name), *behind]),
                int(info["size"] or 0),
                _change(info),
            )
            for name, info in sorted(files.items())
        ]


@contextmanager
def store_trouble(said: str) -> Iterator[None]:
    """Raise InputError for whatever a store refuses.

    Args:
        said: setting and address, or the address of a file, for messages.
    """
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        how = "uv sync --extra s3" if "s3://" in said else "uv pip install and its name"
        reason = printable(str(error)).rstrip(".")
        raise InputError(f"{said} needs a package that is not installed ({reason}); type {how}") from error
    except FileNotFoundError as error:
        # Servers that do not answer are such an error too.
        raise InputError(
            f"{said} does not exist or does not answer: give an address of files that are there"
        ) from error
    except Exception as error:  # The library of every store has exceptions of its own.
        reason = printable(f"{type(error).__name__}: {error}"[:LONGEST_REASON])
        if type(error).__name__ in NO_CREDENTIALS or "AccessDenied" in reason:
            raise InputError(
                f"{said} was refused for want of credentials ({reason}); set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or those of your store"
            ) from error
        raise InputError(
            f"{said} cannot be read ({reason}): expected an address that fsspec opens, such as s3://BUCKET/FOLDER"
        ) from error


def copy(path: str, target: str, copied: Callable[[int], None] = lambda _: None) -> None:
    """Copy a file to this machine, under a temporary name until it is whole.

    Args:
        path: address of the file.
        target: path of the copy.
        copied: receives the number of bytes, from time to time.
    """
    with store_trouble(path), open_binary(path) as source:
        with open(f"{target}.partial", "wb") as file:
            while data := source.read(COPIED_AT_ONCE):
                file.write(data)
                copied(len(data))
        os.replace(f"{target}.partial", target)


def _change(info: dict[str, Any]) -> int:
    """Return a number that is another one after a file was changed."""
    facts = [str(info[name]) for name in CHANGES if info.get(name) is not None]
    return int.from_bytes(hashlib.blake2b(" ".join(facts).encode(), digest_size=7).digest(), "big")
