"""`python -m harness.status results/<sweep> [--watch] [--all]`: one row per run, from its files alone.

The command asks no driver and no scheduler. So it works on any host that sees the folder, and after the
driver has ended.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from analysis.curves.watch import Outlook, SweepWatch
from harness.launch import lease
from harness.records import sweep_file
from harness.records.columns import checked_columns
from harness.records.command_line import CommandParser
from harness.records.errors import InputError
from harness.records.files import read_table
from harness.records.number_text import duration
from harness.records.paths import RunFolder, SweepFolder
from harness.records.run_files import RunState, RunStatus
from harness.records.sweep_file import SweepCell, SweepRecord
from harness.runs.state import slurm_submission
from harness.track.console import plain_console

# A run without a lease whose state is older than this is lost.
SILENT_SECONDS = 90.0
WATCH_SECONDS = 2.0
MAX_ROWS = 100
RIGHT = ("seed", "points", "trained", "loss", "tokens/s", "MFU", "attempts")
ENDS_AT = "ends at, 90 %"  # the last end of a run, foretold from its curve so far
COLUMNS = (
    "run", "rung", "seed", "status", "points", "trained", "loss", ENDS_AT, "tokens/s", "MFU", "left",
    "attempts", "last error",
)  # fmt: skip


class RowStatus(StrEnum):
    """Status of a run as the table shows it, in the order in which rows are kept if not all fit."""

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


def read_sweep(folder: SweepFolder) -> SweepRecord:
    """Return the record of a sweep; raise InputError if the folder has none."""
    if not folder.sweep.exists():
        raise InputError(f"{folder.root} is no sweep folder (sweep.json is missing); give results/NAME")
    return sweep_file.read_sweep(folder.sweep)


def run_rows(folder: SweepFolder) -> list[RunRow]:
    """Return a row for every run of the plan in sweep.json, in the order of the plan."""
    recorded = _recorded_points(folder)
    runs: dict[str, list[SweepCell]] = {}
    for cell in read_sweep(folder).cells:
        runs.setdefault(cell.run_id, []).append(cell)
    return [_run_row(folder, run_id, tuple(cells), recorded) for run_id, cells in runs.items()]


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
    if lease.holder(run):
        return RowStatus.RUNNING
    if state.status == RunStatus.RUNNING:
        silent = time.time() - state.updated > SILENT_SECONDS
        return RowStatus.LOST if silent or run.lease.exists() else RowStatus.RUNNING
    if state.status is None:
        return RowStatus.MISSING
    return RowStatus.PARTIAL if state.status == RunStatus.DONE else RowStatus(state.status.value)


def status_table(rows: list[RunRow], n_rows: int, outlooks: Mapping[str, Outlook]) -> Table:
    """Return a table of at most `n_rows` runs with progress, expected end, speed and time left."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    # Without forecasts, the column would only take the room of others.
    columns = [name for name in COLUMNS if outlooks or name != ENDS_AT]
    for name in columns:
        table.add_column(name, justify="right" if name in RIGHT else "left", no_wrap=name == ENDS_AT)
    chosen = rows
    if len(rows) > n_rows:
        order = list(RowStatus)
        chosen = sorted(rows, key=lambda row: order.index(row.status))[:n_rows]
    for row in chosen:
        texts = dict(zip(COLUMNS, _texts(row, outlooks.get(row.run_id)), strict=True))
        table.add_row(*(texts[name] for name in columns))
    return table


def _texts(row: RunRow, outlook: Outlook | None) -> list[str | Text]:
    """Return the texts of one row, by COLUMNS."""
    state, is_running = row.state, row.status == RowStatus.RUNNING
    ahead, trained, speed = state.tokens_ahead, state.tokens_trained or 0, state.tokens_per_second
    return [
        row.run_id,
        row.cells[0].rung,
        str(row.cells[0].seed),
        row.status,
        f"{row.n_finished}/{len(row.cells)}",
        f"{trained:,}" if trained else "",
        f"{state.loss:.3f}" if state.loss is not None else "",
        outlook.ends_at if outlook else "",
        f"{speed:,.0f}" if is_running and speed else "",
        f"{state.mfu:.0%}" if is_running and state.mfu is not None else "",
        duration((ahead - trained) / speed) if is_running and speed and ahead else "",
        "" if state.status is None else str(state.retries + 1),
        # As Text, because rich would read the brackets of "[Errno 28]" as markup.
        Text(state.error or ""),
    ]


def counts(rows: list[RunRow]) -> str:
    """Return how many runs have each status, such as `12 finished, 2 running`."""
    found: dict[str, int] = {}
    for row in rows:
        found[row.status] = found.get(row.status, 0) + 1
    return ", ".join(f"{n} {status}" for status, n in found.items())


def overall(rows: list[RunRow], cooldown_frac: float) -> str:
    """Return the speed of all running runs and the time left at that speed; empty if none reports a speed.

    A run that does not report counts with all its FLOPs: the trunk, and a cooldown to every end point.

    Args:
        rows: runs of the plan.
        cooldown_frac: share of an end point's tokens that its cooldown trains.
    """
    rate = left = 0.0
    tokens_per_second = 0.0
    for row in rows:
        state, per_token = row.state, row.cells[0].flops / row.cells[0].n_tokens
        if row.status in ENDED:
            continue
        speed = state.tokens_per_second if row.status == RowStatus.RUNNING else None
        if speed:
            left += per_token * ((state.tokens_ahead or 0) - (state.tokens_trained or 0))
            rate += per_token * speed
            tokens_per_second += speed
        else:
            tokens = [cell.n_tokens for cell in row.cells]
            # The trunk ends where the longest run's cooldown begins.
            left += per_token * (max(tokens) * (1 - cooldown_frac) + cooldown_frac * sum(tokens))
    if not rate:
        return ""
    return f"{tokens_per_second:,.0f} tokens/s in all, about {duration(left / rate)} left"


def cooldown_share(optim: Any) -> float:
    """Return the share of an end point's tokens that its cooldown trains, by stored settings."""
    if not isinstance(optim, dict) or optim.get("schedule") != "wsd":
        return 0.0
    share = optim.get("cooldown_frac")
    return float(share) if isinstance(share, int | float) and 0 <= share <= 1 else 0.0


def logs(folder: SweepFolder, rows: list[RunRow]) -> list[str]:
    """Return a line with the path of each log of the runs that have begun and not finished."""
    found = []
    for row in rows:
        run = folder.run(row.run_id)
        if row.status == RowStatus.FINISHED or row.state.status is None:
            continue
        paths = [str(run.log)] if run.log.exists() else []
        paths += [submitted.log for submitted in [slurm_submission(run)] if submitted]
        found += [f"log of {row.run_id}: {path}" for path in paths]
    return found


def alarms(rows: list[RunRow], outlooks: Mapping[str, Outlook]) -> list[str]:
    """Return a line for each unfinished run whose loss left its band."""
    named = ((row.cells[0], outlooks.get(row.run_id)) for row in rows)
    texts = (o.alarm_text(f"{cell.rung} seed {cell.seed}") for cell, o in named if o)
    return [text for text in texts if text]


class View:
    """The text of the command for one sweep.

    Args:
        folder: folder of the sweep.
        n_rows: largest number of runs to show.
    """

    def __init__(self, folder: SweepFolder, n_rows: int):
        self._folder = folder
        self._n_rows = n_rows
        self._cooldown_frac = cooldown_share(read_sweep(folder).config.get("optim"))
        self._watch = SweepWatch(folder.root)
        self.refresh()

    def refresh(self) -> None:
        """Read the files again."""
        self.rows = run_rows(self._folder)
        # Curves take longer to read than everything else, and of finished runs nothing is foretold.
        self.outlooks = {} if self.has_ended else self._watch.look()

    @property
    def has_ended(self) -> bool:
        """Whether every run is finished, failed or diverged."""
        return all(row.status in ENDED for row in self.rows)

    def headline(self) -> str:
        """Return counts by status, speed and time left in one line."""
        return "; ".join(
            text for text in (counts(self.rows), overall(self.rows, self._cooldown_frac)) if text
        )

    def render(self) -> Group:
        """Return the table, the number of runs left out, paths of logs, and the headline."""
        lines = logs(self._folder, self.rows)[: self._n_rows]
        lines += alarms(self.rows, self.outlooks)
        if len(self.rows) > self._n_rows:
            lines.insert(0, f"{len(self.rows) - self._n_rows} more runs are not shown; --all shows them")
        table = status_table(self.rows, self._n_rows, self.outlooks)
        return Group(table, *map(Text, [*lines, self.headline()]))


def watch(view: View, console: Console) -> None:
    """Show the sweep until every run has ended: a live table, or a line per change if it goes to a log."""
    if not console.is_terminal:
        said = ""
        while True:
            if counts(view.rows) != said:
                said = counts(view.rows)
                console.print(view.headline())
            if view.has_ended:
                return
            time.sleep(WATCH_SECONDS)
            view.refresh()
    with Live(view.render(), console=console, auto_refresh=False) as live:
        while not view.has_ended:
            time.sleep(WATCH_SECONDS)
            view.refresh()
            live.update(view.render(), refresh=True)


def command_parser() -> CommandParser:
    """Return the argument parser of the command."""
    parser = CommandParser(
        "harness.status",
        "Print a row for each run of a sweep: its status, progress, speed, time left and last error.",
        "python -m harness.status results/chinchilla --watch",
    )
    parser.add_argument("folder", type=Path, help="folder of a sweep, for example results/chinchilla")
    parser.add_argument(
        "--watch", action="store_true", help=f"look again every {WATCH_SECONDS:g} s until every run has ended"
    )
    parser.add_argument(
        "--all", action="store_true", help=f"show every run (default: the {MAX_ROWS} that matter most)"
    )
    return parser


def show(options: argparse.Namespace) -> int:
    """Print the sweep once, or watch it; return the exit code."""
    console = plain_console()
    n_rows = sys.maxsize if options.all else MAX_ROWS
    if options.watch and console.is_terminal and not options.all:
        n_rows = max(1, console.height // 2)
    try:
        view = View(SweepFolder(options.folder), n_rows)
        if options.watch:
            watch(view, console)
        if not options.watch or not console.is_terminal:
            console.print(view.render())
    except KeyboardInterrupt:
        return 130
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    return command_parser().answer(arguments, show)


if __name__ == "__main__":
    sys.exit(main())
