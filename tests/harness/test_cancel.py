"""Requests to save and stop, from the command to the worker."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.cancel import clear_requests, main
from harness.grid.cells import jobs
from harness.launch import stop
from harness.launch.interface import Outcome
from harness.launch.stop import StopOrCancel, is_cancelled, sweep_request
from harness.launch.supervise import Supervisor
from harness.launch.worker import run_job
from harness.recipe.spec import Job
from harness.records.files import write_json
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from harness.records.run_files import RunStatus
from harness.records.status.rows import RunRow, run_rows
from harness.runs.state import set_state
from tests import small_sweeps
from tests.fakes.record import cell, sweep_record
from tests.harness.launch.test_supervise import Pretender
from tests.recipes import RASTER, inputs, run_spec
from tests.small_sweeps import small_cells

CELLS = (cell("aa", 1), cell("bb", 1))
JOB = Job(run_spec(), (4 * RASTER,))


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    made = SweepFolder(tmp_path)
    write_record(made.sweep, sweep_record(cells=CELLS))
    return made


def test_a_sweep_is_asked_to_stop_and_told_how_to_go_on(
    folder: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    set_state(folder.run("aa"), RunStatus.RUNNING)
    assert main([str(folder.root)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("1 running runs are asked to save and stop, 1 others are not started")
    assert "to go on: python -m harness.sweep +grid=smoke" in said
    assert is_cancelled(folder.run("aa"))
    assert is_cancelled(folder.run("bb"))
    clear_requests(folder, {"aa", "bb"})
    assert not is_cancelled(folder.run("aa"))


def test_one_run_is_asked_alone(folder: SweepFolder) -> None:
    assert main([str(folder.root), "bb"]) == 0
    assert [is_cancelled(folder.run(name)) for name in ("aa", "bb")] == [False, True]
    clear_requests(folder, {"bb"})
    assert not is_cancelled(folder.run("bb"))


def test_what_has_ended_is_left_alone(folder: SweepFolder, capsys: pytest.CaptureFixture[str]) -> None:
    for each in CELLS:
        write_json(folder.run(each.run_id).point(each.point_id), {})
    assert main([str(folder.root)]) == 0
    assert "nothing to cancel" in capsys.readouterr().out
    assert not sweep_request(folder).exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["aab"], ["aab is no run", "harness.status", "did you mean aa"]),
        (["--now"], ["unknown option --now"]),
    ],
)
def test_wrong_input(
    folder: SweepFolder, more: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder.root), *more]) == 2
    error = capsys.readouterr().err
    assert [word for word in words if word not in error] == []


def test_a_folder_that_is_no_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "sweep.json is missing" in capsys.readouterr().err


def test_a_worker_leaves_a_cancelled_run_and_serves_the_next(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    write_json(folder.run(JOB.spec.run_id).cancel, {})
    reply = run_job(JOB, folder, inputs())
    assert (reply["status"], reply["cancelled"]) == ("interrupted", True)
    assert not folder.run(JOB.spec.run_id).state.exists()


def test_a_run_notices_its_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop, "LOOK_SECONDS", 0.0)
    folder = SweepFolder(tmp_path)
    asked = StopOrCancel(lambda: False, [folder.run("bb"), folder.run("aa")])
    assert not asked()
    write_json(folder.run("aa").cancel, {})
    assert asked()
    assert StopOrCancel(lambda: True, [folder.run("bb")])()


def test_a_cancelled_run_is_not_started_again_and_the_others_go_on(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    first, second = jobs(small_cells("grid.seeds=[0,1]"))
    write_json(folder.run(first.spec.run_id).cancel, {})
    launcher = Pretender(lambda job: Outcome(job, RunStatus.DONE))
    supervisor = Supervisor(launcher, folder, 3)
    supervisor.add([(first,), (second,)])
    found = {o.job: o.status for o in supervisor.outcomes(lambda _: None)}
    assert found == {first: RunStatus.INTERRUPTED, second: RunStatus.DONE}
    assert launcher.given == [(second,)]


def test_a_cancelled_sweep_saves_ends_and_goes_on(tmp_path: Path, data_cache: Path) -> None:
    long = ["data.synthetic_tokens=1000000", "grid.n_tokens=[16384,2097152]"]
    overrides = [*long, "launcher.n_workers=1"]
    folder = SweepFolder(tmp_path / "results")
    driver = small_sweeps.start(folder.root, data_cache, *overrides)
    while driver.poll() is None and not any(folder.runs.glob("*/curves")):
        if any(run.state.tokens_trained for run in known_runs(folder)):
            break
        time.sleep(0.1)
    assert main([str(folder.root)]) == 0
    _, error = driver.communicate(timeout=300)
    assert driver.returncode == 130, error
    assert error == "interrupted; the state is saved, the same command goes on from here\n"
    assert [run.status for run in known_runs(folder)] == ["interrupted"]
    done = small_sweeps.train(folder.root, data_cache, *overrides)
    assert done.returncode == 0, done.stderr
    assert [run.status for run in known_runs(folder)] == ["finished"]


def known_runs(folder: SweepFolder) -> list[RunRow]:
    """Rows of the status, none before the sweep has written its record."""
    return run_rows(folder) if folder.sweep.exists() else []
