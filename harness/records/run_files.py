"""Typed JSON files of one run: state.json, submission.json and provenance.json.

`harness.runs.state` writes statuses, launchers write submissions, and workers write provenance. Everything
else only reads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.records.errors import Damaged, InputError
from harness.records.files import write_json
from harness.records.json_files import current, from_json, read_checked, read_record, to_json
from harness.records.provenance import Provenance
from harness.records.sweep_file import CorpusRecord

STATE_SCHEMA = 1
SUBMISSION_SCHEMA = 1
# Attempts that provenance.json keeps: nobody reads more.
MAX_ATTEMPTS_KEPT = 20


class RunStatus(StrEnum):
    """Status of a run, of a job or of a pack; points.parquet has `done`, `diverged` and `failed`."""

    WAITING = "waiting"
    """A driver is about to start the run, or has queued it; another process may train it."""
    RUNNING = "running"
    """A worker trains the run. If no lease is live, that worker has died without a word."""
    DONE = "done"
    """The run has reached every end point that it was asked for."""
    DIVERGED = "diverged"
    """The loss left the finite numbers; the end points that were not reached stay unmeasured."""
    FAILED = "failed"
    """An exception or a lost worker ended the run; `error` says why."""
    INTERRUPTED = "interrupted"
    """The run was asked to stop and saved its state; the same command goes on with it."""

    @property
    def ended(self) -> bool:
        """Whether no worker will go on with the run by itself."""
        return self not in (RunStatus.WAITING, RunStatus.RUNNING)


@dataclass(frozen=True)
class Failure:
    """One failed attempt.

    Attributes:
        time: when it failed, seconds since 1970.
        error: why, in one line.
    """

    time: float
    error: str


@dataclass(frozen=True, kw_only=True)
class RunState:
    """Content of state.json; without arguments the state of a run that has not begun.

    Attributes:
        schema: version of the keys.
        status: status of the run; None before it has begun.
        pid: process that trains the run, or trained it last.
        host: host of that process.
        retries: times that the run was started again after it failed or died.
        n_lanes: lanes of the program that trains the run; more than 1 in a pack.
        failures: the last failed attempts, the latest at the end.
        warnings: warnings of the attempt, such as a restored checkpoint that was damaged.
        tokens_ahead: tokens that the attempt has to train, branches included.
        tokens_trained: tokens that the attempt has trained.
        loss: mean training loss of the last logged interval, nats per token.
        tokens_per_second: speed of the last logged interval.
        mfu: share of its devices' peak FLOP/s that the run and those beside it in a pack reached then.
        error: why the run failed or diverged, in one line.
        retry: whether another attempt may end otherwise.
        seconds: wall-clock seconds of the attempt.
        spent: seconds of the attempt by kind, such as `training steps`.
        updated: when the file was written, seconds since 1970.
    """

    schema: int = STATE_SCHEMA
    status: RunStatus | None = None
    pid: int | None = None
    host: str | None = None
    retries: int = 0
    n_lanes: int = 1
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    tokens_ahead: int | None = None
    tokens_trained: int | None = None
    loss: float | None = None
    tokens_per_second: float | None = None
    mfu: float | None = None
    error: str | None = None
    retry: bool = False
    seconds: float | None = None
    spent: dict[str, float] = field(default_factory=dict)
    updated: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Content of submission.json: the run's last submission to a cluster's queue.

    Attributes:
        schema: version of the keys.
        launcher: launcher that submitted the run.
        job: job number, such as `17_3` for a task of an array.
        log: path of the job's output.
    """

    schema: int = SUBMISSION_SCHEMA
    launcher: str
    job: str
    log: str


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The sweep that a run belongs to.

    Attributes:
        command: command line that started the driver.
        config: resolved configuration.
        corpus: the prepared corpus.
    """

    command: str
    config: dict[str, Any]
    corpus: CorpusRecord


@dataclass(frozen=True, kw_only=True)
class Attempt(Provenance):
    """Provenance of one attempt: an entry of the list in provenance.json.

    Attributes:
        time: when the attempt began, seconds since 1970.
        host: name of the host.
        platform: platform of JAX: cpu, gpu or tpu.
        devices: kind of each device.
        command: command line that started the driver.
        config: resolved configuration of the sweep.
        corpus: the prepared corpus.
    """

    time: float = 0.0
    host: str
    platform: str
    devices: tuple[str, ...]
    command: str
    config: dict[str, Any]
    corpus: CorpusRecord


def read_state(path: Path) -> RunState:
    """Return the state in a state.json; a run that has not begun if the file is missing or damaged.

    Raises:
        InputError: the file is of a newer schema, or its keys do not fit.
    """
    try:
        value = read_checked(path)
    # Missing before the run begins, and for a moment while a network file system replaces the file.
    except (OSError, Damaged):
        return RunState()
    return from_json(current(value, str(path), STATE_SCHEMA, {}), RunState, str(path))


def read_submission(path: Path) -> Submission | None:
    """Return the submission of a run; None if there is none, or none that this version reads."""
    # A run whose job number is lost is submitted again, and its lease keeps the two jobs apart.
    with contextlib.suppress(InputError):
        return read_record(path, Submission, SUBMISSION_SCHEMA)
    return None


def read_attempts(path: Path) -> list[Attempt]:
    """Return the attempts in a provenance.json; none if it is missing or damaged."""
    with contextlib.suppress(OSError, InputError):
        return from_json(read_checked(path), list[Attempt], str(path))
    return []


def write_attempts(path: Path, attempts: Sequence[Attempt]) -> None:
    """Write the last attempts of a run, oldest first."""
    write_json(path, [to_json(attempt) for attempt in attempts[-MAX_ATTEMPTS_KEPT:]])
