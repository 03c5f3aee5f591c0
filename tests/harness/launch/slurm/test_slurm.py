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


@pytest.mark.slurm
@pytest.mark.usefixtures("queue")
def test_two_runs_submitted_left_alone_killed_and_found_again(
    long_sweep: Path, tmp_path: Path, data_cache: Path
) -> None:
    command = [*SLURM, seeds(0, 1)]
    left = train(tmp_path, data_cache, *command, "launcher.detach=true")
    assert left.returncode == 0, left.stderr
    assert "2 runs are queued or under way; the same command later goes on from here" in left.stdout
    jobs = submissions(tmp_path)
    assert len(set(jobs.values())) == 2
    assert {row.status for row in rows(tmp_path)} <= {"waiting", "running"}

    driver = start(tmp_path, data_cache, *command)
    wait_for(lambda: list(tmp_path.glob("runs/*/points/*.json")), driver)
    driver.kill()
    driver.communicate()
    assert squeue(), "the jobs go on without a driver"

    done = train(tmp_path, data_cache, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert submissions(tmp_path) == jobs, "nothing was submitted twice"
    assert all(row.state.retries == 0 for row in rows(tmp_path))
    assert len(small_sweeps.tables(tmp_path)[0]) == 4
    assert_same_runs(tmp_path, long_sweep, 2)


@pytest.mark.slurm
@pytest.mark.usefixtures("queue")
def test_a_killed_worker_and_a_preempted_job_go_on_where_they_were(
    long_sweep: Path, tmp_path: Path, data_cache: Path
) -> None:
    driver = start(tmp_path, data_cache, *SLURM, seeds(0, 1))
    wait_for(lambda: saved(tmp_path), driver)
    victim = saved(tmp_path)[0]
    os.kill(victim.pid or 0, signal.SIGKILL)
    wait_for(lambda: any(row.state.retries for row in rows(tmp_path)), driver)
    jobs = submissions(tmp_path)

    wait_for(lambda: saved(tmp_path), driver)
    urgent = ["sbatch", "-p", "high", "-N", "2", "-o", "/dev/null", "--wrap", "sleep 1"]
    subprocess.run(urgent, check=True, capture_output=True)
    _, errors = driver.communicate(timeout=400)
    assert driver.returncode == 0, errors
    assert submissions(tmp_path) == jobs, "the jobs went back into the queue by themselves"
    log = "".join(path.read_text() for path in tmp_path.glob("log/*/*.out"))
    assert "Requeued job" in log
    assert_same_runs(tmp_path, long_sweep, 2)


@pytest.mark.slurm
@pytest.mark.usefixtures("queue")
def test_a_job_that_vanishes_is_submitted_again(long_sweep: Path, tmp_path: Path, data_cache: Path) -> None:
    driver = start(tmp_path, data_cache, *SLURM, "launcher.checkpoint_seconds=60", seeds(0))
    wait_for(lambda: submissions(tmp_path), driver)
    (first,) = submissions(tmp_path).values()
    subprocess.run(["scancel", "--signal=KILL", "--full", first], check=True)
    _, errors = driver.communicate(timeout=400)
    assert driver.returncode == 0, errors
    (second,) = submissions(tmp_path).values()
    assert second != first
    (row,) = rows(tmp_path)
    assert f"the Slurm job {first} ended before the run did; see " in row.state.failures[0].error
    assert_same_runs(tmp_path, long_sweep, 1)


@pytest.mark.slurm
@pytest.mark.usefixtures("queue")
def test_a_cancelled_sweep_leaves_the_queue_and_can_go_on(
    long_sweep: Path, tmp_path: Path, data_cache: Path
) -> None:
    command = [*SLURM, seeds(0, 1, 2)]
    one = ["launcher.n_workers=1", "launcher.detach=true"]
    assert train(tmp_path, data_cache, *command, *one).returncode == 0
    wait_for(lambda: saved(tmp_path))
    assert cancel.main([str(tmp_path)]) == 0
    wait_for(lambda: not squeue())
    statuses = [row.status for row in rows(tmp_path)]
    assert set(statuses) <= {"finished", "interrupted"}
    assert statuses.count("interrupted") >= 2
    done = train(tmp_path, data_cache, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {row.status for row in rows(tmp_path)} == {"finished"}
    assert_same_runs(tmp_path, long_sweep, 3)


@pytest.mark.slurm
@pytest.mark.usefixtures("queue")
def test_two_nodes_train_one_run_together(long_sweep: Path, tmp_path: Path, data_cache: Path) -> None:
    """Losses that differ from those of one device by rounding alone."""
    short = ["grid.n_tokens=[16384]", "launcher.checkpoint_seconds=60"]
    done = train(tmp_path, data_cache, *SLURM, *short, seeds(0), "mesh.data=2", "launcher.nodes=2")
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
