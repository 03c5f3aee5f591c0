"""`python -m harness.status results/<sweep>`: one row per run, read from its files alone."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from harness.launch.progress import format_duration
from harness.records import InputError, SweepFolder

# A run that has not reported for this long is not running any more.
SILENT_SECONDS = 90.0


def run_rows(folder: SweepFolder) -> list[dict[str, Any]]:
    """State of every run of the plan in sweep.json: finished, running, failed, diverged or missing."""
    if not folder.sweep.exists():
        raise InputError(f"{folder.root} is no sweep folder (sweep.json is missing); give results/NAME")
    recorded = _recorded_points(folder)
    runs: dict[str, list[dict[str, Any]]] = {}
    for cell in json.loads(folder.sweep.read_text())["cells"]:
        runs.setdefault(cell["run_id"], []).append(cell)
    return [_run_row(folder, run_id, cells, recorded) for run_id, cells in runs.items()]


def _recorded_points(folder: SweepFolder) -> dict[str, str]:
    """Status of every end point of the collected table, all there is where the run folders are gone."""
    if folder.runs.exists() or not folder.points.exists():
        return {}
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
        "status": _status(state, n_finished, len(cells)),
        "n_points": len(cells),
        "n_finished": n_finished,
        "state": state,
    }


def _status(state: dict[str, Any], n_finished: int, n_points: int) -> str:
    if n_finished == n_points:
        return "diverged" if state.get("status") == "diverged" else "finished"
    if state.get("status") == "running":
        silent = time.time() - state.get("updated", 0.0) > SILENT_SECONDS
        return "interrupted" if silent else "running"
    if state.get("status") == "done":
        return "partial"
    return str(state.get("status", "missing"))


def status_table(rows: list[dict[str, Any]]) -> Table:
    """Table of runs with progress, speed and time left."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for name in (
        "run",
        "rung",
        "seed",
        "status",
        "points",
        "loss",
        "tokens/s",
        "left",
        "retries",
        "last error",
    ):
        table.add_column(name, justify="right" if name in ("seed", "loss", "tokens/s", "retries") else "left")
    for row in rows:
        state = row["state"]
        table.add_row(
            row["run_id"],
            row["rung"],
            str(row["seed"]),
            row["status"],
            f"{row['n_finished']}/{row['n_points']}",
            f"{state['loss']:.3f}" if state.get("loss") is not None else "",
            f"{state['tokens_per_second']:,.0f}" if row["status"] == "running" and "loss" in state else "",
            _left(row),
            str(state["retries"]) if state.get("retries") else "",
            state.get("error") or "",
        )
    return table


def _left(row: dict[str, Any]) -> str:
    state = row["state"]
    if row["status"] != "running" or not state.get("tokens_trained"):
        return ""
    rate = state["tokens_trained"] / max(1e-9, state["seconds"])
    return format_duration((state["tokens_ahead"] - state["tokens_trained"]) / rate)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m harness.status results/NAME", file=sys.stderr)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    try:
        rows = run_rows(SweepFolder(Path(arguments[0])))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    console.print(status_table(rows))
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["status"]] = counts.get(row["status"], 0) + 1
    console.print(", ".join(f"{n} {status}" for status, n in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
