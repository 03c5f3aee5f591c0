"""Parts of a run's tables: each file checked, and many of them joined to one frame.

A sweep of ten thousand runs has a hundred thousand parts of a few rows. They stay Arrow tables until they
are joined, because a frame takes several times as long to make as its file takes to read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]

from harness.records.columns import ADDED, CURVE_COLUMNS, as_table, former_names
from harness.records.errors import Damaged
from harness.records.files import read_arrow
from harness.records.paths import RunFolder

# Joined at once: all parts of a large sweep together would fill the memory.
ROWS_AT_ONCE, PARTS_AT_ONCE = 200_000, 1_000


@dataclass(frozen=True)
class Part:
    """A part of a table.

    Attributes:
        path: its file.
        run_id: the run whose rows it should hold.
        table: its rows as an Arrow table, under today's names.
    """

    path: Path
    run_id: str
    table: Any


def read_part(path: Path, run_id: str, columns: dict[str, str]) -> Part:
    """Read a file of a run's rows; `joined` looks whose they are.

    Args:
        path: the file.
        run_id: the run.
        columns: columns that it must have, except those that were added later.

    Raises:
        Damaged: it cannot be read, or lacks a column.
    """
    table = read_arrow(path)
    names = table.column_names
    if names == list(columns):
        return Part(path, run_id, table)
    old = former_names(names)
    if old:
        table = table.rename_columns([old.get(name, name) for name in names])
    missing = columns.keys() - ADDED - set(table.column_names)
    if missing:
        raise Damaged(path, f"it lacks {', '.join(name for name in columns if name in missing)}")
    return Part(path, run_id, table)


def read_parts(
    paths: Iterable[tuple[RunFolder, Path]], columns: dict[str, str], damaged: list[Damaged]
) -> Iterator[Part]:
    """Yield the parts that can be read; `damaged` receives the others."""
    for run, path in paths:
        try:
            yield read_part(path, run.run_id, columns)
        except Damaged as error:
            damaged.append(error)


def batches(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Yield parts in their order, about ROWS_AT_ONCE rows at a time; all parts of a run come together."""
    found: list[Part] = []
    n_rows, run = 0, None
    for part in parts:
        own = part.path.parent.parent
        if own != run and (n_rows >= ROWS_AT_ONCE or len(found) >= PARTS_AT_ONCE):
            yield found
            found, n_rows = [], 0
        found.append(part)
        n_rows, run = n_rows + len(part.table), own
    if found:
        yield found


def joined(parts: list[Part], columns: dict[str, str], damaged: list[Damaged]) -> pd.DataFrame:
    """Return the rows of parts as one frame with exactly `columns`, in order and with their types.

    Args:
        parts: the parts, in the order of the rows.
        columns: the columns with their types.
        damaged: receives parts of another run or of other steps than their names say, and those whose values
            no frame can hold. They are left out.
    """
    try:
        frame = _frame([part.table for part in parts], columns)
    except (ValueError, TypeError, pa.ArrowException) as error:
        if len(parts) == 1:
            damaged.append(Damaged(parts[0].path, str(error).splitlines()[0]))
            return as_table([], columns)
        # Parts of other versions may differ in their types, and one without a checksum may hold anything.
        return as_table(pd.concat([joined([part], columns, damaged) for part in parts]), columns)
    lengths = [len(part.table) for part in parts]
    wrong = _of_others(parts, frame, lengths)
    if columns is CURVE_COLUMNS:
        wrong |= _of_other_steps(parts, frame, lengths)
    damaged += [Damaged(parts[index].path, reason) for index, reason in sorted(wrong.items())]
    return frame[~np.repeat([index in wrong for index in range(len(parts))], lengths)]


def _frame(tables: list[Any], columns: dict[str, str]) -> pd.DataFrame:
    """Return the rows of Arrow tables as one frame; a column that some of them lack is null there."""
    names = list(columns)
    narrow = [
        table if table.column_names == names else table.select([n for n in names if n in table.column_names])
        for table in tables
    ]
    # Without what other writers say of an index.
    table = pa.concat_tables(narrow, promote_options="default").replace_schema_metadata(None)
    return as_table(table.to_pandas(), columns)


def _of_others(parts: list[Part], frame: pd.DataFrame, lengths: list[int]) -> dict[int, str]:
    """Return why a part is refused, by its number: it holds rows of another run."""
    owners = np.repeat(np.array([part.run_id for part in parts], object), lengths)
    foreign = frame["run_id"].fillna("").to_numpy(object) != owners
    numbers = np.repeat(np.arange(len(parts)), lengths)
    return dict.fromkeys(np.unique(numbers[foreign]).tolist(), "it is of another run")


def _of_other_steps(parts: list[Part], frame: pd.DataFrame, lengths: list[int]) -> dict[int, str]:
    """Return why a part is refused, by its number: its first and last step are not those of its name."""
    steps, end, wrong = frame["step"].to_numpy(), 0, {}
    for number, (part, length) in enumerate(zip(parts, lengths, strict=True)):
        end += length
        if length:
            _, first, last = part.path.stem.rsplit("-", 2)
            if (int(first), int(last)) != (steps[end - length], steps[end - 1]):
                wrong[number] = "it holds other steps than its name says"
    return wrong
