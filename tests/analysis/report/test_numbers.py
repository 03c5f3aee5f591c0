"""Numbers as the report prints them."""

from __future__ import annotations

import pytest

from analysis.records.fits import TrendRecord
from analysis.report import numbers as report_numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0, "0"),
        (0.4844, "0.484"),
        (-0.05, "−0.050"),
        (12.345, "12.35"),
        (39047.5, "39,048"),
        (3.2e7, "3.2×10⁷"),
        (1e-9, "10⁻⁹"),
        (-2e6, "−2×10⁶"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert report_numbers.number(value) == text


def test_other_number_formats() -> None:
    assert report_numbers.signed(0.25, 2) == "+0.25"
    assert report_numbers.signed(-0.25, 2) == "−0.25"
    assert report_numbers.percent(0.0123) == "1.23 %"
    assert report_numbers.in_percent(None) == "–"
    assert [report_numbers.duration(s) for s in (45, 512, 9000)] == ["45 s", "8 min 32 s", "2 h 30 min"]
    assert [report_numbers.p_value(p) for p in (1e-5, 0.04, None)] == ["< .001", "0.040", "–"]
    assert report_numbers.trends([TrendRecord("N", 1e-4, 0.5), TrendRecord("D/N", 0.5, 0.1)]) == "N (< .001)"
    assert report_numbers.trends([]) == "nothing"
    assert report_numbers.flat({"a": {"b": [1, 2], "c": None}}) == [("a.b", "1, 2"), ("a.c", "–")]
