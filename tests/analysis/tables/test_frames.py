"""Files told apart by what is in them: JSON in its shapes, encodings, packed text, and what is no table."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zstandard

from analysis.tables.frames import read_frame
from analysis.tables.table import load_table
from harness.records.errors import InputError

FRAME = pd.DataFrame({"N": [1e8, 2e8, 4e8], "D": [2e9, 4e9, 8e9], "loss": [3.0, 2.5, 2.25]})
RECORDS: list[dict[str, Any]] = FRAME.to_dict("records")  # type: ignore[assignment]
TEXT = FRAME.to_csv(index=False)

SHAPES: dict[str, object] = {
    "records": RECORDS,
    "columns": FRAME.to_dict("list"),
    "columns by row": json.loads(FRAME.to_json()),
    "rows by name": {f"run {row}": record for row, record in enumerate(RECORDS)},
    "split": json.loads(FRAME.to_json(orient="split")),
    "a list under a key": {"project": "x", "tags": ["a"], "runs": RECORDS},
    "nested": [{"config": {"size": record["N"]}, **record} for record in RECORDS],
}


def stored(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("suffix", [".json", ".JSON", ".txt"])
def test_json_in_the_shapes_that_people_write(shape: str, suffix: str, tmp_path: Path) -> None:
    frame = read_frame(stored(tmp_path / f"runs{suffix}", json.dumps(SHAPES[shape], indent=1)))
    np.testing.assert_array_equal(frame[["N", "D", "loss"]], FRAME)


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".json", ".csv"])
def test_json_lines(suffix: str, tmp_path: Path) -> None:
    lines = "\n\n".join(json.dumps({**record, "config": {"lr": 0.1}}) for record in RECORDS)
    frame = read_frame(stored(tmp_path / f"runs{suffix}", lines + "\n"))
    np.testing.assert_array_equal(frame[["N", "D", "loss"]], FRAME)
    assert frame["config.lr"].tolist() == [0.1] * 3


def test_numbers_of_json_that_are_no_json_are_missing(tmp_path: Path) -> None:
    path = stored(tmp_path / "runs.json", json.dumps([*RECORDS, {"N": 1e8, "D": 1e9, "loss": float("nan")}]))
    assert [entry.row for entry in load_table(path).excluded] == [3]


def packed(kind: str) -> bytes:
    data = TEXT.encode()
    if kind == "zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("runs.csv", data)
        return buffer.getvalue()
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}.get(kind)
    return pack(data) if pack else zstandard.ZstdCompressor().compress(data)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst", "zip"])
def test_packed_text(kind: str, tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_frame(stored(tmp_path / f"runs.csv.{kind}", packed(kind))), FRAME)


def test_two_frames_are_one_table(tmp_path: Path) -> None:
    head, rows = TEXT.encode().split(b"\n", 1)
    pack = zstandard.ZstdCompressor().compress
    path = stored(tmp_path / "runs.csv.zst", pack(head + b"\n") + pack(rows))
    np.testing.assert_array_equal(read_frame(path), FRAME)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_what_is_cut_short_is_refused_however_long(kind: str, tmp_path: Path) -> None:
    """Readers of one format hand out what was there, and say nothing."""
    rows = np.random.default_rng(0).uniform(1e7, 1e9, [9000, 3])
    text = pd.DataFrame(rows, columns=["N", "D", "loss"]).to_csv(index=False).encode()
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lambda data: lzma.compress(data, preset=0)}
    data = pack.get(kind, zstandard.ZstdCompressor().compress)(text)
    for cut in (data[: len(data) // 2], data[:-1]):
        with pytest.raises(InputError, match="cannot read"):
            read_frame(stored(tmp_path / f"runs.csv.{kind}", cut))


def test_packed_parquet_and_what_macs_pack_beside_a_table(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "runs.parquet")
    data = gzip.compress((tmp_path / "runs.parquet").read_bytes(), mtime=0)
    np.testing.assert_array_equal(read_frame(stored(tmp_path / "runs.parquet.gz", data)), FRAME)
    with zipfile.ZipFile(tmp_path / "runs.zip", "w") as archive:
        for name in ("runs.csv", "__MACOSX/._runs.csv", "sub/.DS_Store"):
            archive.writestr(name, TEXT)
    np.testing.assert_array_equal(read_frame(tmp_path / "runs.zip"), FRAME)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    path = stored(tmp_path / "runs.csv", TEXT.replace("loss", "Verlust für é").encode(encoding))
    assert read_frame(path).columns.tolist() == ["N", "D", "Verlust für é"]


def test_parquet_under_another_name_and_with_an_index(tmp_path: Path) -> None:
    path = tmp_path / "runs.pq"
    FRAME.set_index(["N", "D"]).to_parquet(path)
    assert load_table(path).n.tolist() == FRAME["N"].tolist()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", '"runs"', "JSON without records: expected a list of flat records"),
        ("x.json", "[1, 2]", "JSON without records"),
        ("x.json", '{"a": [{"N": 1}], "b": [{"N": 2}, {"N": 1}]}', "JSON object without one list of records"),
        ("x.json", '{"N": ', "it is no JSON: Expecting value"),
        ("x.jsonl", '{"N": 1}\n{"N": \n', "line 2 is no JSON"),
        ("x.jsonl", '{"N": 1}\n[1]\n', "JSON without records"),
        ("x.json", "[" * 100_000, "recursion"),
        ("x.json", '[{"N": ' + "9" * 5000 + "}]", "Exceeds the limit"),
        ("x.parquet", "N,D,loss\n1,2,3\n", "it is no parquet file"),
        ("x.parquet", b"PAR1junk", "cannot read"),
        ("x.xls", b"\xd0\xcf\x11\xe0\xa1", "old Excel workbook: save the sheet as .csv"),
        (
            "x.xlsx",
            b"PK\x03\x04cut",
            "x.xlsx as a .csv, .*: it is a damaged archive or Excel workbook",
        ),
        ("x.db", b"SQLite format 3\0", "it is a database"),
        ("x.npy", b"\x93NUMPY\x01", "array of NumPy"),
        ("x.parquet", b"", "it is empty"),
        ("x.csv", b"N,D\0\0", "zero bytes"),
        ("x.csv.gz", gzip.compress(b"N,D,loss\n1,2,3", mtime=0)[:-9], "cannot read"),
    ],
)
def test_files_that_are_no_table(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"cannot read .*{message}|{message}") as raised:
        read_frame(stored(tmp_path / name, content))
    assert "\n" not in str(raised.value)


def test_workbooks_archives_and_folders(tmp_path: Path) -> None:
    for names, message in (
        (["xl/workbook.xml"], "Excel workbook"),
        (["a.csv", "b.csv"], "of 2 files"),
    ):
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for name in names:
                archive.writestr(name, TEXT)
        with pytest.raises(InputError, match=message):
            read_frame(tmp_path / "x.zip")
    (tmp_path / "points.parquet").touch()
    with pytest.raises(InputError, match=r"it is a folder, give a file such as .*points.parquet"):
        read_frame(tmp_path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("Step,a - loss,a - loss__MIN,a - loss__MAX", "export of a chart, a column a run .*melt it"),
        ("width,1e18,3e18,1e19", "numbers as names of columns .*melt it"),
        ("a,b,c,d", "map .* with columns out of: 'a', 'b', 'c', 'd'"),
    ],
)
def test_wide_tables_are_told_to_be_melted(header: str, message: str, tmp_path: Path) -> None:
    path = stored(tmp_path / "x.csv", f"{header}\n64,1.07,1.04,—\n96,1.06,1.02,0.9\n")
    with pytest.raises(InputError, match=message):
        load_table(path, mapping={"N": "params", "D": "tokens"})
