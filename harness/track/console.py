"""The console of every command: what comes from a user or a file is printed as it is, never as markup."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TextIO

from rich.console import Console

# Width of tables if the output is no terminal.
LOG_WIDTH = 120


def plain_console(log_width: int = LOG_WIDTH, file: TextIO | None = None) -> Console:
    """Return a console that takes `[b]` and `:smile:` in a path or a name for text.

    Args:
        log_width: width of tables if the output is no terminal.
        file: where to print; by default standard output.
    """
    width = None if (file or sys.stdout).isatty() else log_width
    return Console(highlight=False, markup=False, emoji=False, width=width, file=file)


def print_notes(console: Console, notes: Iterable[str]) -> None:
    """Print a line for each note."""
    for note in notes:
        console.print(f"note: {note}")
