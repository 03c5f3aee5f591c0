"""What all commands of the analysis do alike: end with an exit code, and write a result as asked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.records import InputError, write_json


def answer(act: Callable[[], object]) -> int:
    """0 when done, 2 with one sentence on standard error when the input cannot be used."""
    try:
        act()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def save(path: Path | None, result: Any) -> None:
    """Write a result as JSON where a path was given; raises InputError where it cannot be written."""
    if path is not None:
        try:
            write_json(path, result)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from error
