"""Numbers as people write them: what is clear is read, what is not is shown with its row."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.tables.numbers import Kind, Mark, mark_of, read_number, read_numbers
from analysis.tables.table import load_table
from harness.records.errors import InputError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("70M", 70e6),
        ("1.3B", 1.3e9),
        ("1,3B", 1.3e9),
        ("400m", 400e6),
        ("25.6 b", 25.6e9),
        ("2T", 2e12),
        ("20k", 20e3),
        ("7 billion", 7e9),
        ("1.3B params", 1.3e9),
        ("300 GFLOPs", 300e9),
        ("3 EFLOPs", 3e18),
        ("1.5ZFLOPs", 1.5e21),
        ("5 tokens", 5.0),
        ("2,000,000,000", 2e9),
        ("2,000,000.5", 2000000.5),
        ("2.000.000", 2e6),
        ("2.000.000,5", 2000000.5),
        ("2 000 000", 2e6),
        ("2\u00a0000\u202f000", 2e6),
        ("2'000'000", 2e6),
        ("2_000_000", 2e6),
        ("0,345", 0.345),
        ("4,32253", 4.32253),
        (" 1e-3 ", 1e-3),
        ("1.5E+9", 1.5e9),
        ("1.3×10^9", 1.3e9),
        ("1.3 x 10**9", 1.3e9),
        ("6·10²²", 6e22),
        ("12.5 %", 0.125),
        ("−3", -3.0),
        (".5", 0.5),
        ("1,3 Mrd.", 1.3e9),
        ("20 Mio.", 20e6),
        ("0,4 milliards", 0.4e9),
        ("0.2亿", 2e7),
        ("２０００", 2000.0),
        ("٢٠٠٠", 2000.0),
        ("\u200b2e7\ufeff", 2e7),
        ("1" * 30, float("1" * 30)),
    ],
)
def test_what_is_clear_is_read(text: str, value: float) -> None:
    assert read_number(text) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "text",
    ["1,234", "20M?", "~5", "<1B", "70 MB", "3E", "1e", "12,34,567", "1.2.3", "1,2,3", "2,00,000", "1-2",
     "0x10", "70M (est.)", "1,234 M,", "½", "1\n2", "five", "1 2", "--5", "5 %%"],
)  # fmt: skip
def test_what_is_not_clear_is_not_guessed(text: str) -> None:
    assert read_number(text) is None


@pytest.mark.parametrize(
    ("others", "mark", "value"),
    [
        ([], Mark.UNKNOWN, None),
        ([3.25], Mark.GROUP, 1234.0),
        (["3.25"], Mark.GROUP, 1234.0),
        (["1,234,567"], Mark.GROUP, 1234.0),
        (["3,25"], Mark.DECIMAL, 1.234),
        (["1.234.567"], Mark.DECIMAL, 1.234),
        (["0,123"], Mark.DECIMAL, 1.234),
        (["3,25", "3.25"], Mark.UNKNOWN, None),
        (["run 1,5", "a.b"], Mark.UNKNOWN, None),
    ],
)
def test_the_other_numbers_of_a_table_say_what_a_comma_means(
    others: list[object], mark: Mark, value: float | None
) -> None:
    frame = pd.DataFrame({"x": ["1,234"] * max(len(others), 1), "y": others or ["a"]})
    assert mark_of(frame) is mark
    assert read_number("1,234", mark) == value


def test_cells_of_every_type() -> None:
    cells: list[Any] = [1, 2.5, "3M", None, pd.NA, np.nan, np.float32(4), Decimal(5), True, 10**400, "nan",
                        "", "diverged", "—", [1], "7?", 1j, pd.Timestamp(2026, 1, 1)]  # fmt: skip
    found = read_numbers(pd.Series(cells, dtype=object), Kind.COUNT)
    expected = [1, 2.5, 3e6, *[np.nan] * 3, 4, 5, 1, np.inf, *[np.nan] * 8]
    np.testing.assert_array_equal(found.values, expected)
    assert found.words == {10: "nan", 12: "diverged", 13: "—"}
    assert found.unread == {14: "[1]", 15: "7?", 16: "1j", 17: "2026-01-01 00:00:00"}
    assert found.written == "3M"


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, 2], dtype="Int64"),
        pd.Series(["1", "2"], dtype="category"),
        pd.Series(["1", "2"], dtype="string"),
        pd.Series([1, 2], dtype="float32"),
        pd.Series(["1", 2], dtype=object),
    ],
)
def test_columns_of_every_type(column: pd.Series[Any]) -> None:
    assert read_numbers(column, Kind.PLAIN).values.tolist() == [1.0, 2.0]


def test_dates_and_complex_numbers_are_no_numbers() -> None:
    for column in (pd.Series(pd.to_datetime(["2026-01-01"])), pd.Series([1 + 2j])):
        assert read_numbers(column, Kind.PLAIN).unread


@pytest.mark.parametrize(("kind", "text"), [(Kind.PLAIN, "70M"), (Kind.PLAIN, "5 %"), (Kind.COUNT, "5 %")])
def test_a_column_holds_what_its_quantity_can_be(kind: Kind, text: str) -> None:
    assert read_numbers(pd.Series([text]), kind).unread == {0: text}


def rows(**columns: list[object]) -> pd.DataFrame:
    plain: dict[str, list[object]] = {"N": [1e8, 2e8, 4e8], "D": [2e9, 4e9, 8e9], "loss": [3.0, 2.5, 2.25]}
    return pd.DataFrame(plain | columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"N": ["100M", "~200M", "~4M"]}, r"N is '~200M' in row 1 \(1 more rows are alike\): expected a"),
        ({"loss": ["3,000", "2,500", "2,250"]}, "loss is '3,000' in row 0, which is 3000 or 3.000"),
        ({"loss": [3.0, "2.5M", 2.0]}, "loss is '2.5M' in row 1: expected a number"),
        ({"D": [2e9, [4e9], 8e9]}, r"D is '\[4000000000.0\]' in row 1"),
    ],
)  # fmt: skip
def test_a_number_that_is_not_clear_is_refused_with_its_row(
    columns: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_table(rows(**columns))


def test_rows_without_a_number_are_left_out_with_the_word_that_stands_there() -> None:
    table = load_table(rows(loss=["3.0", "diverged", "—"]))
    assert [entry.reason for entry in table.excluded] == ["loss is 'diverged'", "loss is '—'"]


def test_a_row_that_is_not_wanted_may_hold_anything() -> None:
    frame = rows(N=[1e8, 2e8, "?M"], status=["ok", "ok", "crashed"], part=["a", "a", "b"])
    assert len(load_table(frame)) == 2
    assert len(load_table(frame, where={"part": "a"}, mapping={"status": ""})) == 2
    with pytest.raises(InputError, match=r"N is '\?M' in row 2"):
        load_table(frame, mapping={"status": ""})


@pytest.mark.parametrize("value", [1e200, 10**400, 1e-200])
def test_numbers_that_no_unit_explains_are_left_out(value: float) -> None:
    table = load_table(rows(D=[2e9, 4e9, value]))
    assert [entry.row for entry in table.excluded] == [2]
