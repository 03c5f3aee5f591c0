"""Columns of tables: what older tables lack, and lists in a cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.tables.table import load_table
from harness.records.columns import (
    POINT_COLUMNS,
    as_table,
    check_done,
    checked_columns,
    checked_curves,
    checked_points,
    is_list,
)
from harness.records.errors import InputError
from harness.records.files import read_table, write_table
from tests.fakes.sweep import make_points

BLOCKS = [2.0, 2.5, 3.0]


@pytest.fixture(scope="module")
def points() -> pd.DataFrame:
    return make_points(np.random.default_rng(0))


def test_lists_survive_the_file_and_rows_without_them_are_null(points: pd.DataFrame, tmp_path: Path) -> None:
    rows = points.to_dict("records")
    rows[0]["loss_blocks"] = BLOCKS
    write_table(tmp_path / "points.parquet", as_table(rows, POINT_COLUMNS))
    found = checked_columns(read_table(tmp_path / "points.parquet"), POINT_COLUMNS, "points.parquet")
    assert list(found.loss_blocks[0]) == BLOCKS
    assert found.loss_blocks[1:].isna().all()
    # Fits do not mind.
    assert len(load_table(found)) == len(load_table(points))


def test_a_table_of_an_earlier_version_has_nulls(points: pd.DataFrame) -> None:
    found = checked_columns(points.drop(columns="loss_blocks"), POINT_COLUMNS, "points.parquet")
    assert found.loss_blocks.isna().all()
    with pytest.raises(InputError, match="lacks the columns loss_sem"):
        checked_columns(points.drop(columns="loss_sem"), POINT_COLUMNS, "points.parquet")


@pytest.mark.parametrize("value", ["text", 1.0, ["a"], [[1.0]], [1.0, float("nan")]])
def test_what_is_no_list_of_numbers_is_refused(points: pd.DataFrame, value: object) -> None:
    assert not is_list(value)
    rows = points.to_dict("records")
    rows[0]["loss_blocks"] = value
    with pytest.raises(InputError, match="in column loss_blocks, expected a list of numbers"):
        checked_columns(pd.DataFrame(rows), POINT_COLUMNS, "points.parquet")


def test_bits_per_byte_of_an_unknown_tokenizer_are_null(points: pd.DataFrame) -> None:
    check_done(points.assign(bits_per_byte=np.nan), "points.parquet")
    for column, value in (("bits_per_byte", 0.0), ("bits_per_byte", np.inf), ("loss", np.nan)):
        with pytest.raises(InputError, match=f"in column {column} of a finished point, expected a number"):
            check_done(points.assign(**{column: value}), "points.parquet")


def curve_rows(**changes: object) -> pd.DataFrame:
    row = {
        "run_id": "a", "point_id": None, "step": 4, "n_tokens": 512, "flops": 1e9, "train_loss": 3.0,
        "eval_loss": np.nan, "hidden_lr": 0.0, "grad_norm": 1.0, "tokens_per_second": 1.0, "mfu": 0.1,
    }  # fmt: skip
    return pd.DataFrame([row, row | changes])


def test_a_logged_step_has_numbers_that_can_be() -> None:
    checked_curves(curve_rows(train_loss=np.inf, eval_loss=2.0), "curves.parquet")
    wrong = {
        "step": (0, -1, 2**60, 1.5), "n_tokens": (0, np.nan), "flops": (0.0, np.inf),
        "hidden_lr": (-1.0, np.nan), "train_loss": (0.0, 1e12), "eval_loss": (-1.0,),
    }  # fmt: skip
    for column, values in wrong.items():
        for value in values:
            with pytest.raises(InputError, match=rf"^curves.parquet (has|holds) .* in column {column}"):
                checked_curves(curve_rows(**{column: value}), "curves.parquet")


@pytest.mark.parametrize("column", ["run_id", "rung"])
def test_a_finished_point_has_a_name(column: str) -> None:
    points = make_points(np.random.default_rng(0))
    checked_points(points, "points.parquet")
    points[column] = points[column].astype(object)
    points.loc[0, column] = None
    with pytest.raises(InputError, match=f"a finished point without {column}"):
        checked_points(points, "points.parquet")
