"""State of every run, from its files alone."""

from __future__ import annotations

import os
import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.records.files import write_json
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from harness.records.run_files import RunState, RunStatus
from harness.records.status.lease_file import STALE_SECONDS, Lease
from harness.records.status.progress import overall
from harness.records.status.rows import SILENT_SECONDS, run_rows
from harness.runs.state import retries_after
from harness.status import main
from tests import ROOT
from tests.fakes.record import cell, sweep_record
from tests.fakes.running import running_sweep

CELLS = tuple(cell(run, n, rung) for run, rung in [("aa", "d16"), ("bb", "d32")] for n in (1, 2))


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    made = SweepFolder(tmp_path)
    write_record(made.sweep, sweep_record(cells=CELLS))
    return made


def state(folder: SweepFolder, status: str, age: float = 0.0, run: str = "aa", **more: Any) -> None:
    said = RunState(status=RunStatus(status), updated=time.time() - age, **more)
    write_record(folder.run(run).state, said)


def finish(folder: SweepFolder, *points: str) -> None:
    for point in points:
        write_json(folder.run("aa").point(point), {})


def status_of(folder: SweepFolder) -> str:
    return str(run_rows(folder)[0].status)


def test_a_run_that_has_not_begun_is_missing(folder: SweepFolder) -> None:
    assert [row.status for row in run_rows(folder)] == ["missing", "missing"]
    assert [(row.run_id, len(row.cells)) for row in run_rows(folder)] == [("aa", 2), ("bb", 2)]


@pytest.mark.parametrize(
    ("said", "age", "n_points", "expected"),
    [
        ("running", 0, 0, "running"),
        ("running", SILENT_SECONDS + 1, 1, "lost"),
        ("interrupted", 0, 1, "interrupted"),
        ("failed", 0, 0, "failed"),
        ("diverged", 0, 2, "diverged"),
        ("done", 0, 2, "finished"),
        ("done", 0, 1, "partial"),
        ("running", 0, 2, "finished"),
    ],
)
def test_states(folder: SweepFolder, said: str, age: float, n_points: int, expected: str) -> None:
    state(folder, said, age)
    finish(folder, *["aa1", "aa2"][:n_points])
    assert status_of(folder) == expected
    assert run_rows(folder)[0].n_finished == n_points


def test_retries_are_counted_but_not_wanted_stops() -> None:
    assert retries_after(RunState()) == 0
    found = {s: retries_after(RunState(status=s, retries=1)) for s in RunStatus}
    assert found == dict.fromkeys(RunStatus, 1) | {RunStatus.FAILED: 2, RunStatus.RUNNING: 2}


def test_a_folder_without_its_runs_is_read_from_its_table(folder: SweepFolder) -> None:
    points = pd.DataFrame({"point_id": ["aa1", "aa2", "bb1"], "status": ["done", "diverged", "failed"]})
    points.to_parquet(folder.points)
    assert [row.status for row in run_rows(folder)] == ["diverged", "failed"]
    points.assign(status="done").to_parquet(folder.points)
    assert [row.status for row in run_rows(folder)] == ["finished", "partial"]


def test_a_half_written_state_counts_as_none(folder: SweepFolder) -> None:
    state(folder, "running")
    folder.run("aa").state.write_text('{"status": "run')
    assert status_of(folder) == "missing"


def test_the_table_shows_progress_speed_time_left_and_errors(
    folder: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    speed = {"seconds": 10.0, "tokens_trained": 250, "tokens_ahead": 1000, "tokens_per_second": 25.0}
    state(folder, "running", loss=3.21, **speed)
    finish(folder, "aa1")
    state(folder, "failed", run="bb", error="OSError: disk", retries=7)
    assert main([str(folder.root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (first,) = [line for line in lines if "aa" in line]
    assert all(word in first for word in ("d16", "running", "1/2", "3.210", " 25 ", "30 s"))
    (second,) = [line for line in lines if "bb" in line]
    assert "failed" in second
    assert "OSError: disk" in second
    assert " 8 " in second
    assert lines[-1] == "1 running, 1 failed; 25 tokens/s in all, about 30 s left"


def test_a_folder_that_is_no_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "sweep.json is missing" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--all"]])
def test_one_folder_is_asked_for(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert ("unknown argument b" if "b" in arguments else "required: folder") in error


def hold(folder: SweepFolder, age: float = 0.0, released: bool = False) -> None:
    """A lease of the first run, by another host, last touched `age` seconds ago."""
    path = folder.run("aa").lease / "1.json"
    write_json(path, asdict(Lease("x", "elsewhere", "another", 1, "1", released)))
    os.utime(path, (time.time() - age, time.time() - age))


def test_a_lease_tells_running_from_lost(folder: SweepFolder) -> None:
    """While it compiles or evaluates a run does not report, but its lease is touched."""
    state(folder, "running", age=10 * SILENT_SECONDS)
    hold(folder)
    assert status_of(folder) == "running"
    hold(folder, age=STALE_SECONDS + 5)
    assert status_of(folder) == "lost"
    state(folder, "running")
    assert status_of(folder) == "lost"
    hold(folder, released=True)
    state(folder, "interrupted")
    assert status_of(folder) == "interrupted"


def test_time_left_counts_what_has_not_begun(folder: SweepFolder) -> None:
    """A run of 2 tokens whose trunk serves the point at 1: 2·0.8 + 0.2·(1 + 2) = 2.2 tokens."""
    state(folder, "running", tokens_ahead=10, tokens_trained=4, tokens_per_second=2.0)
    assert overall(run_rows(folder), 0.2) == "2 tokens/s in all, about 4 s left"
    state(folder, "failed")
    assert overall(run_rows(folder), 0.2) == ""


def test_a_large_sweep_shows_what_matters_first(
    folder: SweepFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.status.MAX_ROWS", 1)
    state(folder, "failed", run="bb", error="[Errno 28] no space")
    assert main([str(folder.root)]) == 0
    shown = capsys.readouterr().out
    assert "1 more runs are not shown; --all shows them" in shown
    assert "bb" in shown
    assert "[Errno 28]" in shown
    assert "aa" not in shown
    assert main([str(folder.root), "--all"]) == 0
    assert "aa" in capsys.readouterr().out


def test_watching_ends_when_every_run_has(
    folder: SweepFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.run("bb").log.parent.mkdir(parents=True)
    folder.run("bb").log.write_text("Traceback")

    def happen(_: float) -> None:
        finish(folder, "aa1", "aa2")
        state(folder, "failed", run="bb")

    monkeypatch.setattr("harness.status.time.sleep", happen)
    assert main([str(folder.root), "--watch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 missing"
    assert lines[1] == lines[-1] == "1 finished, 1 failed"
    assert f"log of bb: {folder.run('bb').log}" in "".join(lines)


@pytest.mark.parametrize("text", ["[1]", '{"recipe": {}}', '{"cells'])
def test_a_file_that_is_no_record(folder: SweepFolder, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder.sweep.write_text(text)
    assert main([str(folder.root)]) == 2
    assert "is no record of a sweep" in capsys.readouterr().err


def test_where_running_runs_end_and_who_left_its_band(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A column with the last end and its interval; an alarm names run, step and distance."""
    longest, true = running_sweep(tmp_path, until=4_000)
    assert main([str(tmp_path), "--all"]) == 0
    text = capsys.readouterr().out
    assert "ends at, 90 %" in text
    (line,) = [line for line in text.splitlines() if longest in line]
    (found,) = re.findall(r"(\d\.\d{3}) ± (\d\.\d{3})", line)
    loss, half = map(float, found)
    assert 0.01 < half < 0.1
    assert loss == pytest.approx(min(true.values()), rel=0.03)
    assert "alarm" not in text
    running_sweep(tmp_path, until=4_000, factor=1.08, after=2_000)
    assert main([str(tmp_path), "--all"]) == 0
    text = capsys.readouterr().out
    assert re.search(
        r"alarm: d96 seed 50 left its band at step 2048: loss \d\.\d+, expected \d\.\d+, \d\.\d % "
        r"\(\d\.\d standard deviations\) above",
        text,
    )


def test_nothing_is_foretold_of_a_finished_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ROOT / "results" / "chinchilla"), "--all"]) == 0
    assert "ends at" not in capsys.readouterr().out
