"""Names of columns: as people write them, found whatever blanks stand around them, and quoted in messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from analysis.tables.numbers import read_number, visible
from harness.records.errors import InputError

SHOWN = 30  # names of columns that an error lists
WIDE = ("__MIN", "__MAX")  # ends of names in exported charts, a column a run
MELT = "expected one row a finished run: melt it into columns for N, D and loss first"


def with_plain_names(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with names of columns as texts without blanks around them, and no data in its index.

    A column without a name that only counts the rows is left out: it is an index that was written too.
    """
    named = [name for name in frame.index.names if name is not None and name not in frame.columns]
    if named:
        frame = frame.reset_index(level=named)
    names = [_plain(name) for name in frame.columns]
    if names != list(frame.columns):
        frame = frame.set_axis(names, axis=1)
    if names and names[0] in ("", "Unnamed: 0") and names.count(names[0]) == 1 and _counts(frame.iloc[:, 0]):
        frame = frame.iloc[:, 1:]
    return frame


def _plain(name: Any) -> str:
    levels = [visible(str(level)).strip() for level in (name if isinstance(name, tuple) else (name,))]
    return " ".join(level for level in levels if level)


def _counts(column: pd.Series[Any]) -> bool:
    """Return whether a column holds 0, 1, 2 … or 1, 2, 3 …"""
    if not pd.api.types.is_integer_dtype(column) or len(column) == 0:
        return False
    first = int(column.iloc[0])
    return first in (0, 1) and column.tolist() == list(range(first, first + len(column)))


def listed(names: Iterable[object]) -> str:
    """Return names in quotes, at most SHOWN of them."""
    every = [repr(str(name)) for name in names]
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more


def column_of(frame: pd.DataFrame, name: str, who: str, *arguments: str) -> pd.Series[Any]:
    """Return a column by its name, blanks around which do not matter.

    Args:
        frame: a table with plain names.
        name: the name.
        who: what asks for the column, for the error.
        arguments: argument that repairs it.

    Raises:
        InputError: no column has the name, or several have it.
    """
    found = [position for position, each in enumerate(frame.columns) if each == name.strip()]
    if not found:
        raise InputError(
            f"{who} names the column {name!r}: expected one out of {listed(frame.columns)}", *arguments
        )
    if len(found) > 1:
        raise InputError(f"{len(found)} columns are called {name.strip()!r}: give each a name of its own")
    return frame.iloc[:, found[0]]


def wide_reason(frame: pd.DataFrame) -> str | None:
    """Return why a table does not have one row a run, in words; None if nothing in its names says so."""
    ends = [name for name in frame.columns if name.endswith(WIDE)]
    if ends:
        return f"the table is the export of a chart, a column a run ({ends[0]!r})"
    numbers = [name for name in frame.columns if read_number(name) is not None]
    if len(numbers) > 1:
        return f"the table is wide, with numbers as names of columns ({', '.join(map(repr, numbers[:3]))})"
    return None
