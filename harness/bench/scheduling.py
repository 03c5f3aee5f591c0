"""`python -m harness.bench.scheduling`: overhead of a sweep, measured with runs that take no time.

Three figures: seconds per trivial run on `local`, start of the workers included; seconds of a second start of
a finished sweep; seconds and memory of planning and of harness.status for a large sweep.
CPU seconds stand beside wall-clock seconds, because others may use the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from harness.bench.figures import print_figures
from harness.config.settings import load
from harness.data.build import DataConfig
from harness.launch.interface import Launcher
from harness.launch.local.local import LocalLauncher
from harness.launch.local.places import seats
from harness.launch.worker import WorkerConfig
from harness.plan.plan import Plan
from harness.records.command_line import CommandParser, output_file
from harness.records.derived import Stage, record_made
from harness.records.errors import Damaged
from harness.records.paths import SweepFolder
from harness.records.provenance import ROOT
from harness.records.run_files import RunStatus
from harness.runs.state import set_state
from harness.sweep.finish import made_from
from harness.sweep.sweep import Sweep
from harness.track.console import plain_console

DESCRIPTION = """\
Measure the cost of a sweep beside training: seconds per run that takes no time, planning and status of a
large sweep, and the second start of a finished one."""
RUNGS = [16, 32, 48, 64, 80, 96, 112, 128, 144, 160]
TOKENS = [262144, 524288]
WORKER = (sys.executable, "-m", "harness.bench.trivial_worker")


class TrivialSweep(Sweep):
    """A sweep whose runs take no time."""

    train_seconds = 0.0

    def _launcher(self, config: WorkerConfig, plan: Plan) -> Launcher:
        return LocalLauncher(config, seats(self.settings.launcher.n_workers, 1), plan.job_flops, 1, WORKER)

    def _train(self, plan: Plan, config: DataConfig) -> list[Damaged]:
        began = time.monotonic()
        damaged = super()._train(plan, config)
        self.train_seconds = time.monotonic() - began
        return damaged

    def _conclude(self, plan: Plan, points: pd.DataFrame) -> None:  # noqa: ARG002
        """Copy fits and report of the committed example: fitting is not measured."""
        example = SweepFolder(ROOT / "results" / "chinchilla")
        shutil.copy(example.fits, self.folder.fits)
        shutil.copy(example.report, self.folder.report)
        files = {Stage.FITS: [self.folder.fits], Stage.TASKS: [], Stage.REPORT: [self.folder.report]}
        for stage, made in files.items():
            record_made(self.folder, stage, made_from(self.folder, stage, self.settings.grid.resamples), made)


def overrides(results: Path, cache: Path, n_runs: int) -> list[str]:
    """Return the overrides of a grid of `n_runs` runs, two end points each, on a small synthetic corpus."""
    seeds = list(range(max(1, n_runs // len(RUNGS))))
    lists = {"rungs": RUNGS, "n_tokens": TOKENS, "seeds": seeds, "resamples": 2}
    return [
        "+grid=smoke", "data=synthetic", "data.synthetic_tokens=4000000", "grid.holdout_factor=1",
        *(f"grid.{key}={json.dumps(value, separators=(',', ':'))}" for key, value in lists.items()),
        f"results_dir={results}", f"cache_dir={cache}",
    ]  # fmt: skip


def measured(command: list[str]) -> dict[str, float]:
    """Return wall-clock seconds, CPU seconds and peak memory in MB of a command; it must succeed."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"python -m {' '.join(command)} ended with {process.returncode}")
    return {
        "seconds": time.monotonic() - began,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
    }


def overhead(root: Path, n_runs: int) -> dict[str, float]:
    """Return the seconds per trivial run, and the cost of a second start of the finished sweep."""
    arguments = overrides(root / "small", root / "cache", n_runs)
    with open(os.devnull, "w") as nowhere:
        sweep = TrivialSweep(load(arguments), arguments, plain_console(file=nowhere))
        sweep.run()
    per_run = {"n_runs": float(n_runs), "seconds_per_run": sweep.train_seconds / n_runs}
    again = measured(["harness.sweep", *arguments])
    return per_run | {f"second_start_{key}": value for key, value in again.items()}


def large(root: Path, n_runs: int) -> dict[str, Any]:
    """Return the cost of planning a large sweep, and of its status when half of its runs have ended."""
    folder = root / "large"
    arguments = overrides(folder, root / "cache", n_runs)
    sweep = HalfDone(load(arguments), arguments, plain_console(file=open(os.devnull, "w")))  # noqa: SIM115
    sweep.run()
    planned = measured(["harness.sweep", *arguments, "dry_run=true"])
    return {"n_runs": n_runs, "planning": planned, "status": measured(["harness.status", str(folder)])}


class HalfDone(Sweep):
    """A sweep in which every second run is finished and every tenth waits; it fits nothing."""

    def _train(self, plan: Plan, config: DataConfig) -> list[Damaged]:  # noqa: ARG002
        for index, (job,) in enumerate((job,) for phase in plan.phases for job in plan.phase_jobs(phase)):
            run = self.folder.run(job.spec.run_id)
            for n_tokens in job.n_tokens if index % 2 else ():
                path = run.point(job.spec.point_id(n_tokens))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps({"run_id": run.run_id, "point_id": path.stem}))
            if index % 2 or index % 10 == 0:
                set_state(run, RunStatus.DONE if index % 2 else RunStatus.WAITING)
        return []

    def _tables(self, plan: Plan, config: DataConfig) -> pd.DataFrame:
        """Train and write no tables: there is nothing to fit."""
        self._train(plan, config)
        return pd.DataFrame()

    def _conclude(self, plan: Plan, points: pd.DataFrame) -> None:
        """Do nothing: there is nothing to fit."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    example = "python -m harness.bench.scheduling --runs 100 --large 1000"
    parser = CommandParser("harness.bench.scheduling", DESCRIPTION, example)
    parser.add_argument("--runs", type=int, default=1000, help="trivial runs on local (default 1000)")
    parser.add_argument("--large", type=int, default=10_000, help="runs of the large sweep (default 10000)")
    parser.add_argument("--json", type=output_file, help="where the figures go beside the screen")
    return parser.answer(arguments, measure)


def measure(options: argparse.Namespace) -> None:
    """Measure both sweeps, and print and write the figures."""
    with tempfile.TemporaryDirectory(prefix="scheduling-") as name:
        figures = {"small": overhead(Path(name), options.runs), "large": large(Path(name), options.large)}
    print_figures(figures, options.json)


if __name__ == "__main__":
    sys.exit(main())
