"""Conditions compare numbers as numbers and words as words, in fits and in evaluations alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.emergence.read import read_foreign
from analysis.tables.conditions import rows_with
from analysis.tables.table import load_table
from harness.records.errors import InputError

FRAME = pd.DataFrame(
    {
        "lr": [1e-3, 1e-4, 3.16e-4],
        "single": np.array([1e-3, 1e-4, 3.16e-4], np.float32),
        "text": ["1e-3", " 0.0001", "3.16e-4 "],
        "steps": [1000, 2000, 3000],
        "missing": [16.0, np.nan, 32.0],
        "tuned": [True, False, False],
        "name": ["70M", "160M", "a, b"],
        "grouped": ["1,000", "2,500", "1,250,000"],
    }
)


@pytest.mark.parametrize(
    ("column", "value", "rows"),
    [
        ("lr", "1e-3", [0]),
        ("lr", "0.0010", [0]),
        ("lr", ".000316", [2]),
        ("single", "1e-3", [0]),
        ("single", "3.16e-4", [2]),
        ("text", "0.001", [0]),
        ("text", "1e-4", [1]),
        ("steps", "2e3", [1]),
        ("steps", "2,000.0", [1]),
        ("steps", "2k", [1]),
        ("missing", "16", [0]),
        ("missing", "32.0", [2]),
        ("tuned", "true", [0]),
        ("tuned", "False", [1, 2]),
        ("name", "70M", [0]),
        ("name", "70e6", [0]),
        ("name", "a, b", [2]),
        ("grouped", "1000", [0]),
        (" lr ", " 1e-3 ", [0]),
    ],
)
def test_rows_with_a_value(column: str, value: str, rows: list[int]) -> None:
    assert np.flatnonzero(rows_with(FRAME, column, value)).tolist() == rows


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("lr", "1e-5", "no row with lr = 1e-5: the column holds 0.001, 0.0001, 0.000316"),
        ("lr", "fast", "no row with lr = fast"),
        ("name", "7M", "the column holds 70M, 160M, a, b"),
        ("rate", "1", "a condition names the column 'rate': expected one out of 'lr', 'single'"),
    ],
)
def test_no_such_row_or_column(column: str, value: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rows_with(FRAME, column, value)


def test_both_commands_share_them() -> None:
    frame = FRAME.assign(N=[1e8, 2e8, 4e8], D=2e9, loss=[3.0, 2.5, 2.25], exact=0.5)
    assert load_table(frame, where={"lr": "1e-4"}).n.tolist() == [2e8]
    found = read_foreign(frame, {"N": "N", "exact": "exact"}, {"lr": "1e-4"}, None, {})
    assert found.frame["N"].tolist() == [2e8]


def test_an_evaluation_reads_numbers_as_a_fit_does() -> None:
    frame = pd.DataFrame({"size": ["70M", "1.3B"], "acc": ["12 %", "50 %"], "nll": ["3,5", "2,25"]})
    mapping = {"N": "size", "exact": "acc ", "smooth": "nll"}
    found = read_foreign(frame, mapping, {}, None, {}).frame
    rows = found[["N", "exact", "nll_per_token"]].to_numpy().tolist()
    assert rows == [[7e7, 0.12, 3.5], [1.3e9, 0.5, 2.25]]
    with pytest.raises(InputError, match="size is 'big' in row 1"):
        read_foreign(frame.assign(size=["70M", "big"]), mapping, {}, None, {})
