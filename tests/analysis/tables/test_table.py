"""Tables: columns found or asked for, rows left out with reasons."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.tables.table import load_table
from harness.records.errors import InputError


def own_rows(rows: int = 4) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run_id": ["a", "a", "b", "b"][:rows],
            "trunk_id": ["a", "a", "b", "b"][:rows],
            "point_id": ["a1", "a2", "b1", "b2"][:rows],
            "n_params": 130,
            "n_params_matmul": 100,
            "n_params_body": 90,
            "n_tokens": [10, 20, 10, 20][:rows],
            "flops": 7e3,
            "loss": [4.0, 3.5, 3.9, 3.4][:rows],
            "status": "done",
            "role": "fit",
            "cooled": True,
            "excluded_reason": None,
        }
    )


def test_own_columns_need_no_mapping() -> None:
    table = load_table(own_rows())
    assert (table.count, table.n[0], table.c[0]) == ("n_params_matmul", 100, 7e3)
    assert table.cluster.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(("count", "n"), [("n_params", 130), ("n_params_body", 90)])
def test_count_chooses_the_size_column(count: str, n: int) -> None:
    table = load_table(own_rows(), count=count)
    assert (table.count, table.n[0]) == (count, n)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_foreign_table_by_mapping(tmp_path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    frame = pd.DataFrame({"params": [1e6, 2e6], "compute": [6e13, 2.4e14], "val": [3.0, 2.5]})
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    table = load_table(path, mapping={"N": "params", "C": "compute", "loss": "val"})
    np.testing.assert_allclose(table.d, [1e7, 2e7])
    assert table.count == "N"
    assert len(np.unique(table.cluster)) == 2


def test_compute_defaults_to_six_n_d() -> None:
    frame = pd.DataFrame({"N": [1e6], "D": [1e7], "loss": [3.0]})
    assert load_table(frame).c[0] == 6e13


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("loss", -1.0, "loss is -1, expected a positive number"),
        ("loss", np.nan, "loss is not a number"),
        ("loss", np.inf, "loss is not finite"),
        (
            "n_tokens",
            -1294967296,
            "n_tokens is -1.29497e+09, expected a positive number: an integer that over",
        ),
        ("n_tokens", 0, "n_tokens is 0, expected a positive number"),
        ("status", "diverged", "run diverged"),
        ("role", "reference", "reference run"),
        ("role", "lr", "learning-rate run"),
        ("cooled", False, "learning rate not cooled down"),
        ("excluded_reason", "disk full", "disk full"),
    ],
)
def test_rows_are_left_out_with_a_reason(column: str, value: object, reason: str) -> None:
    frame = own_rows().astype({column: object})
    frame.loc[2, column] = value
    table = load_table(frame)
    assert len(table) == 3
    assert [entry.row for entry in table.excluded] == [2]
    assert table.excluded[0].reason.startswith(reason)


def test_select_records_a_reason_only_when_given() -> None:
    table = load_table(own_rows())
    assert table.select(table.loss < 3.8).excluded == ()
    chosen = table.select(table.loss < 3.8, "outlier")
    assert [entry.row for entry in chosen.excluded] == [0, 2]
    assert chosen.row.tolist() == [1, 3]
    assert chosen.role == ["fit", "fit"]


def test_cells_group_seeds() -> None:
    assert load_table(own_rows()).cell.tolist() == [0, 1, 0, 1]


def test_missing_column_lists_what_is_there() -> None:
    with pytest.raises(InputError, match=r"no column .*'n_params_matmul' for N.*map .*N=COLUMN.*'a', 'b'"):
        load_table(pd.DataFrame({"a": [1], "b": [2]}))


def test_unknown_mapping_key() -> None:
    with pytest.raises(InputError, match="no key of the mapping is called X: use N, D"):
        load_table(own_rows(), mapping={"X": "loss"})


def test_nothing_usable_names_the_first_reason() -> None:
    with pytest.raises(InputError, match=r"none of the 4 rows can be used.*run failed"):
        load_table(own_rows().assign(status="failed"))


def test_no_rows() -> None:
    with pytest.raises(InputError, match="no rows"):
        load_table(own_rows(0))


@pytest.mark.parametrize(
    ("name", "content"), [("x.csv", b""), ("x.parquet", b"junk"), ("x.csv", b"\xff\xfe\x00")]
)
def test_unreadable_files(tmp_path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="cannot read"):
        load_table(tmp_path / name)


def test_absent_file(tmp_path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        load_table(tmp_path / "none.csv")


@pytest.mark.parametrize(("sign", "size"), [(";", "N"), ("\t", "N"), (",", "N;M")])
def test_columns_are_separated_by_commas_semicolons_or_tabs(tmp_path, sign: str, size: str) -> None:
    frame = pd.DataFrame({size: [1e8, 2e8], "D": [2e9, 4e9], "loss": [3.0, 2.5]})
    frame.to_csv(tmp_path / "t.csv", sep=sign, index=False)
    assert load_table(tmp_path / "t.csv", mapping={"N": size}).d.tolist() == [2e9, 4e9]
