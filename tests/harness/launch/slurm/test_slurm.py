"""Sweeps on a real Slurm that the tests start: finished, killed, preempted, left alone and found again.

Each time the tables are those of a sweep on this machine that nobody disturbed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import cancel
from harness.config.settings import load
from harness.launch.slurm import slurm
from harness.records.paths import SweepFolder
from harness.records.run_files import RunState
from harness.records.status.rows import RunRow, run_rows
from harness.sweep import __main__ as sweep
from tests import small_sweeps
from tests.harness.launch.local.test_local import config
from tests.quick_compilation import FLAGS
from tests.slurm_cluster import cluster, empty_queue, squeue, why_not
from tests.small_sweeps import LONG, SMALL, assert_same_runs, start, train

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None, reason="needs the extra slurm: uv sync --extra slurm"
)
WHY_NOT = why_not()
SLURM = [
    LONG,
    "launcher.checkpoint_seconds=0.25",
    "launcher=slurm",
    "launcher.minutes=60",
    "launcher.n_workers=2",
]


def seeds(*numbers: int) -> str:
    return f"grid.seeds=[{','.join(map(str, numbers))}]"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cluster for all tests."""
    if WHY_NOT is not None:
        pytest.skip(WHY_NOT)
    with cluster(tmp_path_factory.mktemp("slurm")):
        yield


@pytest.fixture
def queue(running: None) -> Iterator[None]:  # noqa: ARG001
    """The cluster with an empty queue."""
    yield
    empty_queue()


def wait_for(condition: Callable[[], Any], driver: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert driver is None or driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline, squeue("-o", "%i %T %r")
        time.sleep(0.05)


def submissions(results: Path) -> dict[str, str]:
    """Slurm's job number by run."""
    found = {
        path.parent.name: json.loads(path.read_text()) for path in results.glob("runs/*/submission.json")
    }
    assert all(Path(record["log"]).parent.is_dir() for record in found.values())
    return {run_id: record["job"] for run_id, record in found.items()}


def rows(results: Path) -> list[RunRow]:
    """What harness.status shows, once the driver has written the plan."""
    folder = SweepFolder(results)
    return run_rows(folder) if folder.sweep.exists() else []


def saved(results: Path) -> list[RunState]:
    """States of runs that are under way and have saved a part."""
    return [
        row.state
        for row in rows(results)
        if row.status == "running"
        and list(SweepFolder(results).run(row.run_id).checkpoints.glob("*/*/manifest.json"))
    ]


def running_job(results: Path) -> str | None:
    """The number of a job that has started."""
    jobs = submissions(results).values()
    return next((job for job in jobs if squeue("-j", job, "-o", "%T") == "RUNNING"), None)


@dataclass(frozen=True)
class Sweep:
    """What happened to a sweep whose jobs were disturbed, and its end.

    Attributes:
        results: its folder.
        left: the command that submitted its jobs and ended.
        jobs: Slurm's job numbers by run, in the beginning and after each disturbance.
        before: its runs at the first of these moments.
        queue: what Slurm had in its queue once no driver was left.
        end: exit code and errors of the last command.
    """

    results: Path
    left: subprocess.CompletedProcess[str]
    jobs: list[dict[str, str]]
    before: list[RunRow]
    queue: str
    end: tuple[int, str]


@pytest.fixture(scope="module")
def survivor(running: None, tmp_path_factory: pytest.TempPathFactory, data_cache: Path) -> Sweep:  # noqa: ARG001
    """Two runs that are submitted and left alone; then a worker, the driver and both jobs are disturbed."""
    results, command = tmp_path_factory.mktemp("survivor"), [*SLURM, seeds(0, 1)]
    left = train(results, data_cache, *command, "launcher.detach=true")
    assert left.returncode == 0, left.stderr
    jobs, before = [submissions(results)], rows(results)

    driver = start(results, data_cache, *command)
    wait_for(lambda: saved(results), driver)
    os.kill(saved(results)[0].pid or 0, signal.SIGKILL)
    wait_for(lambda: any(row.state.retries for row in rows(results)), driver)
    wait_for(lambda: list(results.glob("runs/*/points/*.json")), driver)
    driver.kill()
    driver.communicate()
    queue = squeue()
    jobs.append(submissions(results))

    wait_for(lambda: saved(results))
    urgent = ["sbatch", "-p", "high", "-N", "2", "-o", "/dev/null", "--wrap", "sleep 1"]
    subprocess.run(urgent, check=True, capture_output=True)
    wait_for(lambda: "Requeued job" in logs(results))
    done = train(results, data_cache, *command)
    jobs.append(submissions(results))
    empty_queue()
    return Sweep(results, left, jobs, before, queue, (done.returncode, done.stdout + done.stderr))


def logs(results: Path) -> str:
    """What the jobs of a sweep wrote."""
    return "".join(path.read_text() for path in results.glob("log/*/*.out"))


@pytest.mark.slurm
def test_two_runs_submitted_left_alone_killed_and_found_again(survivor: Sweep, long_sweep: Path) -> None:
    words = "2 runs are queued or under way; the same command later goes on from here"
    assert words in survivor.left.stdout
    assert len(set(survivor.jobs[0].values())) == 2
    assert {row.status for row in survivor.before} <= {"waiting", "running"}
    assert survivor.queue, "the jobs go on without a driver"
    code, said = survivor.end
    assert code == 0, said
    assert survivor.jobs[1] == survivor.jobs[0], "nothing was submitted twice"
    assert len(small_sweeps.tables(survivor.results)[0]) == 4
    assert_same_runs(survivor.results, long_sweep, 2)


@pytest.mark.slurm
def test_a_killed_worker_and_a_preempted_job_go_on_where_they_were(survivor: Sweep) -> None:
    """Its tables are compared above."""
    assert sorted(len(row.state.failures) for row in rows(survivor.results)) == [0, 1], "the killed worker"
    assert survivor.jobs[2] == survivor.jobs[0], "the jobs went back into the queue by themselves"
    assert "Requeued job" in logs(survivor.results)


@pytest.fixture(scope="module")
def cancelled(running: None, tmp_path_factory: pytest.TempPathFactory, data_cache: Path) -> Sweep:  # noqa: ARG001
    """Three runs that are cancelled, the first under way; of their next jobs one is lost.

    On a slow machine the first may end before it hears of it, but not the others, which wait for it.
    """
    results, command = tmp_path_factory.mktemp("cancelled"), [*SLURM, seeds(0, 1, 2)]
    left = train(results, data_cache, *command, "launcher.n_workers=1", "launcher.detach=true")
    wait_for(lambda: saved(results))
    jobs = [submissions(results)]
    assert cancel.main([str(results)]) == 0
    wait_for(lambda: not squeue())
    before = rows(results)

    again = {row.run_id for row in before if row.status != "finished"}
    driver = start(results, data_cache, *command)
    wait_for(lambda: all(submissions(results)[run_id] != jobs[0].get(run_id) for run_id in again), driver)
    wait_for(lambda: running_job(results), driver)
    jobs.append(submissions(results))
    lost = running_job(results)
    assert lost is not None
    subprocess.run(["scancel", "--signal=KILL", "--full", lost], check=True)
    errors = driver.communicate(timeout=400)[1]
    jobs.append(submissions(results))
    empty_queue()
    return Sweep(results, left, jobs, before, "", (driver.returncode, errors))


@pytest.mark.slurm
def test_a_job_that_vanishes_is_submitted_again(cancelled: Sweep) -> None:
    """Its tables are compared below."""
    before, after = cancelled.jobs[1:]
    (run_id,) = (run_id for run_id, job in before.items() if after[run_id] != job)
    errors = {row.run_id: [failed.error for failed in row.state.failures] for row in rows(cancelled.results)}
    (error,) = errors.pop(run_id)
    assert f"the Slurm job {before[run_id]} ended before the run did; see " in error
    assert list(errors.values()) == [[], []]


@pytest.mark.slurm
def test_a_cancelled_sweep_leaves_the_queue_and_can_go_on(cancelled: Sweep, long_sweep: Path) -> None:
    assert cancelled.left.returncode == 0
    statuses = [row.status for row in cancelled.before]
    assert set(statuses) <= {"finished", "interrupted"}
    assert statuses.count("interrupted") >= 2
    code, said = cancelled.end
    assert code == 0, said
    assert {row.status for row in rows(cancelled.results)} == {"finished"}
    assert_same_runs(cancelled.results, long_sweep, 3)


@pytest.mark.slurm
@pytest.mark.usefixtures("queue")
def test_two_nodes_train_one_run_together(long_sweep: Path, tmp_path: Path, data_cache: Path) -> None:
    """Losses that differ from those of one device by rounding alone."""
    short = ["grid.n_tokens=[16384]", "launcher.checkpoint_seconds=60"]
    two = ["mesh.data=2", "launcher.nodes=2"]
    done = train(tmp_path, data_cache, *SLURM, *short, seeds(0), *two, XLA_FLAGS=FLAGS)
    assert done.returncode == 0, done.stdout + done.stderr
    mine, theirs = (small_sweeps.tables(results)[0] for results in (tmp_path, long_sweep))
    theirs = theirs[theirs.point_id.isin(mine.point_id)]
    assert len(mine) == 1
    assert mine.point_id.tolist() == theirs.point_id.tolist()
    np.testing.assert_allclose(mine.loss, theirs.loss, rtol=1e-3)


def refused(capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    assert sweep.main([*SMALL, "launcher=slurm", *overrides]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.slurm
@pytest.mark.usefixtures("queue")
def test_what_slurm_does_not_have_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data_cache: Path
) -> None:
    message = refused(capsys, "launcher.partition=hihg")
    assert "launcher.partition=hihg is not there; use one of high, low; did you mean high?" in message
    assert "launcher.minutes=1 to train in" in refused(capsys, "launcher.minutes=1")
    message = refused(capsys, "launcher.nodes=2")
    assert "launcher.nodes=2 cannot share the 1 devices of the mesh evenly" in message
    done = train(tmp_path, data_cache, "launcher=slurm", "launcher.gres=gpu:1")
    assert done.returncode == 2
    assert "error: Slurm refuses the jobs (" in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_is_not_installed_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(slurm.shutil, "which", lambda _: None)
        assert "no sbatch is on the PATH" in refused(capsys)
    monkeypatch.setattr(slurm.importlib.util, "find_spec", lambda _: None)
    assert "type uv sync --extra slurm" in refused(capsys)


def test_every_setting_reaches_the_batch_file(tmp_path: Path, data_cache: Path) -> None:
    given = [
        "account=lab",
        "qos=long",
        "gres=gpu:8",
        "minutes=240",
        "nodes=2",
        "cpus=8",
        "n_workers=5",
    ]
    settings = load(
        [*SMALL, "launcher=slurm", *(f"launcher.{key}" for key in given), "+launcher.sbatch.mem=8G"]
    )
    launcher = slurm.SlurmLauncher(
        settings.launcher, config(SweepFolder(tmp_path), data_cache), lambda _: 1.0
    )
    asked = launcher._parameters()
    named = {key.split("=")[0]: key.split("=")[1] for key in given[:3]}
    assert {key: asked[key] for key in named} == named
    assert (asked["time"], asked["nodes"], asked["ntasks_per_node"], asked["cpus_per_task"]) == (240, 2, 1, 8)
    assert (asked["array_parallelism"], asked["signal_delay_s"]) == (5, 90)
    assert asked["additional_parameters"] == {"requeue": True, "mem": "8G"}
    assert "partition" not in asked, "the cluster has a default"
