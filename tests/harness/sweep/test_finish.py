"""The end of a sweep: what is sealed, and when."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from analysis.forecast.seal import table_sha256
from analysis.records.fits import ForecastCell, FrontierRow
from analysis.records.forecast import ForecastRecord
from analysis.tables.table import load_table
from harness.records.paths import SweepFolder
from harness.sweep.finish import _frontier, seal_forecast
from tests.fakes.fits import kaplan_fit
from tests.fakes.sweep import make_points
from tests.small_sweeps import small_cells


def test_of_two_drivers_with_one_table_the_first_seals_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hold-out may be in training by then, so that a second seal would be none."""

    def sealed(fitted: pd.DataFrame, cells: pd.DataFrame, **_: object) -> ForecastRecord:
        rows = tuple(
            ForecastCell(row.rung, int(row.n_params), int(row.n_tokens), row.flops, 1.0, 3.0, 2.9, 3.1)
            for row in cells.itertuples()
        )
        return ForecastRecord(
            created="2024-05-01T12:00:00Z",
            code_revision="0123abc",
            table_sha256=table_sha256(load_table(fitted)),
            rule="",
            law="joint",
            count="n_params",
            fit=kaplan_fit("n_params"),
            level=0.9,
            cells=rows,
            losers=(),
            contest=(),
        )

    monkeypatch.setattr("analysis.forecast.seal.seal_forecast", sealed)
    folder, points, holdout = SweepFolder(tmp_path), make_points(np.random.default_rng(0)), small_cells()
    assert seal_forecast(folder, points, holdout, 20)
    before = folder.forecast.read_bytes()
    assert not seal_forecast(folder, points, holdout, 20)
    assert folder.forecast.read_bytes() == before
    assert seal_forecast(folder, points, holdout[:1], 20), "other cells are held out"
    assert seal_forecast(folder, points.iloc[1:], holdout[:1], 20), "another table is fitted"


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
