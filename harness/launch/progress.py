"""Progress of a sweep: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from harness import counting
from harness.records import SweepFolder
from harness.spec import Job

LINE_SECONDS = 15.0


def format_duration(seconds: float) -> str:
    """`7 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """Follows jobs by their state files; `total_flops` is the work of the whole sweep."""

    def __init__(
        self, console: Console, folder: SweepFolder, total_flops: float, cost: Callable[[Job], float]
    ):
        self._console = console
        self._folder = folder
        self._total = max(total_flops, 1.0)
        self._cost = cost
        self._done = 0.0
        self._began = time.monotonic()
        self._line_at = 0.0
        self._live: Live | None = None
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
        """Count a job as worked off."""
        self._done += self._cost(job)

    def watch(self, running: list[Job]) -> None:
        """Show where the running jobs stand."""
        views = [(job, self._folder.run(job.spec.run_id).read_state()) for job in running]
        share = min(1.0, (self._done + sum(self._worked(job, state) for job, state in views)) / self._total)
        if self._live:
            self._live.update(self._table(views, share))
        elif time.monotonic() - self._line_at > LINE_SECONDS:
            self._line_at = time.monotonic()
            self._console.print(self._headline(share) + "; " + "; ".join(_line(*view) for view in views))

    def _worked(self, job: Job, state: dict[str, Any]) -> float:
        if state.get("status") != "running":
            return 0.0
        return min(
            self._cost(job), counting.train_flops_token(job.spec.model) * state.get("tokens_trained", 0)
        )

    def _headline(self, share: float) -> str:
        elapsed = time.monotonic() - self._began
        left = elapsed * (1 - share) / share if share > 0.01 else None
        eta = f", about {format_duration(left)} left" if left is not None else ""
        return f"{share:.0%} of the FLOPs in {format_duration(elapsed)}{eta}"

    def _table(self, views: list[tuple[Job, dict[str, Any]]], share: float) -> Table:
        table = Table(title=self._headline(share), title_justify="left")
        for name in ("rung", "seed", "trained", "loss", "tokens/s"):
            table.add_column(name, justify="right")
        for job, state in views:
            table.add_row(job.spec.rung, str(job.spec.seed), *_numbers(state))
        return table


def _numbers(state: dict[str, Any]) -> list[str]:
    ahead, trained = state.get("tokens_ahead"), state.get("tokens_trained")
    if not ahead or trained is None:
        return ["starting", "", ""]
    loss, speed = state.get("loss"), state.get("tokens_per_second")
    return [
        f"{trained / ahead:.0%}",
        "" if loss is None else f"{loss:.3f}",
        "" if speed is None else f"{speed:,.0f}",
    ]


def _line(job: Job, state: dict[str, Any]) -> str:
    trained, loss, speed = _numbers(state)
    detail = f"{trained}" + (f" loss {loss}" if loss else "") + (f" at {speed} tokens/s" if speed else "")
    return f"{job.spec.rung} seed {job.spec.seed}: {detail}"
