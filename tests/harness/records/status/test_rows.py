"""Status of every run, from its files alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from harness.records.paths import SweepFolder
from harness.records.status.lease_file import STALE_SECONDS
from harness.records.status.rows import SILENT_SECONDS, run_rows
from tests.fakes.runs import finish, hold, planned_sweep, state


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return planned_sweep(tmp_path)


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
