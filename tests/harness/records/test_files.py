"""Files are written whole, and read as they were written or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pandas as pd
import pytest
from pyarrow import parquet

from harness.records.errors import Damaged
from harness.records.files import read_table, table_bytes, write_atomic, write_table
from harness.records.json_files import read_checked, write_checked
from tests import ROOT

FRAME = pd.DataFrame(
    {"run_id": pd.array(["a", None], dtype="string"), "loss": [1.5, float("nan")], "step": [1, 2]}
)


@pytest.mark.parametrize("first", range(11))
def test_no_flipped_bit_of_a_table_changes_what_is_read(tmp_path: Path, first: int) -> None:
    """Of the pages, of the schema, of the checksum itself."""
    path, written = tmp_path / "t.parquet", table_bytes(FRAME)
    n_damaged = 0
    for bit in range(first, 8 * len(written), 97):
        data = bytearray(written)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            pd.testing.assert_frame_equal(read_table(path), FRAME, check_exact=True)
        except Damaged:
            n_damaged += 1
    assert n_damaged > 8 * len(written) / 97 * 0.95


def test_pages_of_a_table_have_checksums_that_other_readers_verify(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, FRAME)
    column = parquet.ParquetFile(path).metadata.row_group(0).column(1)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match="CRC"):
        parquet.read_table(path, page_checksum_verification=True)


def test_a_table_of_an_earlier_version_is_read_without_a_checksum(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "t.parquet", index=False)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.parquet"), FRAME)
    assert len(read_table(ROOT / "results" / "chinchilla" / "points.parquet", ["loss"]).columns) == 1


@pytest.mark.parametrize("content", [None, b"", b"PAR1", bytes(5000), b"N,D,loss\n1,2,3\n"])
def test_what_is_no_table_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "t.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Damaged) as caught:
        read_table(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_flipped_bit_of_a_record_changes_what_is_read(tmp_path: Path) -> None:
    path, content = tmp_path / "p.json", {"loss": 2.5, "status": "done", "n": 3, "reason": None}
    write_checked(path, content)
    written = path.read_bytes()
    for bit in range(0, 8 * len(written), 3):
        data = bytearray(written)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            found = read_checked(path)
        except Damaged:
            continue
        # The key of the checksum may be hit itself; then the record has a key that no reader knows.
        assert found == content or found.keys() - content.keys()


@pytest.mark.parametrize(
    ("code", "is_fine"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)]
)
def test_a_file_system_that_cannot_sync_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, is_fine: bool
) -> None:
    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    if is_fine:
        write_table(tmp_path / "t.parquet", FRAME)
        assert len(read_table(tmp_path / "t.parquet")) == 2
    else:
        with pytest.raises(OSError, match=os.strerror(code)):
            write_table(tmp_path / "t.parquet", FRAME)
        assert list(tmp_path.iterdir()) == []


def test_a_table_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("sync"))
    monkeypatch.setattr(os, "replace", lambda *names: (calls.append("rename"), replace(*names)))
    write_table(tmp_path / "t.parquet", FRAME)
    assert calls == ["sync", "rename"]


def test_a_folder_in_a_files_place_is_set_aside_with_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "fits.json"
    for text in ("a", "b"):
        path.unlink(missing_ok=True)
        path.mkdir()
        (path / "mine").write_text(text)
        write_atomic(path, "new")
        assert path.read_text() == "new"
    assert (tmp_path / "fits.json.damaged" / "mine").read_text() == "a"
    assert (tmp_path / "fits.json.damaged1" / "mine").read_text() == "b"


def test_a_damaged_file_names_what_to_type(tmp_path: Path) -> None:
    (tmp_path / "points.parquet").touch()
    with pytest.raises(Damaged, match=r"is empty\); type the sweep's command again \(`command` in its sweep"):
        read_table(tmp_path / "points.parquet")
    (tmp_path / "table.parquet").touch()
    with pytest.raises(
        Damaged, match=r"is empty\); put it back from a copy, or write it again by the program"
    ):
        read_table(tmp_path / "table.parquet")
