"""`python -m harness.bench.many_runs`: a folder of many finished runs, and what every look at it costs.

One run of each size is trained, the others are copies under their own ids. Each step is measured on the large
folder and on the trained runs alone, whose time is its start. The ratio is that of the time beyond the start
to the plain reading of the same files (`harness.bench.reading`), by CPU seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from harness.bench.reading import DRIVER, STEPS, Cost, cost, plain_reading
from harness.bench.run_copies import copy_runs, original
from harness.config.settings import load
from harness.data.build import DataConfig
from harness.plan.plan import Plan
from harness.records.command_line import CommandParser, output_file
from harness.records.errors import Damaged, InputError
from harness.records.files import write_json
from harness.records.json_files import to_json
from harness.records.number_text import duration
from harness.records.paths import RunFolder, SweepFolder
from harness.records.provenance import provenance, usable_cores
from harness.sweep.sweep import Sweep
from harness.track.console import plain_console

DESCRIPTION = """\
Make a folder of many finished runs (one of each size is trained, the others are copies of it under their own
ids) and measure the steps that look at all of them, each beside the plain reading of the same files."""
EXAMPLE = "python -m harness.bench.many_runs --runs 10000"
RUNGS, TOKENS = (16, 32), (4096, 8192)
MOST_RUNS = 10**6
UNFINISHED = 10  # runs that a driver follows


class TrainedAlone(Sweep):
    """A sweep that trains its runs and makes no table and no fit."""

    def _tables(self, plan: Plan, config: DataConfig) -> pd.DataFrame:
        """Train and write no tables: collecting them is measured."""
        self._train(plan, config)
        return pd.DataFrame()

    def _conclude(self, plan: Plan, points: pd.DataFrame) -> None:
        """Do nothing: fits are not measured."""


class Copied(TrainedAlone):
    """A sweep whose runs are copies of trained ones of the same size."""

    trained: SweepFolder

    def _train(self, plan: Plan, config: DataConfig) -> list[Damaged]:  # noqa: ARG002
        runs = [RunFolder(path) for path in self.trained.runs.iterdir() if path.is_dir()]
        originals = {found.rung: found for found in map(original, runs)}
        jobs = [job for phase in plan.phases for job in plan.phase_jobs(phase)]
        copy_runs(originals, jobs, self.folder.runs, len(usable_cores()))
        return []


def write_texts(folder: Path) -> None:
    """Write some hundred texts of random words, enough for a tokenizer and a held-out part."""
    folder.mkdir(parents=True)
    draw = random.Random(0)
    for number in range(300):
        words = (f"word{draw.randrange(3000)}" for _ in range(300))
        (folder / f"{number:03d}.txt").write_text(" ".join(words) + "\n")


def overrides(root: Path, name: str, n_runs: int) -> list[str]:
    """Return the overrides of a sweep of `n_runs` runs, two end points each, with one task."""
    seeds = json.dumps(list(range(max(1, n_runs // len(RUNGS)))), separators=(",", ":"))
    return [
        "+grid=smoke", "data=text", f"data.path={root / 'texts'}", "data.vocab_size=300",
        "data.eval_fraction=0.1", "data.eval_tokens=8192", "data.curve_eval_tokens=2048",
        "data.tasks={copy: {share: 0.1, lengths: [4]}}", "data.task_items=8", "model.seq_len=32",
        "model.n_layers=1", "optim.batch_size=4", f"grid.rungs={list(RUNGS)}",
        f"grid.n_tokens={list(TOKENS)}",
        f"grid.seeds={seeds}", "grid.holdout_factor=1", "keep=none",
        f"results_dir={root / name}", f"cache_dir={root / 'cache'}",
    ]  # fmt: skip


def made(root: Path, name: str, n_runs: int, trained: SweepFolder | None = None) -> list[str]:
    """Make the folder of a sweep, trained or of copies of `trained`; return its command line."""
    arguments = overrides(root, name, n_runs)
    kind = TrainedAlone if trained is None else Copied
    with open(os.devnull, "w") as nowhere:
        sweep = kind(load(arguments), arguments, plain_console(file=nowhere))
        if isinstance(sweep, Copied) and trained is not None:
            sweep.trained = trained
        sweep.run()
    return arguments


@contextlib.contextmanager
def unfinished(folder: SweepFolder, n: int) -> Iterator[list[Path]]:
    """Hide the end points of some runs inside a `with` block; yield the folders of these runs."""
    runs = sorted(path for path in folder.runs.iterdir() if path.is_dir())[:n]
    hidden = [path for run in runs for path in run.glob("points/*.json")]
    for path in hidden:
        path.rename(path.with_suffix(".hidden"))
    try:
        yield runs
    finally:
        for path in hidden:
            path.with_suffix(".hidden").rename(path)


def compared(root: Path, n_runs: int) -> dict[str, Any]:
    """Return the figures of all steps."""
    write_texts(root / "texts")
    small, large = (SweepFolder(root / name) for name in ("small", "large"))
    began = time.monotonic()
    arguments = {small: made(root, "small", len(RUNGS)), large: made(root, "large", n_runs, small)}
    print(f"{n_runs} runs made in {duration(time.monotonic() - began)}", file=sys.stderr)
    files = [path for path in large.runs.rglob("*") if path.is_file()]
    figures: dict[str, Any] = {
        "runs": n_runs,
        "files": len(files),
        "mb": sum(path.stat().st_size for path in files) / 1e6,
        "steps": {},
    }
    for name, code in STEPS.items():
        costs = {folder: cost(code, folder.root, given) for folder, given in arguments.items()}
        figures["steps"][name] = of_step(costs[large], costs[small])
        print(f"{name} measured", file=sys.stderr)
    with unfinished(small, 1) as few, unfinished(large, UNFINISHED) as some:
        start = cost(DRIVER, small.root, arguments[small], few)
        driver = cost(DRIVER, large.root, arguments[large], some)
        figures["steps"]["driver"] = of_step(driver, start)
    return figures


def of_step(large: Cost, small: Cost) -> dict[str, Any]:
    """Return the figures of a step beside the plain reading of what it opened."""
    # A file that is asked for and not there is opened too.
    plain = plain_reading([path for path in large.opened if os.path.isfile(path)])
    return {
        "files": len(large.opened),
        "openings_of_a_file": max(large.opened.values(), default=0),
        "cpu_seconds": large.cpu,
        "seconds": large.wall,
        "start_cpu_seconds": small.cpu,
        "plain_cpu_seconds": plain["cpu"],
        "plain_seconds": plain["wall"],
        "ratio": (large.cpu - small.cpu) / plain["cpu"],
        "peak_mb": large.peak_mb,
        "cpu_milliseconds": {name: 1e3 * seconds for name, seconds in large.more.items()},
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = CommandParser("harness.bench.many_runs", DESCRIPTION, EXAMPLE)
    parser.add_argument("--runs", type=int, default=10_000, help="runs of the folder (default 10000)")
    parser.add_argument("--json", type=output_file, help="where the figures go beside the screen")
    return parser.answer(arguments, measure)


def measure(options: argparse.Namespace) -> None:
    """Make the folder, measure, and print and write the figures."""
    if not len(RUNGS) <= options.runs <= MOST_RUNS:
        raise InputError(f"runs is {options.runs}, expected {len(RUNGS)} to {MOST_RUNS}", "runs")
    with tempfile.TemporaryDirectory(prefix="many-runs-") as name:
        figures = compared(Path(name), options.runs)
        # Before the files are removed, which takes a while.
        print(json.dumps(figures, indent=1), flush=True)
        if options.json:
            write_json(options.json, {"schema": 1, "provenance": to_json(provenance()), **figures})


if __name__ == "__main__":
    sys.exit(main())
