"""Conditions on columns: which rows of a table have a wanted value."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.arrays import Mask
from analysis.tables.names import column_of
from analysis.tables.numbers import Kind, mark_of, read_number, read_numbers
from harness.records.errors import InputError

SAME = 1e-6  # relative difference of equal numbers: columns may be stored in single precision
SHOWN = 10  # values of a column that an error lists


def rows_with(frame: pd.DataFrame, column: str, value: str) -> Mask:
    """Return the rows in which a column has a value [rows].

    A cell and `value` are compared as numbers if both are numbers, so 1e-3 finds 0.001, and else as text.

    Args:
        frame: the table.
        column: name of the column.
        value: wanted value as text.

    Raises:
        InputError: no such column, or no row with the value.
    """
    values = column_of(frame, column, "a condition", "where")
    wanted = value.strip()
    texts = [str(cell).strip() for cell in values.tolist()]
    folded = wanted.casefold() if wanted.casefold() in ("true", "false") else None
    same = np.array([text == wanted or text.casefold() == folded for text in texts], bool)
    number = read_number(wanted)
    if number is not None:
        numbers = read_numbers(values, Kind.ANY, mark_of(values.to_frame())).values
        same |= np.isclose(numbers, number, rtol=SAME, atol=0)
    if not same.any():
        distinct = [text or repr(text) for text in dict.fromkeys(texts)]
        more = ", …" if len(distinct) > SHOWN else ""
        raise InputError(
            f"no row with {column} = {value}: the column holds {', '.join(distinct[:SHOWN])}{more}", "where"
        )
    return same
