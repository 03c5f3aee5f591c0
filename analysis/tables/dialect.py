"""Tables in plain text, whatever separates their columns: commas, semicolons, tabs, bars or blanks."""

from __future__ import annotations

import csv
import io
import itertools
import re
import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.tables.numbers import Mark, mark_of, read_number, with_point
from harness.records.errors import InputError

BLANKS = r"\s+"
SEPARATORS = (",", ";", "\t", "|", BLANKS)  # the first of equally good ones is taken
UNEVEN = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")  # as pandas says it
SAMPLE = 100  # lines that decide
RULE = re.compile(r"(?=.*--)[\s|:+=-]+")  # a line that is drawn below the names
DECLARED = re.compile(r"\"?sep=(.)\"?\s*", re.IGNORECASE)  # first line of a spreadsheet's export


def read_text(text: str) -> pd.DataFrame:
    """Read a table of plain text.

    The first line holds the names; lines that start with # are comments. A column of row names without a
    name of its own, as R writes it, does not shift the names against the columns.

    Raises:
        InputError: no names, or rows that do not fit them; the text is a clause without the file.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    declared = None
    comments: list[str] = []
    start = 0
    for line in lines:
        found = DECLARED.fullmatch(line.strip("\ufeff "))
        if found:
            declared = found[1]
        elif line.lstrip().startswith("#"):
            comments.append(line.lstrip().lstrip("#"))
        elif line.strip():
            break
        start += 1
    body = [line for line in lines[start:] if not (line.lstrip().startswith("#") or RULE.fullmatch(line))]
    sample = [line for line in body if line.strip()][:SAMPLE]
    if not sample:
        raise InputError("it is empty")
    separator = declared or _separator(sample)
    header, used = _header("\n".join(body), separator)
    if len(header) > 1 and all(read_number(name) is not None for name in header):
        named = _fields(comments[-1], separator) if comments else []
        if len(named) != len(header) or any(read_number(name) is not None for name in named):
            shown = ", ".join(header[:5])
            raise InputError(f"its first line holds numbers ({shown}): expected names such as N, D, loss")
        header, used = named, 0
    return _with_names(header, "\n".join(body[used:]), separator)


def _separator(sample: list[str]) -> str:
    """Return the separator that splits the lines into columns as equal in number as possible."""

    def rank(separator: str) -> tuple[float, float, int]:
        rows = [_fields(line, separator) for line in sample]
        counts = [len(row) for row in rows]
        if counts[0] < 2:
            return 0.0, 0.0, 0
        # One column more than names is a column of row names, or a separator at the end of each line.
        alike = max(counts.count(counts[0]), 1 + counts.count(counts[0] + 1))
        cells = [read_number(cell) is not None for row in rows[1:] for cell in row]
        return alike / len(rows), float(np.mean(cells)) if cells else 0.0, -SEPARATORS.index(separator)

    best = max(SEPARATORS, key=rank)
    return best if rank(best)[0] > 0 else ","


def _fields(line: str, separator: str) -> list[str]:
    """Return the fields of one line; a quoted separator separates nothing."""
    return next(_records(line, separator), [])


def _records(text: str, separator: str) -> Iterator[list[str]]:
    sign = " " if separator == BLANKS else separator
    plain = "\n".join(line.strip().replace("\t", " ") for line in text.split("\n")) if sign == " " else text
    try:
        for record in csv.reader(io.StringIO(plain), delimiter=sign, skipinitialspace=sign != "\t"):
            yield [field.strip() for field in record]
    except csv.Error as error:
        raise InputError(str(error)) from error


def _header(text: str, separator: str) -> tuple[list[str], int]:
    """Return the names in the first line, and how many lines they take."""
    sign = " " if separator == BLANKS else separator
    first = text.split("\n", 1)[0]
    if first.count('"') % 2 == 0:
        return _fields(first, separator), 1
    reader = csv.reader(io.StringIO(text), delimiter=sign, skipinitialspace=True)
    try:
        names = [" ".join(name.split()) for name in next(reader)]
    except csv.Error as error:
        raise InputError(str(error)) from error
    return names, reader.line_num


def _with_names(header: list[str], text: str, separator: str) -> pd.DataFrame:
    """Read the rows below the names."""
    if not text.strip():
        return pd.DataFrame(columns=header)
    width = max(map(len, itertools.islice(_records(text, separator), SAMPLE)))
    texts = separator != "," and "," in text
    try:
        # Without it pandas takes columns beyond the names for an index, and names shift.
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO(text),
                sep=separator,
                header=None,
                names=list(range(max(width, len(header)))),
                index_col=False,
                skipinitialspace=True,
                low_memory=False,
                on_bad_lines="error",
                dtype=str if texts else None,
            )
    except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        found = UNEVEN.search(str(error))
        if found is None:
            raise InputError(" ".join(str(error).split())) from error
        expected, line, seen = map(int, found.groups())
        raise InputError(f"row {line - 1} has {seen} columns, and the rows above have {expected}") from error
    frame = _as_named(frame, header)
    return _with_points(frame) if texts else frame


def _as_named(frame: pd.DataFrame, header: list[str]) -> pd.DataFrame:
    """Give the columns their names; one column more than names is empty or holds names of the rows."""
    extra = frame.shape[1] - len(header)
    if extra > 0 and frame.iloc[:, len(header) :].isna().to_numpy().all():
        frame, extra = frame.iloc[:, : len(header)], 0
    if extra == 1 and _names_rows(frame.iloc[:, 0]):
        return frame.iloc[:, 1:].set_axis(header, axis=1)
    if extra > 0:
        shown = ", ".join(str(cell) for cell in frame.iloc[0].tolist()[:5])
        raise InputError(
            f"the line of names has {len(header)} columns and the rows have {frame.shape[1]} "
            f"({shown}): expected as many names as numbers in a row"
        )
    frame = frame.set_axis(header, axis=1)
    nothing = [name == "" and bool(frame.iloc[:, at].isna().all()) for at, name in enumerate(header)]
    return frame.loc[:, ~np.array(nothing)]


def _names_rows(column: pd.Series[str]) -> bool:
    """Return whether a column without a name holds words, or counts from 0 or 1: names of rows."""
    numbers = [read_number(str(cell)) for cell in column.tolist()]
    first = 0 if numbers[:1] == [0] else 1
    return all(n is None for n in numbers) or numbers == list(range(first, first + len(numbers)))


def _with_points(frame: pd.DataFrame) -> pd.DataFrame:
    """Return texts as numbers if all of a column are some, read with a decimal comma if there is one."""
    decimal_comma = mark_of(frame, Mark.DECIMAL) is Mark.DECIMAL
    columns = {}
    for position, (_, column) in enumerate(frame.items()):
        plain = column.map(with_point, na_action="ignore") if decimal_comma else column
        numbers = pd.to_numeric(plain, errors="coerce")
        columns[position] = numbers if numbers.notna().equals(plain.notna()) else plain
    return pd.DataFrame(columns).set_axis(frame.columns, axis=1)
