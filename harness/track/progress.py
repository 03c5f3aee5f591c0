"""Progress of a sweep: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.recipe import counting
from harness.recipe.spec import Job
from harness.records.number_text import duration
from harness.records.paths import SweepFolder
from harness.records.run_files import RunState, RunStatus

LINE_SECONDS = 15.0
# Runs named in one line of a log.
MAX_IN_LINE = 8
BAR_WIDTH = 24
# Lines of a terminal that are not rows of runs: headline, bar, frame and the line on further runs.
FRAME_LINES = 8


@dataclass(frozen=True)
class Ends:
    """Where running runs will end.

    Attributes:
        texts: loss at the last end with half its interval, by run.
        alarms: sentences on runs that left their band, by run.
    """

    texts: Mapping[str, str]
    alarms: Mapping[str, str]


def no_ends() -> Ends:
    """Return nothing, for a sweep whose curves nobody follows."""
    return Ends({}, {})


class Progress:
    """Progress of a sweep, read from the state files of its runs.

    Args:
        console: where to show it: a live table in a terminal, else a line every LINE_SECONDS.
        folder: folder of the sweep.
        total_flops: FLOPs of the whole sweep.
        cost: FLOPs of a job.
        ends: where running runs will end, by the curves so far; asked at every look.
    """

    def __init__(
        self,
        console: Console,
        folder: SweepFolder,
        total_flops: float,
        cost: Callable[[Job], float],
        ends: Callable[[], Ends] = no_ends,
    ):
        self._console = console
        self._folder = folder
        self._total = max(total_flops, 1.0)
        self._cost = cost
        self._ends = ends
        self._alarmed: set[str] = set()
        self._done = 0.0
        self._began = time.monotonic()
        self._line_at = 0.0
        self._live: Live | None = None
        # The log of a CI system would keep every refresh of a live table.
        if console.is_terminal and not os.environ.get("CI"):
            self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def finish(self, job: Job) -> None:
        """Count a job as done."""
        self._done += self._cost(job)

    def watch(self, running: list[Job]) -> None:
        """Show the progress of the running jobs."""
        views = [(job, self._folder.run(job.spec.run_id).read_state()) for job in running]
        ends = self._ends()
        self._alarm(ends.alarms)
        share = min(1.0, (self._done + sum(self._worked(job, state) for job, state in views)) / self._total)
        if self._live:
            self._live.update(self._table(views, share, ends.texts))
        elif time.monotonic() - self._line_at > LINE_SECONDS:
            self._line_at = time.monotonic()
            lines = [_line(*view, ends.texts) for view in views[:MAX_IN_LINE]]
            if len(views) > MAX_IN_LINE:
                lines.append(f"and {len(views) - MAX_IN_LINE} more runs")
            self._console.print("; ".join([self._headline(share), *lines]))

    def _alarm(self, alarms: Mapping[str, str]) -> None:
        """Print each alarm once, above the live table."""
        for run_id in alarms.keys() - self._alarmed:
            self._alarmed.add(run_id)
            self._console.print(Text(alarms[run_id]))

    def _worked(self, job: Job, state: RunState) -> float:
        """Return the FLOPs that a running job has trained in this attempt."""
        if state.status != RunStatus.RUNNING:
            return 0.0
        return min(self._cost(job), counting.train_flops_token(job.spec.model) * (state.tokens_trained or 0))

    def _headline(self, share: float) -> str:
        """Return the share of the FLOPs, the time so far and the estimated time left."""
        elapsed = time.monotonic() - self._began
        # The first percent is mostly start-up, which says nothing about speed.
        left = elapsed * (1 - share) / share if share > 0.01 else None
        eta = f", about {duration(left)} left" if left is not None else ""
        return f"{share:.0%} of the FLOPs in {duration(elapsed)}{eta}"

    def _table(self, views: list[tuple[Job, RunState]], share: float, ends: Mapping[str, str]) -> Group:
        """Return the live table: a bar for the sweep and a row per running job."""
        table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
        # Without forecasts, their column would only take the room of others.
        forecast = ("ends at, 90 %",) if ends else ()
        for name in ("rung", "seed", "", "trained", "loss", "tokens/s", "MFU", "left", *forecast):
            table.add_column(name, justify="right")
        shown = views[: max(1, self._console.height - FRAME_LINES)]
        for job, state in shown:
            ahead, trained = state.tokens_ahead or 1, state.tokens_trained or 0
            bar = ProgressBar(total=ahead, completed=trained, width=BAR_WIDTH)
            end = (ends.get(job.spec.run_id, ""),) if ends else ()
            table.add_row(job.spec.rung, str(job.spec.seed), bar, *_numbers(state), _left(state), *end)
        bar = ProgressBar(total=1.0, completed=share, width=2 * BAR_WIDTH)
        more = [f"and {len(views) - len(shown)} more runs"] if len(views) > len(shown) else []
        return Group(self._headline(share), bar, table, *more)


def _numbers(state: RunState) -> list[str]:
    """Return the texts of the share trained, the loss, tokens per second and MFU."""
    ahead, trained = state.tokens_ahead, state.tokens_trained
    if not ahead or trained is None:
        return ["starting", "", "", ""]
    loss, speed = state.loss, state.tokens_per_second
    return [
        f"{trained / ahead:.0%}",
        "" if loss is None else f"{loss:.3f}",
        "" if speed is None else f"{speed:,.0f}",
        "" if state.mfu is None else f"{state.mfu:.0%}",
    ]


def _left(state: RunState) -> str:
    """Return the estimated time left of a run, or nothing without a speed."""
    if not state.tokens_per_second:
        return ""
    return duration(((state.tokens_ahead or 0) - (state.tokens_trained or 0)) / state.tokens_per_second)


def _line(job: Job, state: RunState, ends: Mapping[str, str]) -> str:
    """Return one running job for a line of a log."""
    trained, loss, speed, mfu = _numbers(state)
    detail = f"{trained}" + (f" loss {loss}" if loss else "") + (f" at {speed} tokens/s" if speed else "")
    detail += f", MFU {mfu}" if mfu else ""
    end = ends.get(job.spec.run_id)
    detail += f", ends at {end}" if end else ""
    return f"{job.spec.rung} seed {job.spec.seed}: {detail}"
