"""What every launcher offers: packs go in, handles come back, results are files.

Shaped like `concurrent.futures`: `submit` returns at once, `poll` tells which packs have ended. A launcher
starts each pack once; whether to try again is decided in harness.launch.supervise, for all launchers alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from harness.recipe.spec import Job, Pack
from harness.records.paths import SweepFolder
from harness.records.run_files import RunStatus


@dataclass(frozen=True)
class Outcome:
    """How one job ended, or WAITING where somebody else trains its run at the moment.

    `retry`: another attempt may end otherwise, since a worker was lost or a disk was full, say.
    """

    job: Job
    status: RunStatus
    error: str | None = None
    retry: bool = False
    attempts: int = 1

    @classmethod
    def from_reply(cls, job: Job, reply: dict[str, Any]) -> Outcome:
        """From a worker's answer about this job."""
        return cls(job, RunStatus(reply["status"]), reply.get("error"), bool(reply.get("retry")))

    @classmethod
    def from_files(cls, job: Job, folder: SweepFolder) -> Outcome | None:
        """What the run's folder says of an ended job; None while it has not ended."""
        run = folder.run(job.spec.run_id)
        state = run.read_state()
        if all(run.point(job.spec.point_id(n)).exists() for n in job.n_tokens):
            return cls(job, RunStatus.DIVERGED if state.status == RunStatus.DIVERGED else RunStatus.DONE)
        if state.status in (RunStatus.FAILED, RunStatus.INTERRUPTED):
            return cls(job, state.status, state.error, state.retry)
        return None


@dataclass(eq=False)
class Handle:
    """A pack that was submitted. `spare`: it is started only where nothing else waits.

    `outcomes` has one entry a job once `status` is an ended one.
    """

    pack: Pack
    cost: float
    spare: bool
    cancel: Callable[[], None]
    status: RunStatus = RunStatus.WAITING
    outcomes: tuple[Outcome, ...] = ()

    def end(self, outcomes: tuple[Outcome, ...]) -> Handle:
        """The pack has ended like this; its status is that of the job that ended worst."""
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
    """Starts packs somewhere. One object serves one invocation of the command."""

    n_workers: int
    # Whether the driver ends as soon as all has been submitted.
    detach: bool

    def submit(self, pack: Pack, spare: bool = False) -> Handle:
        """Take in a pack; returns at once."""

    def poll(self, seconds: float) -> list[Handle]:
        """Packs that have ended since the last call; waits up to `seconds` for one."""

    def close(self) -> None:
        """All packs have ended: let go of what was started."""

    def stop(self) -> None:
        """The driver is interrupted: what cannot go on without it saves and ends."""

    def spent(self, seconds: float) -> dict[str, float]:
        """Workers' seconds by kind over the `seconds` since the start; empty where nobody counts them."""
