"""The end of a sweep: what it prints."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from analysis.records.frontier import FrontierRow
from harness.sweep.finish import _frontier


def test_a_frontier_promises_only_the_intervals_it_has() -> None:
    """Few cells give a frontier and too few resamples for its interval; half an interval is none."""
    no = float("nan")
    row = FrontierRow(1e15, 25_700.0, 1e6, 3.5, no, no, 9e5, no, 3.4, 3.625, no, no)
    table = _frontier([row, replace(row, n_low=24_900.0, n_high=26_100.0)])
    (n, d, loss) = (list(column.cells) for column in table.columns[1:])
    assert n == ["25.7k", "25.7k [24.9k, 26.1k]"]
    assert d == ["1M", "1M"]
    assert loss == ["3.500 [3.400, 3.625]"] * 2
    assert table.title == "compute-optimal frontier, with intervals"
    assert _frontier([replace(row, loss_low=no)]).title == "compute-optimal frontier"


def test_a_narrow_terminal_cuts_no_number() -> None:
    row = FrontierRow(1e15, 25_700.0, 1e6, 3.5, 24_900.0, 26_100.0, 9e5, 1.1e6, 3.4, 3.625, 2e4, 3e4)
    console = Console(width=40, record=True, file=io.StringIO())
    console.print(_frontier([row]))
    text = console.export_text()
    assert "…" not in text
    for number in ("25.7k", "[24.9k,", "26.1k]", "3.500", "3.625]"):
        assert number in text
