"""Sweeps of seconds: settings, and the command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pandas as pd

from harness.config.schema import SweepSettings
from harness.config.settings import load
from harness.grid.cells import Cell
from harness.grid.expansion import expand
from harness.recipe.spec import DataSpec
from harness.records.columns import TIMING_COLUMNS
from harness.records.paths import SweepFolder
from tests import ROOT, preloaded

VOCAB = 32
# batch 4 × seq_len 32 × log_interval 8.
RASTER = 1024
DATA = DataSpec("corpus", "tokenizer", 5.0, 8192, 2048)
SMALL = [
    "+grid=smoke",
    "data=synthetic",
    f"data.vocab_size={VOCAB}",
    "data.synthetic_tokens=100000",
    "data.eval_tokens=8192",
    "data.curve_eval_tokens=2048",
    "model.seq_len=32",
    "optim.batch_size=4",
    "model.rope_theta=200.0",
    "model.n_layers=1",
    "model.qk_norm=false",
    "grid.log_interval=8",
    "grid.rungs=[16]",
    "grid.n_tokens=[4096,8192]",
    "grid.holdout_factor=null",
    "grid.resamples=2",
]


# Seconds of training in each run, so that it can be killed on the way.
LONG = "grid.n_tokens=[16384,131072]"
THREE_SEEDS = "grid.seeds=[0,1,2]"


@cache
def settings(*overrides: str, grid: str = "smoke") -> SweepSettings:
    """The small sweep of a grid with overrides; not to be changed."""
    return load([f"+grid={grid}", *SMALL[1:], *overrides])


def small_cells(*overrides: str) -> list[Cell]:
    """Cells of the small sweep with overrides."""
    return expand(settings(*overrides), DATA, VOCAB)


def grid_cells(grid: str, *overrides: str, vocab_size: int = 512) -> list[Cell]:
    """Cells of a grid as it stands in sweeps/."""
    return expand(load([f"+grid={grid}", *overrides]), DATA, vocab_size)


def environment(cache: Path, **extra: str) -> dict[str, str]:
    return dict(os.environ, SCALING_CACHE=str(cache), JAX_PLATFORMS="cpu", XLA_FLAGS="", CI="true") | extra


def sweep_command(results: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "harness.sweep", *SMALL, f"results_dir={results}", *overrides]


def finish(
    command: list[str], cache: Path, fresh: bool = False, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `fresh` starts it and its workers from scratch, as users do."""
    run = subprocess.run if fresh else preloaded.run
    surroundings = environment(cache, **extra)
    return run(command, timeout=550, cwd=ROOT, env=surroundings, capture_output=True, text=True)


def without_times(frame: pd.DataFrame) -> pd.DataFrame:
    """A table without the columns that tell of speed and machine."""
    return frame.drop(columns=[name for name in TIMING_COLUMNS if name in frame])


def tables(results: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables without the columns that tell of speed."""
    folder = SweepFolder(results)
    points, curves = pd.read_parquet(folder.points), pd.read_parquet(folder.curves)
    return without_times(points), without_times(curves)


def assert_same_tables(left: Path, right: Path) -> None:
    for mine, theirs in zip(tables(left), tables(right), strict=True):
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)


def assert_same_runs(results: Path, other: Path, n_runs: int) -> None:
    """Every row of the tables, byte for byte, of just so many runs; `other` may have more."""
    for mine, theirs in zip(tables(results), tables(other), strict=True):
        assert mine.run_id.nunique() == n_runs
        expected = theirs[theirs.run_id.isin(mine.run_id.unique())].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, expected, check_exact=True)


def point_times(results: Path) -> dict[str, int]:
    """When each end point was written."""
    return {p.name: p.stat().st_mtime_ns for p in SweepFolder(results).runs.glob("*/points/*.json")}


# The command without calibration, long waits and fits, which take most of a small sweep's time. A shell
# starts background jobs with SIGINT ignored, and their children inherit that.
TRAIN_ONLY = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import harness.launch.slurm.slurm as slurm
import harness.launch.supervise as supervise
import harness.sweep.__main__ as command
import harness.sweep.sweep as sweep
supervise.BACK_OFF_SECONDS, supervise.MAX_BACK_OFF_SECONDS = 0.05, 0.5
slurm.ASK_SECONDS = 0.5
sweep.matmul_rate = lambda: 1e10
sweep.conclude = lambda *_, **__: {}
sweep.print_conclusion = lambda *_: None
sys.exit(command.main(sys.argv[1:]))
"""


def start(results: Path, cache: Path, *overrides: str) -> subprocess.Popen[str]:
    """Start the command up to the tables."""
    return preloaded.Popen(
        train_command(results, *overrides),
        cwd=ROOT, env=environment(cache), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def train_command(results: Path, *overrides: str) -> list[str]:
    """The command up to the tables."""
    return [sys.executable, "-c", TRAIN_ONLY, *SMALL, f"results_dir={results}", *overrides]


def train(results: Path, cache: Path, *overrides: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return finish(train_command(results, *overrides), cache, **extra)
