"""Interface of launchers: packs are submitted, handles come back, results are files.

The shape is that of `concurrent.futures`: `submit` returns at once, and `poll` returns the packs that have
ended. A launcher starts each pack once. Retries are decided in harness.launch.supervise, for all launchers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from harness.recipe.spec import Job, Pack
from harness.records.paths import SweepFolder
from harness.records.run_files import RunStatus
from harness.runs.finished import unfinished


@dataclass(frozen=True)
class Outcome:
    """End of one attempt of a job.

    Attributes:
        job: the job.
        status: how it ended; WAITING if another process holds the lease of its run.
        error: why it failed, in one line.
        retry: whether another attempt may end otherwise, for example after a lost worker or a full disk.
        attempts: attempts so far, this one included.
    """

    job: Job
    status: RunStatus
    error: str | None = None
    retry: bool = False
    attempts: int = 1

    @classmethod
    def from_reply(cls, job: Job, reply: dict[str, Any]) -> Outcome:
        """Return the outcome that a worker's answer about this job describes."""
        return cls(job, RunStatus(reply["status"]), reply.get("error"), bool(reply.get("retry")))

    @classmethod
    def from_files(cls, job: Job, folder: SweepFolder) -> Outcome | None:
        """Return the outcome that the files of the run describe; None if the job has not ended."""
        run = folder.run(job.spec.run_id)
        state = run.read_state()
        # End points count before the state: an earlier sweep may have reached them, and a state can be stale.
        if not unfinished(run, job.spec, job.n_tokens):
            return cls(job, RunStatus.DIVERGED if state.status == RunStatus.DIVERGED else RunStatus.DONE)
        if state.status in (RunStatus.FAILED, RunStatus.INTERRUPTED):
            return cls(job, state.status, state.error, state.retry)
        return None


@dataclass(eq=False)
class Handle:
    """A submitted pack.

    Attributes:
        pack: jobs that one worker trains side by side.
        cost: FLOPs of the pack, which order the queue.
        spare: whether to start it only on a worker that would otherwise be idle.
        cancel: removes the pack from the queue, or asks its worker to save and stop.
        status: status of the pack.
        outcomes: one outcome per job once the pack has ended, else empty.
    """

    pack: Pack
    cost: float
    spare: bool
    cancel: Callable[[], None]
    status: RunStatus = RunStatus.WAITING
    outcomes: tuple[Outcome, ...] = ()

    def end(self, outcomes: tuple[Outcome, ...]) -> Handle:
        """Record how the pack ended and return the handle; its status is the worst of its jobs."""
        worst_first = (
            RunStatus.FAILED,
            RunStatus.INTERRUPTED,
            RunStatus.WAITING,
            RunStatus.DIVERGED,
            RunStatus.DONE,
        )
        self.outcomes = outcomes
        self.status = next(s for s in worst_first if s in {outcome.status for outcome in outcomes})
        return self


class Launcher(Protocol):
    """Starts packs on local workers or on a cluster, for one invocation of the command.

    Attributes:
        n_workers: packs that it trains at the same time.
        detach: whether the driver ends as soon as all packs are submitted.
    """

    n_workers: int
    detach: bool

    def submit(self, pack: Pack, spare: bool = False) -> Handle:
        """Add a pack to the queue; return at once."""

    def poll(self, seconds: float) -> list[Handle]:
        """Return the packs that have ended since the last call; wait up to `seconds` for one."""

    def close(self) -> None:
        """End the workers, after all packs have ended."""

    def stop(self) -> None:
        """Stop at an interrupt: workers that cannot outlive the driver save and end."""

    def spent(self, seconds: float) -> dict[str, float]:
        """Return the seconds of all workers by kind, over `seconds` of the driver; empty if unknown."""
