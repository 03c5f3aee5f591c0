"""Supervision of jobs on every launcher: retries with backoff, and respect for the leases of other drivers.

The supervisor submits a job again if its worker died, its disk was full or its host was lost. It does so with
exponential backoff, for at most `max_attempts` attempts. A job that diverged or whose input is wrong is not
repeated. A run whose lease another process holds is looked at again until it has ended or its lease is stale.
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
from harness.records.status import lease_file
from harness.runs.state import record_failure, record_waiting

POLL_SECONDS = 0.2
# Backoff before the second attempt; every further attempt doubles it.
BACK_OFF_SECONDS = 1.0
MAX_BACK_OFF_SECONDS = 300.0
# Seconds between two looks at a run that another process trains.
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Postponed:
    """A pack to submit later.

    Attributes:
        at: earliest time of submission, on the monotonic clock.
        pack: the pack.
        spare: whether it only fills idle workers.
    """

    at: float
    pack: Pack
    spare: bool


class Detached(Exception):
    """The driver ends and leaves its jobs to the cluster.

    Args:
        n_left: jobs that have not ended, named in the text.
    """

    def __init__(self, n_left: int):
        super().__init__(f"{n_left} runs are queued or under way; the same command later goes on from here")


class Supervisor:
    """Supervisor of the jobs of a sweep: submits packs and follows every job to its end.

    Args:
        launcher: where packs are trained.
        folder: folder of the sweep.
        max_attempts: largest number of attempts per job.
        tell: receives a sentence for every other process whose runs this one waits for.
    """

    def __init__(
        self,
        launcher: Launcher,
        folder: SweepFolder,
        max_attempts: int,
        tell: Callable[[str], None] = lambda _: None,
    ):
        self._launcher = launcher
        self._tell = tell
        self._told: set[str] = set()
        self._silence = lease.Silence()
        self._folder = folder
        self._max_attempts = max_attempts
        self._attempts: dict[str, int] = {}
        self._handles: list[Handle] = []
        self._postponed: list[Postponed] = []
        self._ready: list[Outcome] = []

    def add(self, packs: Iterable[Pack], spare: bool = False) -> None:
        """Submit packs; `spare` packs only fill workers that would otherwise be idle."""
        self._postponed += [Postponed(0.0, pack, spare) for pack in packs]
        self._submit_due()

    def nothing_spare(self) -> None:
        """Turn all spare packs into due ones."""
        for handle in self._handles:
            handle.spare = False
        self._postponed = [replace(item, spare=False) for item in self._postponed]

    def outcomes(self, watch: Callable[[list[Job]], None]) -> Iterator[Outcome]:
        """Yield the outcome of each job until only spare packs are left.

        Args:
            watch: receives the jobs that are running, at most every POLL_SECONDS.

        Raises:
            Detached: the launcher detaches, and jobs are left after the first poll.
            KeyboardInterrupt: the user interrupts; the launcher has stopped its workers by then.
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
        # GeneratorExit comes if the caller breaks off its loop, for example at a cancelled sweep.
        except (KeyboardInterrupt, GeneratorExit):
            self._launcher.stop()
            raise

    def _take_ready(self) -> list[Outcome]:
        """Return the outcomes that were not yielded yet, and forget them."""
        ready, self._ready = self._ready, []
        return ready

    def _n_left(self) -> int:
        """Return the number of jobs that have not ended."""
        packs: list[Handle | Postponed] = [*self._handles, *self._postponed]
        return sum(len(item.pack) for item in packs)

    def _is_due(self) -> bool:
        """Return whether a pack is left that is not spare."""
        packs: list[Handle | Postponed] = [*self._handles, *self._postponed]
        return any(not pack.spare for pack in packs)

    def _submit_due(self) -> None:
        """Submit the postponed packs whose time has come."""
        now = time.monotonic()
        due = [item for item in self._postponed if item.at <= now]
        self._postponed = [item for item in self._postponed if item.at > now]
        for item in due:
            self._submit(item)

    def _submit(self, item: Postponed) -> None:
        """Submit a pack without the jobs that ended, are cancelled, or are trained by another process."""
        mine = []
        for job in item.pack:
            ended = Outcome.from_files(job, self._folder)
            if ended and ended.status in (RunStatus.DONE, RunStatus.DIVERGED):
                self._ready.append(replace(ended, attempts=self._attempts.get(job.spec.run_id, 0)))
            elif is_cancelled(self._folder.run(job.spec.run_id)):
                self._ready.append(Outcome(job, RunStatus.INTERRUPTED))
            elif found := lease_file.holder(self._folder.run(job.spec.run_id)):
                self._wait_for(found, job)
                self._postpone((job,), item.spare, LOOK_SECONDS)
            else:
                mine.append(job)
        if mine:
            self._handles.append(self._launcher.submit(tuple(mine), item.spare))

    def _wait_for(self, owner: lease_file.Lease, job: Job) -> None:
        """Say once for whom the sweep waits and how long at most, and end the lease of a silent owner."""
        self._silence.end(self._folder.run(job.spec.run_id))
        if str(owner) not in self._told:
            self._told.add(str(owner))
            self._tell(
                f"waiting for {owner}, which trains {job.spec.rung} seed {job.spec.seed} "
                f"({job.spec.run_id}); its runs are taken over once it is silent for "
                f"{lease_file.STALE_SECONDS:.0f} s"
            )

    def _postpone(self, pack: Pack, spare: bool, seconds: float) -> None:
        """Submit a pack again after `seconds`."""
        self._postponed.append(Postponed(time.monotonic() + seconds, pack, spare))

    def _take(self, handle: Handle) -> None:
        """Sort the outcomes of a pack: report jobs that ended, postpone those that wait or are repeated."""
        # By backoff: jobs that were lost together form one pack again.
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
        """Write why an attempt failed into the run's state, unless its worker has done so.

        Args:
            outcome: the failed attempt.
            last: whether no further attempt follows.
        """
        run = self._folder.run(outcome.job.spec.run_id)
        state = run.read_state()
        # Another driver may have restarted the run already, and its state must not be overwritten.
        if lease_file.holder(run):
            return
        if state.status != RunStatus.FAILED or state.error != outcome.error:
            record_failure(run, outcome.error or "ended without a word")
        if not last:
            with contextlib.suppress(OSError):
                record_waiting(run)
