"""Retries, other drivers' runs and spare packs, with a launcher that only pretends to train."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.grid.cells import jobs
from harness.launch import lease, supervise
from harness.launch.interface import Handle, Outcome
from harness.launch.supervise import Detached, Supervisor
from harness.recipe.spec import Job, Pack
from harness.records.files import write_json
from harness.records.paths import SweepFolder
from harness.records.run_files import RunStatus
from harness.records.status import lease_file
from harness.runs.state import record_failure, set_state
from tests.fakes.points import write_point
from tests.small_sweeps import small_cells

JOBS = jobs(small_cells("grid.seeds=[0,1]"))
FIRST, SECOND = JOBS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepFolder:
    for name in ("POLL_SECONDS", "BACK_OFF_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(supervise, name, 0.001)
    return SweepFolder(tmp_path)


def finish(folder: SweepFolder, job: Job, status: RunStatus = RunStatus.DONE) -> None:
    for n in job.n_tokens:
        write_point(folder, job.spec, n)
    set_state(folder.run(job.spec.run_id), status)


class Pretender:
    """A launcher whose packs end at the next poll, each as the test says."""

    n_workers = 1
    detach = False

    def __init__(self, end: Callable[[Job], Outcome]):
        self.end = end
        self.given: list[Pack] = []
        self.waiting: list[Handle] = []
        self.stopped = False

    def submit(self, pack: Pack, spare: bool = False) -> Handle:
        self.given.append(pack)
        self.waiting.append(Handle(pack, 1.0, spare, lambda: None))
        return self.waiting[-1]

    def poll(self, seconds: float) -> list[Handle]:  # noqa: ARG002
        due = [handle for handle in self.waiting if not handle.spare] or self.waiting
        ended, self.waiting = due, [handle for handle in self.waiting if handle not in due]
        return [handle.end(tuple(self.end(job) for job in handle.pack)) for handle in ended]

    def close(self) -> None: ...

    def stop(self) -> None:
        self.stopped = True

    def spent(self, seconds: float) -> dict[str, float]:
        return {"idle": seconds}


def lost(job: Job) -> Outcome:
    return Outcome(job, RunStatus.FAILED, "worker ended with signal 9", retry=True)


def supervised(
    folder: SweepFolder, end: Callable[[Job], Outcome], max_attempts: int = 3
) -> tuple[list[Outcome], Pretender]:
    launcher = Pretender(end)
    supervisor = Supervisor(launcher, folder, max_attempts)
    supervisor.add([(job,) for job in JOBS])
    return list(supervisor.outcomes(lambda _: None)), launcher


def test_a_lost_attempt_is_repeated_and_written_down(folder: SweepFolder) -> None:
    left = {FIRST.spec.run_id: 2}

    def end(job: Job) -> Outcome:
        if left.get(job.spec.run_id):
            left[job.spec.run_id] -= 1
            return lost(job)
        return Outcome(job, RunStatus.DONE)

    outcomes, _ = supervised(folder, end)
    assert {o.job: (o.status, o.attempts) for o in outcomes} == {FIRST: ("done", 3), SECOND: ("done", 1)}
    state = folder.run(FIRST.spec.run_id).read_state()
    assert (state.status, state.retries) == ("waiting", 2)
    assert [failed.error for failed in state.failures] == ["worker ended with signal 9"] * 2


def test_attempts_end_and_the_rest_goes_on(folder: SweepFolder) -> None:
    outcomes, launcher = supervised(
        folder, lambda job: lost(job) if job == FIRST else Outcome(job, RunStatus.DONE)
    )
    assert len(launcher.given) == 4
    assert {o.job: (o.status, o.attempts) for o in outcomes} == {FIRST: ("failed", 3), SECOND: ("done", 1)}
    state = folder.run(FIRST.spec.run_id).read_state()
    assert (state.status, state.error, len(state.failures)) == (
        "failed", "worker ended with signal 9", 3,
    )  # fmt: skip


@pytest.mark.parametrize("status", [RunStatus.DIVERGED, RunStatus.FAILED, RunStatus.INTERRUPTED])
def test_what_would_end_the_same_way_is_not_repeated(folder: SweepFolder, status: RunStatus) -> None:
    outcomes, launcher = supervised(folder, lambda job: Outcome(job, status, "as it is"))
    assert [(o.status, o.attempts) for o in outcomes] == [(status, 1)] * 2
    assert len(launcher.given) == 2


def test_a_failure_that_the_worker_wrote_down_is_told_once(folder: SweepFolder) -> None:
    def end(job: Job) -> Outcome:
        record_failure(folder.run(job.spec.run_id), "OSError: full", retry=True)
        return Outcome(job, RunStatus.FAILED, "OSError: full", retry=True)

    supervised(folder, end, max_attempts=2)
    assert len(folder.run(FIRST.spec.run_id).read_state().failures) == 2


def test_waits_between_attempts_grow(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(supervise, "BACK_OFF_SECONDS", 0.01)
    postpone = Supervisor._postpone

    def noted(self: Supervisor, job: Job, spare: bool, seconds: float) -> None:
        waits.append(seconds)
        postpone(self, job, spare, 0.0)

    monkeypatch.setattr(Supervisor, "_postpone", noted)
    supervised(folder, lambda job: lost(job) if job == FIRST else Outcome(job, RunStatus.DONE), 5)
    assert waits == pytest.approx([0.01, 0.02, 0.04, 0.08])


def test_runs_of_another_driver_are_waited_for_and_read(folder: SweepFolder) -> None:
    """The second driver's launcher never sees them."""
    launcher = Pretender(lambda job: Outcome(job, RunStatus.DONE))
    supervisor = Supervisor(launcher, folder, 1)
    with lease.held(folder.run(FIRST.spec.run_id)):
        supervisor.add([(job,) for job in JOBS])
        found = supervisor.outcomes(lambda _: None)
        assert next(found).job == SECOND
        finish(folder, FIRST, RunStatus.DIVERGED)
    assert [(outcome.job, outcome.status) for outcome in found] == [(FIRST, "diverged")]
    assert launcher.given == [(SECOND,)]


def test_it_says_once_for_whom_it_waits_and_how_long(folder: SweepFolder) -> None:
    told: list[str] = []
    launcher = Pretender(lambda job: Outcome(job, RunStatus.DONE))
    supervisor = Supervisor(launcher, folder, 1, told.append)
    with lease.held(folder.run(FIRST.spec.run_id)):
        supervisor.add([(job,) for job in JOBS])
        found = supervisor.outcomes(lambda _: None)
        next(found)
        for _ in range(3):
            supervisor._submit_due()
        finish(folder, FIRST)
    assert len(list(found)) == 1
    (text,) = told
    assert f"waiting for process {os.getpid()} on {socket.gethostname()}" in text
    assert FIRST.spec.run_id in text
    assert "silent for 60 s" in text


def test_a_lease_from_the_future_is_not_waited_for(
    folder: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its host's clock was a day ahead; two runs end although nobody touches the lease."""
    monkeypatch.setattr(lease, "STALE_SECONDS", 0.05)
    path = folder.run(FIRST.spec.run_id).lease / "1.json"
    write_json(path, vars(lease_file.Lease("they", "elsewhere", "another system", 1, "0")))
    os.utime(path, (time.time() + 86_400,) * 2)
    outcomes, _ = supervised(folder, lambda job: Outcome(job, RunStatus.DONE))
    assert [outcome.status for outcome in outcomes] == ["done"] * 2


def test_a_run_that_a_worker_found_held_is_looked_at_again(folder: SweepFolder) -> None:
    seen: list[Job] = []

    def end(job: Job) -> Outcome:
        seen.append(job)
        return Outcome(job, RunStatus.WAITING if seen.count(job) < 3 else RunStatus.DONE)

    outcomes, _ = supervised(folder, end, max_attempts=1)
    assert {(o.status, o.attempts) for o in outcomes} == {("done", 1)}


def test_jobs_of_one_pack_end_each_for_itself(folder: SweepFolder) -> None:
    first = [True]

    def end(job: Job) -> Outcome:
        return lost(job) if job == FIRST and first and first.pop() else Outcome(job, RunStatus.DONE)

    launcher = Pretender(end)
    supervisor = Supervisor(launcher, folder, 2)
    supervisor.add([(FIRST, SECOND)])
    outcomes = list(supervisor.outcomes(lambda _: None))
    assert [(o.job, o.status) for o in outcomes] == [(SECOND, "done"), (FIRST, "done")]
    assert launcher.given == [(FIRST, SECOND), (FIRST,)]


def test_spare_packs_hold_nobody_up_until_they_are_due(folder: SweepFolder) -> None:
    launcher = Pretender(lambda job: Outcome(job, RunStatus.DONE))
    supervisor = Supervisor(launcher, folder, 1)
    supervisor.add([(FIRST,)], spare=True)
    supervisor.add([(SECOND,)])
    assert [outcome.job for outcome in supervisor.outcomes(lambda _: None)] == [SECOND]
    supervisor.nothing_spare()
    assert [outcome.job for outcome in supervisor.outcomes(lambda _: None)] == [FIRST]


def test_an_interrupted_driver_stops_its_launcher(folder: SweepFolder) -> None:
    def interrupt(_: Job) -> Outcome:
        raise KeyboardInterrupt

    launcher = Pretender(interrupt)
    supervisor = Supervisor(launcher, folder, 1)
    supervisor.add([(FIRST,)])
    with pytest.raises(KeyboardInterrupt):
        list(supervisor.outcomes(lambda _: None))
    assert launcher.stopped


def test_a_launcher_that_detaches_is_asked_once(folder: SweepFolder) -> None:
    """What has ended is told; where nothing is left the sweep goes on."""

    class Queue(Pretender):
        detach = True

        def poll(self, seconds: float) -> list[Handle]:
            self.waiting, later = self.waiting[:1], self.waiting[1:]
            ended, self.waiting = super().poll(seconds), later
            return ended

    launcher = Queue(lambda job: Outcome(job, RunStatus.DONE))
    supervisor = Supervisor(launcher, folder, 1)
    supervisor.add([(job,) for job in JOBS])
    found = supervisor.outcomes(lambda _: None)
    assert next(found).job == FIRST
    with pytest.raises(Detached, match="1 runs are queued or under way; the same command later goes on"):
        next(found)
    assert not launcher.stopped
    assert [outcome.job for outcome in supervisor.outcomes(lambda _: None)] == [SECOND]
