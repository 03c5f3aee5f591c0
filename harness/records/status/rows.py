"""Rows of a sweep's runs: the status of each, as its files tell it.

No driver and no scheduler is asked. So rows can be read on any host that sees the folder, and after the
driver has ended.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum

from harness.records import sweep_file
from harness.records.columns import checked_columns
from harness.records.errors import InputError
from harness.records.files import read_table
from harness.records.paths import RunFolder, SweepFolder
from harness.records.run_files import RunState, RunStatus
from harness.records.status import lease_file
from harness.records.sweep_file import SweepCell, SweepRecord

# A run without a lease whose state is older than this is lost.
SILENT_SECONDS = 90.0


class RowStatus(StrEnum):
    """Status of a run, in the order in which rows are kept if not all fit."""

    RUNNING = "running"
    """A worker holds the run's lease."""
    FAILED = "failed"
    """The last attempt failed."""
    LOST = "lost"
    """The state says running, but no worker holds the lease."""
    DIVERGED = "diverged"
    """Every end point is recorded, and the loss diverged on the way."""
    INTERRUPTED = "interrupted"
    """The run saved its state on request."""
    WAITING = "waiting"
    """A driver is about to start the run, or has queued it."""
    PARTIAL = "partial"
    """The run is done, but the plan has grown by end points that it lacks."""
    MISSING = "missing"
    """The run has not begun."""
    FINISHED = "finished"
    """Every end point is recorded."""


ENDED = (RowStatus.FINISHED, RowStatus.FAILED, RowStatus.DIVERGED)


@dataclass(frozen=True)
class RunRow:
    """One run of the plan.

    Attributes:
        run_id: the run.
        status: status to show.
        n_finished: end points that are recorded.
        cells: cells of the plan that the run reaches; at least one.
        state: content of its state.json.
    """

    run_id: str
    status: RowStatus
    n_finished: int
    cells: tuple[SweepCell, ...]
    state: RunState

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the run's last end point at its present speed; None if it reports none."""
        speed, ahead = self.state.tokens_per_second, self.state.tokens_ahead
        if self.status != RowStatus.RUNNING or not speed or not ahead:
            return None
        return (ahead - (self.state.tokens_trained or 0)) / speed


def read_sweep(folder: SweepFolder) -> SweepRecord:
    """Return the record of a sweep; raise InputError if the folder has none."""
    if not folder.sweep.exists():
        raise InputError(f"{folder.root} is no sweep folder (sweep.json is missing); give results/NAME")
    return sweep_file.read_sweep(folder.sweep)


def run_rows(folder: SweepFolder, record: SweepRecord | None = None) -> list[RunRow]:
    """Return a row for every run of a plan, in its order; sweep.json is read unless `record` is given."""
    recorded = _recorded_points(folder)
    runs: dict[str, list[SweepCell]] = {}
    for cell in (record or read_sweep(folder)).cells:
        runs.setdefault(cell.run_id, []).append(cell)
    return [_run_row(folder, run_id, tuple(cells), recorded) for run_id, cells in runs.items()]


def foremost(rows: list[RunRow], n_rows: int) -> list[RunRow]:
    """Return at most `n_rows` rows; if not all fit, those that matter most, in the order of RowStatus."""
    return rows if len(rows) <= n_rows else by_urgency(rows)[:n_rows]


def by_urgency(rows: list[RunRow]) -> list[RunRow]:
    """Return rows in the order of RowStatus, and those of one status in the order of the plan."""
    order = list(RowStatus)
    return sorted(rows, key=lambda row: order.index(row.status))


def _recorded_points(folder: SweepFolder) -> dict[str, RunStatus]:
    """Return the status of every row of points.parquet if the run folders are gone, else nothing."""
    if folder.runs.exists() or not folder.points.exists():
        return {}
    points = checked_columns(
        read_table(folder.points), {"point_id": "string", "status": "string"}, folder.points
    )
    unknown = sorted(set(points.status) - set(RunStatus))
    if unknown:
        raise InputError(
            f"{folder.points} has the status {unknown[0]}, expected one of {', '.join(RunStatus)}: type the "
            "sweep's command again, which writes the table anew"
        )
    return dict(zip(points.point_id, map(RunStatus, points.status), strict=True))


def _run_row(
    folder: SweepFolder, run_id: str, cells: tuple[SweepCell, ...], recorded: dict[str, RunStatus]
) -> RunRow:
    """Return the row of one run; `recorded` replaces the files of its folder if that is gone."""
    run = folder.run(run_id)
    known = [recorded.get(cell.point_id) for cell in cells]
    worst_first = (RunStatus.FAILED, RunStatus.DIVERGED, RunStatus.DONE)
    state = run.read_state()
    if state.status is None:
        state = RunState(status=next((status for status in worst_first if status in known), None))
    n_finished = sum(
        run.point(cell.point_id).exists() or status in (RunStatus.DONE, RunStatus.DIVERGED)
        for cell, status in zip(cells, known, strict=True)
    )
    return RunRow(run_id, _status(run, state, n_finished == len(cells)), n_finished, cells, state)


def _status(run: RunFolder, state: RunState, is_finished: bool) -> RowStatus:
    """Return the status to show: end points count most, then the lease, then the run's own state."""
    if is_finished:
        return RowStatus.DIVERGED if state.status == RunStatus.DIVERGED else RowStatus.FINISHED
    # A run that compiles or evaluates writes no state for minutes, but its lease has a heartbeat.
    if lease_file.holder(run):
        return RowStatus.RUNNING
    if state.status == RunStatus.RUNNING:
        silent = time.time() - state.updated > SILENT_SECONDS
        return RowStatus.LOST if silent or run.lease.exists() else RowStatus.RUNNING
    if state.status is None:
        return RowStatus.MISSING
    return RowStatus.PARTIAL if state.status == RunStatus.DONE else RowStatus(state.status.value)
