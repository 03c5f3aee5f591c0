"""The worker's protocol, and what it leaves behind when a run cannot go on."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from harness.data.build import DataConfig
from harness.engine.distributed import initialize_from_environment
from harness.launch import lease
from harness.launch.local.places import Seat, core_seat, worker_environment
from harness.launch.stop import StopFlag
from harness.launch.worker import WorkerConfig, attempt_here, run_job, run_pack
from harness.recipe.spec import Job
from harness.records.errors import WRONG_INPUT_EXIT_CODE, InputError
from harness.records.files import write_json
from harness.records.paths import SweepFolder
from harness.records.run_files import Origin, read_attempts
from tests import ROOT, preloaded
from tests.fakes.record import CORPUS
from tests.recipes import RASTER, inputs, optim, run_spec
from tests.small_sweeps import environment

JOB = Job(run_spec(), (4 * RASTER,))


def config(root: Path, cache: Path) -> WorkerConfig:
    data = asdict(DataConfig("synthetic", 32, synthetic_tokens=100_000, min_eval_tokens=8_224))
    return WorkerConfig(str(root), str(cache), data, 32, 8192, 2048, {}, {}, 60.0)


def state(folder: SweepFolder) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(folder.run(JOB.spec.run_id).state.read_text())
    return found


@pytest.fixture
def restore_signals():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_settings_survive_the_line(tmp_path: Path) -> None:
    made = config(tmp_path, tmp_path)
    assert made.to_line().count("\n") == 0
    read = WorkerConfig.from_line(made.to_line())
    assert read.data["packages"] == list(made.data["packages"])
    assert replace(read, data=made.data) == made


def test_a_job_ends_done_and_a_second_time_trains_nothing(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    assert run_job(JOB, folder, inputs()) == {"run_id": JOB.spec.run_id, "status": "done"}
    assert state(folder)["status"] == "done"
    (point,) = folder.run(JOB.spec.run_id).points.iterdir()
    before = point.stat().st_mtime_ns
    assert run_job(JOB, folder, inputs())["status"] == "done"
    assert point.stat().st_mtime_ns == before


def test_a_diverging_job_is_an_answer(tmp_path: Path) -> None:
    wild = Job(replace(JOB.spec, optim=optim(hidden_lr=1e20, head_lr=1e20)), JOB.n_tokens)
    assert run_job(wild, SweepFolder(tmp_path), inputs())["status"] == "diverged"


def test_an_interrupted_job_says_so(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    assert run_job(JOB, folder, inputs(should_stop=lambda: True))["status"] == "interrupted"
    assert state(folder)["status"] == "interrupted"


def test_a_full_disk_fails_the_run_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = SweepFolder(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("harness.train.journal.write_checked", full)
        reply = run_job(JOB, folder, inputs())
        assert reply["status"] == "failed"
        assert "No space left on device" in reply["error"]
        assert reply["retry"], "the disk may be freed"
        said = state(folder)
        assert (said["status"], said["error"], said["retry"]) == ("failed", reply["error"], True)
        assert [failed["error"] for failed in said["failures"]] == [reply["error"]]
        assert "Traceback" in folder.run(JOB.spec.run_id).log.read_text()
        patch.setattr("harness.runs.state.write_record", full)
        assert run_job(JOB, folder, inputs()) == reply
    assert run_job(JOB, folder, inputs())["status"] == "done"
    assert state(folder)["retries"] == 1
    assert state(folder)["failures"] == said["failures"]


@pytest.mark.parametrize("silent", [True, False])
def test_a_failure_beside_a_silent_owner_is_tried_again(
    silent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was thought dead may wake up and write checkpoints of the same names."""
    sweep = SweepFolder(tmp_path)
    folder = sweep.run(JOB.spec.run_id)
    if silent:
        owner = lease.Lease("x", "here", "elsewhere", 1, "1")
        write_json(folder.lease / "1.json", asdict(owner))
        os.utime(folder.lease / "1.json", (0, 0))

    def fail(*_: object) -> list[Exception]:
        return [ValueError("no such array")]

    monkeypatch.setattr("harness.train.pack.train_pack", fail)
    assert run_job(JOB, sweep, inputs())["retry"] == silent


def test_one_silent_owner_disturbs_all_who_come_after(tmp_path: Path) -> None:
    """The next owner fails and gives its lease back, or dies, while the first one is still asleep."""
    folder = SweepFolder(tmp_path).run(JOB.spec.run_id)
    with lease.held(folder) as disturbed:
        assert not disturbed
    with lease.held(folder) as disturbed:
        assert not disturbed, "a lease that was given back disturbs nobody"
    asleep = lease.Lease("x", "here", "elsewhere", 1, "1")
    write_json(folder.lease / "9.json", asdict(asleep))
    os.utime(folder.lease / "9.json", (0, 0))
    for _ in range(3):
        with lease.held(folder) as disturbed:
            assert disturbed


def test_a_run_in_other_hands_is_left_alone_and_its_end_is_believed(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    with lease.held(folder.run(JOB.spec.run_id)):
        assert run_job(JOB, folder, inputs()) == {"run_id": JOB.spec.run_id, "status": "waiting"}
    wild = Job(replace(JOB.spec, optim=optim(hidden_lr=1e20, head_lr=1e20)), JOB.n_tokens)
    assert [answer["status"] for answer in run_pack((JOB, wild), folder, inputs())] == ["done", "diverged"]
    assert run_job(wild, folder, inputs())["status"] == "diverged"


def test_wrong_input_is_said_to_be_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> None:
        raise InputError("the recipe is another")

    monkeypatch.setattr("harness.train.pack.train_job", wrong)
    reply = run_job(JOB, SweepFolder(tmp_path), inputs())
    assert (reply["error"], reply["retry"]) == ("the recipe is another", False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
@pytest.mark.usefixtures("restore_signals")
def test_a_signal_asks_to_stop(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    monkeypatch.setenv("HARNESS_PARENT", str(os.getppid()))
    stop = StopFlag()
    assert not stop()
    os.kill(os.getpid(), number)
    assert stop()


@pytest.mark.usefixtures("restore_signals")
def test_a_parent_gone_before_the_worker_looked_asks_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.Popen(["true"])
    done.wait()
    monkeypatch.setenv("HARNESS_PARENT", str(done.pid))
    assert StopFlag()()
    assert worker_environment(Seat(), 1)["HARNESS_PARENT"] == str(os.getpid())


@pytest.mark.parametrize("said", [{}, {"HARNESS_PROCESSES": "two", "HARNESS_PROCESS": "0"}])
def test_a_coordinator_without_numbers_is_refused(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, str]
) -> None:
    for name, value in (said | {"HARNESS_COORDINATOR": "host:1"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="needs whole numbers in HARNESS_PROCESSES and HARNESS_PROCESS, got"):
        initialize_from_environment()


def test_an_environment_pins_one_thread_per_core() -> None:
    pinned = worker_environment(core_seat(1), 1)
    assert (pinned["HARNESS_CORE"], pinned["OMP_NUM_THREADS"]) == ("1", "1")
    assert "--xla_cpu_multi_thread_eigen=false" in pinned["XLA_FLAGS"]
    free = worker_environment(Seat(), 4)
    assert free["XLA_FLAGS"].split()[-1] == "--xla_force_host_platform_device_count=4"


def test_a_worker_answers_a_line_a_job_and_ends_with_its_input(tmp_path: Path, data_cache: Path) -> None:
    """The real process; its answer to a job that cannot be trained is a line too."""
    made = config(tmp_path, data_cache)
    impossible = Job(replace(JOB.spec, data=JOB.spec.data, log_interval=0), (4 * RASTER,))
    done = served(made, data_cache, {"jobs": [impossible.to_dict()]})
    assert done.returncode == 0
    ((reply,),) = [json.loads(line)["outcomes"] for line in done.stdout.splitlines()]
    assert (reply["run_id"], reply["status"]) == (impossible.spec.run_id, "failed")
    assert reply["error"].startswith("ZeroDivisionError")
    assert not reply["retry"]


def served(made: WorkerConfig, cache: Path, *packs: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """A worker process from its settings to the end of its input."""
    return preloaded.run(
        [sys.executable, "-m", "harness.launch.worker"],
        input="\n".join([made.to_line(), *map(json.dumps, packs)]) + "\n",
        env=environment(cache),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_wrong_settings_end_a_worker_with_one_sentence(tmp_path: Path, data_cache: Path) -> None:
    made = config(tmp_path, data_cache)
    made.data["name"] = "nothing"
    done = served(made, data_cache)
    assert done.returncode == WRONG_INPUT_EXIT_CODE
    assert done.stderr.startswith("data.name=nothing is unknown")


def test_every_attempt_says_where_it_comes_from(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    origin = Origin(command="python -m harness.sweep +grid=smoke", config={"budget": "quick"}, corpus=CORPUS)
    attempt = attempt_here(origin)
    for _ in range(2):
        (reply,) = run_pack((JOB,), folder, inputs(), 1, attempt)
        assert reply["status"] == "done"
    first, second = read_attempts(folder.run(JOB.spec.run_id).provenance)
    assert 0 < first.time <= second.time
    assert replace(first, time=0.0) == attempt
    assert (first.command, first.config, first.corpus) == (origin.command, origin.config, CORPUS)
    assert first.devices[0] == "cpu"
    assert len(first.lock_sha256 or "") == 64
    assert first.code_dirty == first.code_revision.endswith("+")


def test_a_pack_stops_where_one_of_its_runs_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run is put off, to be started again by itself."""
    monkeypatch.setattr("harness.launch.stop.LOOK_SECONDS", 0.0)
    folder, other = SweepFolder(tmp_path), Job(run_spec(seed=1), JOB.n_tokens)
    begun: list[int] = []

    def cancel_in_between() -> bool:
        begun.append(1)
        write_json(folder.run(other.spec.run_id).cancel, {})
        return False

    replies = run_pack((JOB, other), folder, replace(inputs(), should_stop=cancel_in_between))
    assert begun
    assert [reply["status"] for reply in replies] == ["waiting", "interrupted"]
    assert replies[1]["cancelled"]
    folder.run(other.spec.run_id).cancel.unlink()
    assert [reply["status"] for reply in run_pack((JOB, other), folder, inputs())] == ["done", "done"]
