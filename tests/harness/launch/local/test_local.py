"""Runs by worker processes: any number of them, and any of them killed, give the same tables."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from harness.data.build import DataConfig
from harness.grid.cells import Cell, job_flops, jobs
from harness.grid.packs import one_lane, packs
from harness.launch.interface import Handle, Outcome
from harness.launch.local.local import LocalLauncher
from harness.launch.local.places import seats
from harness.launch.supervise import Supervisor
from harness.launch.worker import WorkerConfig
from harness.recipe.spec import Job
from harness.records.paths import SweepFolder
from harness.runs.collect import write_tables
from tests import preloaded
from tests.small_sweeps import LONG, assert_same_tables, point_times, small_cells


def cells() -> list[Cell]:
    """Two trunks of one compiled shape, each seconds long."""
    return small_cells(LONG, "grid.seeds=[0,1]")


def config(folder: SweepFolder, cache: Path) -> WorkerConfig:
    data = asdict(DataConfig("synthetic", 32, synthetic_tokens=100_000, min_eval_tokens=8_224))
    return WorkerConfig(str(folder.root), str(cache), data, 32, 8192, 2048, {}, {}, 0.2)


def launcher(folder: SweepFolder, cache: Path, n_workers: int = 1) -> LocalLauncher:
    return LocalLauncher(config(folder, cache), seats(n_workers, 1), job_flops)


def train(
    made: LocalLauncher,
    folder: SweepFolder,
    watch: Callable[[list[Job]], None],
    max_attempts: int = 3,
    close: bool = True,
) -> list[Outcome]:
    """Train all cells and write their tables; `close` ends the workers."""
    supervisor = Supervisor(made, folder, max_attempts)
    supervisor.add(packs(jobs(cells()), one_lane))
    try:
        outcomes = list(supervisor.outcomes(watch))
    finally:
        if close:
            made.close()
    write_tables(folder, cells(), "test", [])
    return outcomes


class Killer:
    """Sends SIGKILL to the worker of the first run that has saved a part of its curve."""

    def __init__(self, made: LocalLauncher, folder: SweepFolder):
        self.made, self.folder = made, folder
        self.run_id: str | None = None

    def __call__(self, running: list[Job]) -> None:
        for job in running:
            run = self.folder.run(job.spec.run_id)
            if self.run_id is None and any(run.curves.glob("*.parquet")):
                self.run_id = run.run_id
                os.kill(int(self.folder.run(run.run_id).read_state().pid or 0), signal.SIGKILL)


@pytest.fixture(scope="module", autouse=True)
def workers_are_forked() -> Iterator[None]:
    """test_process.py and the whole sweep of test_sweep.py start theirs from scratch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", preloaded.Popen)
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data_cache: Path) -> Path:
    """Both trunks trained by one worker, one after the other."""
    folder = SweepFolder(tmp_path_factory.mktemp("one"))
    outcomes = train(launcher(folder, data_cache), folder, lambda _: None)
    assert [(o.status, o.attempts) for o in outcomes] == [("done", 1)] * 2
    return folder.root


def test_two_workers_equal_one(undisturbed: Path, tmp_path: Path, data_cache: Path) -> None:
    folder = SweepFolder(tmp_path)
    together: list[int] = []
    train(launcher(folder, data_cache, 2), folder, lambda running: together.append(len(running)))
    assert max(together) == 2
    assert_same_tables(folder.root, undisturbed)


def test_an_idle_worker_takes_a_spare_job_and_it_is_yielded_once(
    undisturbed: Path, tmp_path: Path, data_cache: Path
) -> None:
    folder = SweepFolder(tmp_path)
    made = launcher(folder, data_cache, 2)
    long, extra = jobs(cells())
    uneven = small_cells("grid.n_tokens=[16384]", "grid.seeds=[2]") + small_cells(
        "grid.n_tokens=[262144]", "grid.seeds=[3]"
    )
    supervisor = Supervisor(made, folder, 1)

    def trained(due: list[Job]) -> list[Job]:
        supervisor.add(packs(due, one_lane))
        return [outcome.job for outcome in supervisor.outcomes(lambda _: None)]

    try:
        # Both workers have started and compiled before one is to fall idle long before the other.
        trained(jobs(small_cells("grid.n_tokens=[16384]", "grid.seeds=[4,5]")))
        supervisor.add([(extra,)], spare=True)
        first = trained(jobs(uneven))
        assert extra in first or any(folder.run(extra.spec.run_id).curves.glob("*"))
        supervisor.nothing_spare()
        rest = trained([long])
    finally:
        made.close()
    assert sorted(job.spec.run_id for job in first + rest) == sorted(
        job.spec.run_id for job in [*jobs(uneven), extra, long]
    )
    write_tables(folder, cells(), "test", [])
    assert_same_tables(folder.root, undisturbed)


def test_a_killed_worker_is_replaced(undisturbed: Path, tmp_path: Path, data_cache: Path) -> None:
    folder = SweepFolder(tmp_path)
    made = launcher(folder, data_cache)
    killer = Killer(made, folder)
    outcomes = train(made, folder, killer)
    assert killer.run_id
    assert {o.job.spec.run_id: (o.status, o.attempts) for o in outcomes} == {
        job.spec.run_id: ("done", 2 if job.spec.run_id == killer.run_id else 1) for job in jobs(cells())
    }
    assert_same_tables(folder.root, undisturbed)


def test_a_run_that_keeps_losing_workers_fails_alone_and_can_be_finished(
    undisturbed: Path, tmp_path: Path, data_cache: Path
) -> None:
    folder = SweepFolder(tmp_path)
    made = launcher(folder, data_cache)
    killer = Killer(made, folder)
    outcomes = train(made, folder, killer, max_attempts=1, close=False)
    assert {o.job.spec.run_id: o.status for o in outcomes} == {
        job.spec.run_id: "failed" if job.spec.run_id == killer.run_id else "done" for job in jobs(cells())
    }
    (failed,) = [outcome for outcome in outcomes if outcome.status == "failed"]
    assert failed.error == "worker ended with signal 9 (out of memory?)"
    state = folder.run(failed.job.spec.run_id).read_state()
    assert (state.status, state.error) == ("failed", failed.error)
    before = point_times(folder.root)
    assert {o.status for o in train(made, folder, lambda _: None)} == {"done"}
    assert before.items() <= point_times(folder.root).items()
    assert_same_tables(folder.root, undisturbed)


def test_stopping_saves_and_ends_the_workers(undisturbed: Path, tmp_path: Path, data_cache: Path) -> None:
    folder = SweepFolder(tmp_path)
    made = launcher(folder, data_cache, 2)
    seen: list[int] = []

    def interrupt(running: list[Job]) -> None:
        states = [folder.run(job.spec.run_id).read_state() for job in running]
        # A run says so before its step is compiled, so that it cannot end unseen.
        if any(state.tokens_ahead for state in states):
            seen.extend(worker.process.pid for worker in made._workers)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(made, folder, interrupt)
    assert seen
    for pid in seen:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    states = [folder.run(job.spec.run_id).read_state().status for job in jobs(cells())]
    assert "interrupted" in states
    assert {o.status for o in train(launcher(folder, data_cache), folder, lambda _: None)} == {"done"}
    assert_same_tables(folder.root, undisturbed)


def test_wrong_settings_are_not_tried_again(tmp_path: Path, data_cache: Path) -> None:
    folder = SweepFolder(tmp_path)
    made = launcher(folder, data_cache)
    made._config.data["name"] = "nothing"
    outcomes = train(made, folder, lambda _: None)
    assert [(outcome.status, outcome.attempts) for outcome in outcomes] == [("failed", 1)] * 2
    assert all(str(outcome.error).startswith("data.name=nothing is unknown") for outcome in outcomes)


def handle(made: LocalLauncher, width: int, seed: int, cost: float, spare: bool = False) -> Handle:
    """A pack in the queue that costs so much."""
    (job,) = jobs(small_cells(f"grid.rungs=[{width}]", f"grid.seeds=[{seed}]"))
    found = made.submit((job,), spare)
    found.cost = cost
    return found


def test_a_pack_in_the_queue_can_be_cancelled(tmp_path: Path) -> None:
    made = launcher(SweepFolder(tmp_path), tmp_path, 0)
    first, second = handle(made, 16, 0, 1.0), handle(made, 16, 1, 2.0)
    first.cancel()
    assert made.poll(0.0) == [first]
    assert (first.status, second.status) == ("interrupted", "waiting")
