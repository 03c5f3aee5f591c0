"""The watch of a sweep of many runs: what it reads does not grow with the number of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.curves import sweep
from analysis.curves.sweep import MOST_OF_A_SIZE, SweepCurves
from analysis.curves.watch import SHARE, SweepWatch
from tests.fakes.copies import files_opened, many_runs

N = 50
PARTS = 3  # of the curves of a run
RUNNING = 2


def test_a_watch_reads_the_running_runs_and_some_of_the_others(tmp_path: Path) -> None:
    folder, cells = many_runs(tmp_path, N)
    running = [folder.run(cell.spec.run_id) for cell in cells[: 2 * RUNNING : 2]]
    for run in running:
        for path in [*run.points.iterdir(), *run.curves.glob("branch-*")]:
            path.unlink()
    watch = SweepWatch(tmp_path)
    with files_opened(tmp_path) as first:
        outlooks = watch.look()
    assert set(outlooks) == {run.run_id for run in running}
    assert len(watch.runs) == MOST_OF_A_SIZE + RUNNING
    assert watch.n_left_out == N - RUNNING - MOST_OF_A_SIZE
    assert len(first) == 1 + MOST_OF_A_SIZE * (PARTS + 2) + RUNNING * (1 + 2)
    with files_opened(tmp_path) as again:
        assert watch.look() is outlooks
    assert again == []
    (part,) = running[0].curves.iterdir()
    part.rename(part.with_suffix(".kept"))
    with files_opened(tmp_path) as changed:
        watch.look()
    # The points of that run, which are not there.
    assert len(changed) == 2


def test_of_many_unfinished_runs_the_latest_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "MOST_FOLLOWED", 2)
    folder, cells = many_runs(tmp_path, 8)
    for path in folder.runs.glob("*/points/*.json"):
        path.unlink()
    latest = [folder.run(cell.spec.run_id) for cell in (cells[4], cells[10])]
    for run in latest:
        run.state.write_bytes(run.state.read_bytes())
    assert [run.name for run in SweepCurves(tmp_path).read_few()] == [run.run_id for run in latest]


def test_a_driver_is_kept_for_a_share_of_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 30.0, 31.0, 30.0 + 30.0 / SHARE - 1, 30.0 + 30.0 / SHARE, 1e6])
    monkeypatch.setattr("analysis.curves.watch.time.monotonic", lambda: next(clock))
    looks: list[int] = []
    watch = SweepWatch(tmp_path, seconds=5.0)
    monkeypatch.setattr(watch, "_look", lambda: looks.append(1))
    watch.look()  # takes 30 s
    watch.look()
    watch.look()
    assert len(looks) == 1
    watch.look()
    assert len(looks) == 2
