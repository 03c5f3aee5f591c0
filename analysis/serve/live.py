"""One sweep as its page shows it: rows of its runs, their curves, where they end, alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.curves.curve import BINS
from analysis.curves.run import Run
from analysis.curves.watch import Outlook, SweepWatch, alarms
from analysis.intervals import LEVEL
from analysis.serve.index import wall_clock
from harness.records.paths import SweepFolder
from harness.records.status.progress import cooldown_share, headline, sweep_state
from harness.records.status.rows import RunRow, by_urgency, read_sweep, run_rows
from harness.records.status.table import COLUMNS, RIGHT, row_texts

MAX_ROWS = 100  # runs of the table
MAX_CURVES = 60  # more than that cannot be told apart


@dataclass(frozen=True)
class EndView:
    """A reached end, or the forecast of one.

    Attributes:
        n_tokens: tokens there.
        loss: loss, nats per token.
        interval: ends of its interval; None if the loss was measured.
        basis: what a forecast rests on; `measured` if the end was reached.
    """

    n_tokens: float
    loss: float
    interval: tuple[float, float] | None
    basis: str


@dataclass(frozen=True)
class CurveView:
    """Curve of a run.

    Attributes:
        run: the run.
        name: rung and seed.
        rung: name of the model size.
        is_ahead: whether its last end has not been reached.
        n_tokens: tokens of the rows.
        loss: losses, nats per token.
        ends: ends that were reached, then the forecast of the last one.
    """

    run: str
    name: str
    rung: str
    is_ahead: bool
    n_tokens: tuple[float, ...]
    loss: tuple[float, ...]
    ends: tuple[EndView, ...]


@dataclass(frozen=True)
class RunView:
    """Row of a run.

    Attributes:
        run: the run.
        status: its status.
        n_finished: end points that are recorded.
        n_planned: end points of the plan.
        tokens_trained: tokens that the present attempt has trained; None if it does not report.
        tokens_ahead: tokens that it has to train.
        seconds_left: seconds to its last end point at its present speed.
        texts: the row in words, by the columns of the view.
    """

    run: str
    status: str
    n_finished: int
    n_planned: int
    tokens_trained: int | None
    tokens_ahead: int | None
    seconds_left: float | None
    texts: tuple[str, ...]


@dataclass(frozen=True)
class SweepView:
    """All that the page of a sweep shows.

    Attributes:
        name: path of the sweep below the folder that is served.
        grid: grid and budget.
        state: state of the sweep.
        headline: counts by status, speed and time left.
        wall_clock: time that the sweep took so far; a dash if unknown.
        has_report: whether there is a report to open.
        alarms: a sentence for each run whose loss left its band.
        level: confidence of the intervals.
        columns: columns of the rows.
        right: columns of numbers.
        runs: rows, those that need a look first.
        n_more: runs that are left out of the rows.
        curves: curves of unfinished runs, then of others.
        n_more_curves: curves that are left out.
    """

    name: str
    grid: str
    state: str
    headline: str
    wall_clock: str
    has_report: bool
    alarms: tuple[str, ...]
    level: float
    columns: tuple[str, ...]
    right: tuple[str, ...]
    runs: tuple[RunView, ...]
    n_more: int
    curves: tuple[CurveView, ...]
    n_more_curves: int


class LiveSweep:
    """Views of one sweep; curves that did not grow are not read again.

    Args:
        name: path of the sweep below the folder that is served.
        root: folder of the sweep.
    """

    def __init__(self, name: str, root: Path):
        self._name = name
        self._folder = SweepFolder(root)
        self._watch = SweepWatch(root)

    def view(self, has_report: bool) -> SweepView:
        """Return the sweep as its files show it now.

        Raises:
            InputError: its record or a table cannot be read.
        """
        record = read_sweep(self._folder)
        planned = run_rows(self._folder, record)
        rows, outlooks = by_urgency(planned), self._watch.look()
        curves = _curves(rows, self._watch.runs, outlooks)
        return SweepView(
            name=self._name,
            grid=f"{record.grid}, {record.budget}",
            state=sweep_state(rows),
            headline=headline(planned, cooldown_share(record.config.get("optim"))),
            wall_clock=wall_clock(record),
            has_report=has_report,
            alarms=tuple(alarms(rows, outlooks)),
            level=LEVEL,
            columns=COLUMNS,
            right=RIGHT,
            runs=tuple(_run_view(row, outlooks.get(row.run_id)) for row in rows[:MAX_ROWS]),
            n_more=max(0, len(rows) - MAX_ROWS),
            curves=tuple(curves[:MAX_CURVES]),
            n_more_curves=max(0, len(curves) - MAX_CURVES) + self._watch.n_left_out,
        )


def _run_view(row: RunRow, outlook: Outlook | None) -> RunView:
    return RunView(
        row.run_id,
        row.status,
        row.n_finished,
        len(row.cells),
        row.state.tokens_trained,
        row.state.tokens_ahead,
        row.seconds_left,
        tuple(row_texts(row, outlook.ends_at if outlook else "").values()),
    )


def _curves(rows: list[RunRow], runs: Sequence[Run], outlooks: Mapping[str, Outlook]) -> list[CurveView]:
    """Return the curves of unfinished runs, then those of others, each in the order of the rows."""
    by_name = {run.name: run for run in runs}
    found = [
        _curve(row, by_name[row.run_id], outlooks.get(row.run_id)) for row in rows if row.run_id in by_name
    ]
    return sorted(found, key=lambda curve: not curve.is_ahead)


def _curve(row: RunRow, run: Run, outlook: Outlook | None) -> CurveView:
    # Ends are whole numbers of steps up to rounding, so the longest one tells the tokens of a step.
    per_step = max(cell.n_tokens for cell in row.cells) / run.ends[-1].step
    ends = [
        EndView(end.step * per_step, end.loss, None, "measured") for end in run.ends if end.loss is not None
    ]
    said = outlook.forecast if outlook else None
    if said and said.loss is not None and said.interval is not None and said.basis is not None:
        ends.append(EndView(said.last_step * per_step, said.loss, said.interval, said.basis))
    shown = run.rows.binned(BINS)
    cell = row.cells[0]
    return CurveView(
        row.run_id,
        f"{cell.rung} seed {cell.seed}",
        cell.rung,
        run.ends[-1].loss is None,
        tuple((shown.steps * per_step).tolist()),
        tuple(shown.loss.tolist()),
        tuple(ends),
    )
