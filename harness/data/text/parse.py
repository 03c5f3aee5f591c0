"""The document in one record of a file.

A record that cannot be used is no reason to stop: it is passed on as unusable, and cleaning counts it.
"""

from __future__ import annotations

import json
from typing import TypeAlias

from harness.data.text.document import Document, Unusable

# A longer line or cell is no document. A compressed file of 100 kB can hold a line of 4 GB.
LONGEST_RECORD = 2**26
TOO_LONG = f"longer than {LONGEST_RECORD:,} characters"
LONGEST_DETAIL = 200  # characters

Record: TypeAlias = Document | Unusable
# A piece of text, a line of JSON, the value of a cell; None stands for a line that is too long.
Raw: TypeAlias = object


def parse(file: str, number: int, raw: Raw, text_field: str) -> Record | None:
    """Return what one record of a file holds; None for a blank line.

    Args:
        file: name of the file, whose suffix decides how the record is read.
        number: number of the record in the file, from 1.
        raw: the record as `read_raw` yields it.
        text_field: field of JSON lines, or column of parquet files, that holds the text.
    """
    name, kind = f"{file}:{number}", file.lower()
    if kind.endswith(".txt"):
        return Document(name, str(raw))
    if kind.endswith(".parquet"):
        return _record(name, raw, text_field)
    if raw is None:
        return Unusable(name, TOO_LONG)
    return _parsed(name, str(raw), text_field) if str(raw).strip() else None


def _parsed(name: str, line: str, text_field: str) -> Record:
    """Return the record in a line of JSON."""
    try:
        # Numbers are not used, and Python refuses to parse an integer of 5,000 digits.
        row = json.loads(line, parse_int=float)
    except RecursionError:
        return Unusable(name, "not JSON", "brackets within brackets without end")
    except ValueError as error:
        return Unusable(name, "not JSON", str(error))
    if not isinstance(row, dict):
        return Unusable(name, _no_text(text_field), f"is no object but {type(row).__name__}")
    if text_field in row:
        return _record(name, row[text_field], text_field)
    have = f"has the fields {', '.join(row)}"[:LONGEST_DETAIL] if row else "has no field"
    return Unusable(name, _no_text(text_field), have)


def _record(name: str, value: object, text_field: str) -> Record:
    """Return the document of a value that is text, else an unusable record."""
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        return Unusable(name, _no_text(text_field), f"holds {kind}")
    return Document(name, value) if len(value) <= LONGEST_RECORD else Unusable(name, TOO_LONG)


def _no_text(text_field: str) -> str:
    return f"no text in {text_field!r}"
