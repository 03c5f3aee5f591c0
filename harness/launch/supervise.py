"""What is the same on every launcher: other drivers' runs are left to them, lost attempts are repeated.

A job whose worker died, whose disk was full or whose host was lost is submitted again after a while, up to
`max_attempts` times; one that diverged or whose input is wrong is not. Runs under another process's lease are
looked at again until they have ended or their lease is stale.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from harness.launch import lease
from harness.launch.interface import Handle, Launcher, Outcome
from harness.launch.stop import is_cancelled
from harness.recipe.spec import Job, Pack
from harness.records.paths import SweepFolder
from harness.records.run_files import RunStatus
from harness.runs.state import record_failure, record_waiting

POLL_SECONDS = 0.2
# The wait before attempt n + 1 is this long, doubled for every attempt before.
BACK_OFF_SECONDS = 1.0
MAX_BACK_OFF_SECONDS = 300.0
# How often a run is looked at that somebody else trains.
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Postponed:
    """A pack to be submitted not before `at`, on the monotonic clock."""

    at: float
    pack: Pack
    spare: bool


class Detached(Exception):
    """The driver ends here and the jobs go on; the text says how many."""

    def __init__(self, n_left: int):
        super().__init__(f"{n_left} runs are queued or under way; the same command later goes on from here")


class Supervisor:
    """Sees packs through to the end of each of their jobs."""

    def __init__(self, launcher: Launcher, folder: SweepFolder, max_attempts: int):
        self._launcher = launcher
        self._folder = folder
        self._max_attempts = max_attempts
        self._attempts: dict[str, int] = {}
        self._handles: list[Handle] = []
        self._postponed: list[Postponed] = []
        self._ready: list[Outcome] = []

    def add(self, packs: Iterable[Pack], spare: bool = False) -> None:
        """Take in packs; `spare` ones only fill workers that would have nothing to do."""
        self._postponed += [Postponed(0.0, pack, spare) for pack in packs]
        self._submit_due()

    def nothing_spare(self) -> None:
        """From now on all packs are due."""
        for handle in self._handles:
            handle.spare = False
        self._postponed = [replace(item, spare=False) for item in self._postponed]

    def outcomes(self, watch: Callable[[list[Job]], None]) -> Iterator[Outcome]:
        """Yield how each job ended, until none is left but spare ones; `watch` is told which are under way.

        A launcher that detaches is asked once: it raises Detached where jobs are left.
        On KeyboardInterrupt the launcher is stopped before it is raised again.
        """
        watched_at = 0.0
        try:
            while True:
                self._submit_due()
                yield from self._take_ready()
                if not self._is_due():
                    return
                for handle in self._launcher.poll(POLL_SECONDS):
                    self._handles.remove(handle)
                    self._take(handle)
                if time.monotonic() - watched_at > POLL_SECONDS:
                    watched_at = time.monotonic()
                    watch([job for h in self._handles if h.status == RunStatus.RUNNING for job in h.pack])
                if self._launcher.detach:
                    yield from self._take_ready()
                    if self._is_due():
                        raise Detached(self._n_left())
        except (KeyboardInterrupt, GeneratorExit):
            self._launcher.stop()
            raise

    def _take_ready(self) -> list[Outcome]:
        ready, self._ready = self._ready, []
        return ready

    def _n_left(self) -> int:
        packs: list[Handle | Postponed] = [*self._handles, *self._postponed]
        return sum(len(item.pack) for item in packs)

    def _is_due(self) -> bool:
        packs: list[Handle | Postponed] = [*self._handles, *self._postponed]
        return any(not pack.spare for pack in packs)

    def _submit_due(self) -> None:
        now = time.monotonic()
        due = [item for item in self._postponed if item.at <= now]
        self._postponed = [item for item in self._postponed if item.at > now]
        for item in due:
            self._submit(item)

    def _submit(self, item: Postponed) -> None:
        """Hand a pack to the launcher, without what has ended or is in other hands."""
        mine = []
        for job in item.pack:
            ended = Outcome.from_files(job, self._folder)
            if ended and ended.status in (RunStatus.DONE, RunStatus.DIVERGED):
                self._ready.append(replace(ended, attempts=self._attempts.get(job.spec.run_id, 0)))
            elif is_cancelled(self._folder.run(job.spec.run_id)):
                self._ready.append(Outcome(job, RunStatus.INTERRUPTED))
            elif lease.holder(self._folder.run(job.spec.run_id)):
                self._postpone((job,), item.spare, LOOK_SECONDS)
            else:
                mine.append(job)
        if mine:
            self._handles.append(self._launcher.submit(tuple(mine), item.spare))

    def _postpone(self, pack: Pack, spare: bool, seconds: float) -> None:
        self._postponed.append(Postponed(time.monotonic() + seconds, pack, spare))

    def _take(self, handle: Handle) -> None:
        """Pass on what has ended, and see to the rest: what was lost together is tried again together."""
        again: dict[float, Pack] = {}
        for outcome in handle.outcomes:
            run_id = outcome.job.spec.run_id
            if outcome.status == RunStatus.WAITING:
                self._postpone((outcome.job,), handle.spare, LOOK_SECONDS)
                continue
            n = self._attempts[run_id] = self._attempts.get(run_id, 0) + 1
            if outcome.status == RunStatus.FAILED and outcome.retry and n < self._max_attempts:
                self._note_loss(outcome, last=False)
                wait = min(MAX_BACK_OFF_SECONDS, BACK_OFF_SECONDS * 2 ** (n - 1))
                again[wait] = (*again.get(wait, ()), outcome.job)
            else:
                if outcome.status == RunStatus.FAILED:
                    self._note_loss(outcome, last=True)
                self._ready.append(replace(outcome, attempts=n))
        for wait, pack in again.items():
            self._postpone(pack, handle.spare, wait)

    def _note_loss(self, outcome: Outcome, last: bool) -> None:
        """Write down why an attempt failed where its worker could not, unless others train the run by now."""
        run = self._folder.run(outcome.job.spec.run_id)
        state = run.read_state()
        if lease.holder(run):
            return
        if state.status != RunStatus.FAILED or state.error != outcome.error:
            record_failure(run, outcome.error or "ended without a word")
        if not last:
            with contextlib.suppress(OSError):
                record_waiting(run)
