"""`python -m harness.status results/<sweep> [--watch] [--all]`: a row per run, from its files alone."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.launch import lease
from harness.records.command_line import CommandParser
from harness.records.errors import InputError
from harness.records.number_text import duration
from harness.records.paths import RunFolder, SweepFolder
from harness.runs.state import slurm_submission

# A run without a lease that has not reported for this long is not running any more.
SILENT_SECONDS = 90.0
WATCH_SECONDS = 2.0
MAX_ROWS = 100
LOG_WIDTH = 120
# In this order where not all have room: what happens now, what went wrong, what is still to come.
ORDER = (
    "running", "failed", "lost", "diverged", "interrupted", "waiting", "partial", "missing", "finished",
)  # fmt: skip
ENDED = ("finished", "failed", "diverged")
RIGHT = ("seed", "points", "trained", "loss", "tokens/s", "attempts")
COLUMNS = (
    "run", "rung", "seed", "status", "points", "trained", "loss", "tokens/s", "left", "attempts",
    "last error",
)  # fmt: skip


def read_sweep(folder: SweepFolder) -> dict[str, Any]:
    """The record of a sweep. Raises InputError where the folder is none."""
    try:
        record: Any = json.loads(folder.sweep.read_text())
    except FileNotFoundError:
        raise InputError(
            f"{folder.root} is no sweep folder (sweep.json is missing); give results/NAME"
        ) from None
    except (OSError, ValueError):
        record = None
    if not isinstance(record, dict) or not isinstance(record.get("cells"), list):
        raise InputError(f"{folder.sweep} is no record of a sweep; give the folder of one, results/NAME")
    return record


def run_rows(folder: SweepFolder) -> list[dict[str, Any]]:
    """State of every run of the plan in sweep.json, in its order; `status` is one of ORDER."""
    recorded = _recorded_points(folder)
    runs: dict[str, list[dict[str, Any]]] = {}
    for cell in read_sweep(folder)["cells"]:
        runs.setdefault(cell["run_id"], []).append(cell)
    return [_run_row(folder, run_id, cells, recorded) for run_id, cells in runs.items()]


def _recorded_points(folder: SweepFolder) -> dict[str, str]:
    """Status of every end point of the collected table, all there is where the run folders are gone."""
    if folder.runs.exists() or not folder.points.exists():
        return {}
    import pandas as pd

    points = pd.read_parquet(folder.points, columns=["point_id", "status"])
    return dict(zip(points.point_id, points.status, strict=True))


def _run_row(
    folder: SweepFolder, run_id: str, cells: list[dict[str, Any]], recorded: dict[str, str]
) -> dict[str, Any]:
    run = folder.run(run_id)
    known = [recorded.get(cell["point_id"], "missing") for cell in cells]
    worst = next((status for status in ("failed", "diverged", "done") if status in known), None)
    state = run.read_state() or ({"status": worst} if worst else {})
    n_finished = sum(
        run.point(cell["point_id"]).exists() or status in ("done", "diverged")
        for cell, status in zip(cells, known, strict=True)
    )
    return {
        "run_id": run_id,
        "rung": cells[0]["rung"],
        "seed": cells[0]["seed"],
        "status": _status(run, state, n_finished, len(cells)),
        "n_points": len(cells),
        "n_finished": n_finished,
        "cells": cells,
        "state": state,
    }


def _status(run: RunFolder, state: dict[str, Any], n_finished: int, n_points: int) -> str:
    """What a run is doing, by its end points, its lease and what it says of itself."""
    said = str(state.get("status", "missing"))
    if n_finished == n_points:
        return "diverged" if said == "diverged" else "finished"
    if lease.holder(run):
        return "running"
    if said == "running":
        silent = time.time() - state.get("updated", 0.0) > SILENT_SECONDS
        return "lost" if silent or run.lease.exists() else "running"
    return "partial" if said == "done" else said


def status_table(rows: list[dict[str, Any]], n_rows: int) -> Table:
    """Table of at most `n_rows` runs with progress, speed and time left."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in RIGHT else "left")
    chosen = rows
    if len(rows) > n_rows:
        chosen = sorted(rows, key=lambda row: ORDER.index(row["status"]))[:n_rows]
    for row in chosen:
        table.add_row(*_cells(row))
    return table


def _cells(row: dict[str, Any]) -> list[str | Text]:
    state, is_running = row["state"], row["status"] == "running"
    ahead, trained, speed = (state.get(k) for k in ("tokens_ahead", "tokens_trained", "tokens_per_second"))
    return [
        row["run_id"],
        row["rung"],
        str(row["seed"]),
        row["status"],
        f"{row['n_finished']}/{row['n_points']}",
        f"{trained:,}" if trained else "",
        f"{state['loss']:.3f}" if state.get("loss") is not None else "",
        f"{speed:,.0f}" if is_running and speed else "",
        duration((ahead - trained) / speed) if is_running and speed and ahead else "",
        str(state.get("retries", 0) + 1) if state else "",
        Text(state.get("error") or ""),
    ]


def counts(rows: list[dict[str, Any]]) -> str:
    """`12 finished, 2 running`, in the order of the plan."""
    found: dict[str, int] = {}
    for row in rows:
        found[row["status"]] = found.get(row["status"], 0) + 1
    return ", ".join(f"{n} {status}" for status, n in found.items())


def overall(rows: list[dict[str, Any]], cooldown_frac: float) -> str:
    """Speed of all running runs together, and when everything is trained at that speed; or nothing.

    What has not begun counts by its FLOPs: the trunk, and a cooldown of `cooldown_frac` to every end point.
    """
    rate = left = 0.0
    tokens_per_second = 0.0
    for row in rows:
        state, per_token = row["state"], row["cells"][0]["flops"] / row["cells"][0]["n_tokens"]
        if row["status"] in ENDED:
            continue
        speed = state.get("tokens_per_second") if row["status"] == "running" else None
        if speed:
            left += per_token * (state.get("tokens_ahead", 0) - state.get("tokens_trained", 0))
            rate += per_token * speed
            tokens_per_second += speed
        else:
            tokens = [cell["n_tokens"] for cell in row["cells"]]
            left += per_token * (max(tokens) * (1 - cooldown_frac) + cooldown_frac * sum(tokens))
    if not rate:
        return ""
    return f"{tokens_per_second:,.0f} tokens/s in all, about {duration(left / rate)} left"


def logs(folder: SweepFolder, rows: list[dict[str, Any]]) -> list[str]:
    """Where to read on: log files of runs that have not finished."""
    found = []
    for row in rows:
        run = folder.run(row["run_id"])
        if row["status"] == "finished" or not row["state"]:
            continue
        paths = [str(run.log)] if run.log.exists() else []
        paths += [submitted["log"] for submitted in [slurm_submission(run)] if submitted]
        found += [f"log of {row['run_id']}: {path}" for path in paths]
    return found


class View:
    """What is shown of a sweep: `everything`, or what has room."""

    def __init__(self, folder: SweepFolder, n_rows: int):
        self._folder = folder
        self._n_rows = n_rows
        optim = read_sweep(folder).get("config", {}).get("optim", {})
        self._cooldown_frac = optim.get("cooldown_frac", 0.0) if optim.get("schedule") == "wsd" else 0.0
        self.refresh()

    def refresh(self) -> None:
        """Read the files again."""
        self.rows = run_rows(self._folder)

    @property
    def has_ended(self) -> bool:
        """Whether every run is finished, failed or diverged."""
        return all(row["status"] in ENDED for row in self.rows)

    def headline(self) -> str:
        """Counts by status, speed and time left."""
        return "; ".join(
            text for text in (counts(self.rows), overall(self.rows, self._cooldown_frac)) if text
        )

    def render(self) -> Group:
        """The table, what it leaves out, logs, and the headline at the end."""
        lines = logs(self._folder, self.rows)[: self._n_rows]
        if len(self.rows) > self._n_rows:
            lines.insert(0, f"{len(self.rows) - self._n_rows} more runs are not shown; --all shows them")
        return Group(status_table(self.rows, self._n_rows), *map(Text, [*lines, self.headline()]))


def watch(view: View, console: Console) -> None:
    """Show the sweep again and again until every run has ended; a line for each change in a log."""
    if not console.is_terminal:
        said = ""
        while True:
            if counts(view.rows) != said:
                said = counts(view.rows)
                console.print(view.headline(), markup=False)
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
    """The options of the command."""
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
    """Print the sweep once, or watch it; returns the exit code."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else LOG_WIDTH)
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
    """Entry point; returns the exit code."""
    return command_parser().answer(arguments, show)


if __name__ == "__main__":
    sys.exit(main())
