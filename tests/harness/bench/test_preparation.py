"""The benchmark of preparing large text: its text, its account of processes, and what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from harness.bench import preparation
from harness.bench.preparation import killed, main, make_text, watch
from harness.data.text.corpora import list_files, list_python
from harness.data.text.document import Document
from harness.data.text.read import read_text
from harness.records.errors import InputError


def test_text_is_repeated_with_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = list_python(("jaxtyping",))
    monkeypatch.setattr(preparation, "list_python", lambda _: few)
    monkeypatch.setattr(preparation, "FILE_MB", 0.05)
    (tmp_path / "texts").mkdir()
    mb = make_text(tmp_path / "texts", 0.4, tmp_path / "sample.jsonl", 0.01)
    files = list_files(str(tmp_path / "texts"))
    assert {Path(file.name).suffix for file in files} == {".zst", ".txt"}
    texts = [record.text for record in read_text(files, "text") if isinstance(record, Document)]
    # Blank lines between the documents of .txt files are not counted.
    assert sum(len(text.encode()) for text in texts) == pytest.approx(mb * 1e6, rel=0.01)
    assert 0.4 <= mb < 0.5
    assert len(set(texts)) == len(texts) > 2 * len(few)
    rows = [json.loads(line)["text"] for line in (tmp_path / "sample.jsonl").read_text().splitlines()]
    assert rows == texts[: len(rows)]


def test_memory_and_time_of_a_tree_of_processes_are_counted() -> None:
    below = "x = bytearray(80_000_000); import time; time.sleep(0.7)"
    above = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {below!r}])"
    cost = watch([sys.executable, "-c", above])
    assert cost.memory_mb > 80
    assert (cost.processes, cost.killed) == (2, False)
    assert 0 < cost.cpu_seconds < cost.seconds
    assert watch([sys.executable, "-c", "import time; time.sleep(60)"], kill_after=0.1).killed


def test_a_preparation_that_ends_too_soon_is_not_killed() -> None:
    with pytest.raises(InputError, match="ended before 30 s"):
        killed([sys.executable, "-c", ""], 30)


def test_the_share_of_the_time_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--kill-at", "1.5"]) == 2
    assert capsys.readouterr().err == (
        "error: a share of the time is 1.5, expected between 0 and 1 (--kill-at)\n"
    )


def test_text_that_fits_into_memory_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--mb", "1"]) == 2
    assert capsys.readouterr().err.startswith("error: 1 MB of text are prepared in memory, expected clearly")
