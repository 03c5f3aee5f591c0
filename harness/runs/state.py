"""State of a run: state.json, and who writes it.

The run itself writes while it trains (`harness.train.journal`), and its worker if it fails. A driver writes
if the run waits or has lost its worker, `harness.cancel` if it takes the run out of a queue. All of them
write through this module.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import replace

from harness.records.json_files import write_record
from harness.records.paths import RunFolder
from harness.records.run_files import Failure, RunState, RunStatus, Submission, read_submission

# At most so many failures are kept: nobody reads more.
MAX_FAILURES = 20


def retries_after(state: RunState) -> int:
    """Return how often a run has been started again after it failed or died.

    Interruptions on request do not count.
    """
    # A state that still says running belongs to a process that died without a word.
    return state.retries + int(state.status in (RunStatus.FAILED, RunStatus.RUNNING))


def failures_after(state: RunState, error: str) -> tuple[Failure, ...]:
    """Return the last failed attempts, this one at the end."""
    return (*state.failures, Failure(time.time(), error))[-MAX_FAILURES:]


def write_state(folder: RunFolder, state: RunState) -> None:
    """Write the state of a run, with the time of now."""
    write_record(folder.state, replace(state, updated=time.time()))


def begun(folder: RunFolder, n_lanes: int) -> RunState:
    """Return the state of a run that this process begins to train; retries and failures stay.

    Args:
        folder: folder of the run.
        n_lanes: lanes of the program that trains the run. A restart needs it, because rounding depends on it.
    """
    before = folder.read_state()
    return RunState(
        status=RunStatus.RUNNING,
        pid=os.getpid(),
        host=socket.gethostname(),
        retries=retries_after(before),
        n_lanes=n_lanes,
        failures=before.failures,
    )


def _kept(before: RunState) -> RunState:
    """Return the part of a state that stays from one attempt to the next."""
    return RunState(
        retries=before.retries,
        n_lanes=before.n_lanes,
        failures=before.failures,
        warnings=before.warnings,
        spent=before.spent,
    )


def set_state(folder: RunFolder, status: RunStatus, error: str | None = None, retry: bool = False) -> None:
    """Write how a run ended.

    Args:
        folder: folder of the run.
        status: such as FAILED or INTERRUPTED.
        error: why it failed.
        retry: whether another attempt may end otherwise.
    """
    before = folder.read_state()
    failures = before.failures if error is None else failures_after(before, error)
    ended = replace(_kept(before), status=status, error=error, retry=retry, failures=failures)
    write_state(folder, ended)


def record_failure(folder: RunFolder, reason: str, retry: bool = False) -> None:
    """Write into the run's state why it failed, if the disk still takes it."""
    # The failure may be a full disk, which cannot take the state either.
    with contextlib.suppress(OSError):
        set_state(folder, RunStatus.FAILED, reason, retry)


def slurm_submission(folder: RunFolder) -> Submission | None:
    """Return the run's last submission if it is a Slurm job, else None."""
    found = read_submission(folder.submission)
    return found if found is not None and found.launcher == "slurm" else None


def record_waiting(folder: RunFolder) -> None:
    """Write that a run is about to be started, for the first time or again."""
    before = folder.read_state()
    waiting = replace(_kept(before), status=RunStatus.WAITING, retries=retries_after(before))
    write_state(folder, waiting)
