"""`python -m analysis.bench`: time the fits of this machine against goals; a missed goal is no failure.

The fit of 240 points is also timed with SciPy's L-BFGS-B on a sample of the starts. SciPy takes one start
after another, with an analytic gradient. The ratio of both times hardly depends on the machine. The same
sample shows whether the batched solver ends in worse minima. The points are those of Hoffmann et al. 2022
as read off by Besiroglu et al. 2024, arXiv:2404.10102.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.approaches.envelope import curve_table, fit_envelope
from analysis.arrays import Array
from analysis.bench.scipy_alone import scipy_alone
from analysis.laws import find_law
from analysis.solve.problem import Problem, checked_problem
from analysis.tables.table import LossTable, load_table
from analysis.uncertainty.bootstrap import bootstrap, resampled_weights
from harness.records.command_line import CommandParser, whole_number
from harness.records.errors import InputError
from harness.records.files import read_table
from harness.records.paths import SweepFolder

STARTS, RESAMPLES = 4500, 4000  # Besiroglu et al. 2024, arXiv:2404.10102
ROWS, OUTLIERS = 240, 5  # simulated rows; published rows left out, those of the highest loss
SAMPLED_STARTS, SAMPLED_RESAMPLES = 45, 40  # samples for SciPy, which is many times slower
PARITY = 1e-6  # relative difference up to which two minima count as equal
BATCH_GOAL, PROCESS_GOAL, ENVELOPE_GOAL, MEMORY_GOAL = 5.0, 2.0, 5.0, 1.0  # seconds, GB
CURVE_ROWS, CURVES = 1_000_000, 100  # logged steps in all, runs
PUBLISHED = Path("epoch_chinchilla") / "svg_extracted_data.csv"
SIMULATED = (1.8172, 482.01, 2085.43, 0.3478, 0.3658)  # E, A, B, alpha, beta of that paper
NOISE = 0.005  # standard deviation of simulated log losses


@dataclass(frozen=True)
class Row:
    """One line of the benchmark.

    Attributes:
        what: the quantity.
        measured: its value with a unit.
        goal: the goal with a unit; empty if there is none.
        off: whether the goal is missed; None if there is none.
    """

    what: str
    measured: str
    goal: str = ""
    off: bool | None = None

    def text(self) -> str:
        """Return the row as a line of aligned columns."""
        verdict = "" if self.off is None else "OFF" if self.off else "ok"
        return f"{self.what:<66} {self.measured:>24}  {self.goal:<8} {verdict}".rstrip()


def points_240(seed: int) -> tuple[LossTable, str]:
    """Return 240 points and their origin in words.

    They are the published points without the five highest losses. If SCALING_DATA_DIR has no such file, they
    are simulated.
    """
    path = Path(os.environ.get("SCALING_DATA_DIR", "")) / PUBLISHED
    if os.environ.get("SCALING_DATA_DIR") and path.exists():
        table = load_table(path, mapping={"N": "Model Size", "C": "Training FLOP"})
        return table.select(table.loss < np.sort(table.loss)[-OUTLIERS]), "published points"
    rng = np.random.default_rng(seed)
    n, d = 10 ** rng.uniform(7.6, 10.2, ROWS), 10 ** rng.uniform(9, 11.7, ROWS)
    loss = find_law("chinchilla").value(np.array(SIMULATED), n, d) * np.exp(NOISE * rng.standard_normal(ROWS))
    return load_table(
        pd.DataFrame({"N": n, "D": d, "loss": loss})
    ), "simulated points, SCALING_DATA_DIR not set"


def batched(table: LossTable, seed: int, starts: int = STARTS, resamples: int = RESAMPLES) -> Iterator[Row]:
    """Time all starts and resamples as one batch, then SciPy on a sample of both."""
    problem, rng = checked_problem(table, "chinchilla"), np.random.default_rng(seed)
    random = problem.law.starts(table, rng, starts)
    clocks = [_clocks()]
    solved = problem.solve(random)
    best = solved.theta[solved.best]
    clocks.append(_clocks())
    bootstrap(problem, best, resamples, seed)
    clocks.append(_clocks())
    solving, resampling, both = (clocks[j] - clocks[i] for i, j in ((0, 1), (1, 2), (0, 2)))
    total = float(both[0])
    yield Row(f"{starts} starts, batched", _seconds(solving))
    yield Row(f"{resamples} bootstrap resamples, batched", _seconds(resampling))
    yield Row("both", _seconds(both), f"≤ {BATCH_GOAL:g} s", total > BATCH_GOAL)

    yield from _against_scipy(problem, random, solved.objective, best, resamples, seed, total)


def _clocks() -> Array:
    """Return wall-clock and processor time in seconds [2]."""
    return np.array([time.perf_counter(), time.process_time()])


def _seconds(clocks: Array) -> str:
    return f"{clocks[0]:.1f} s ({clocks[1]:.1f} s of CPU)"


def _against_scipy(
    problem: Problem, random: Array, reached: Array, best: Array, resamples: int, seed: int, seconds: float
) -> Iterator[Row]:
    """Time SciPy under its default tolerances and compare minima under tight ones.

    Args:
        problem: the fit.
        random: all starts [starts, params].
        reached: objective that the batched solver reached from each start.
        best: estimate that every resample starts from [params].
        resamples: number of bootstrap resamples.
        seed: seed of the resamples.
        seconds: wall-clock time of the batched solver for all starts and resamples.
    """
    some = np.linspace(0, len(random) - 1, min(SAMPLED_STARTS, len(random))).astype(int)
    wanted = min(SAMPLED_RESAMPLES, resamples)
    weights = resampled_weights(problem, wanted, np.random.default_rng(seed))
    centre = np.tile(best, (len(weights), 1))
    starts = scipy_alone(problem, random[some], np.ones((len(some), weights.shape[1])))
    refits = scipy_alone(problem, centre, weights)
    alone = len(random) * starts.seconds_each + resamples * refits.seconds_each
    what = f"L-BFGS-B one by one, extrapolated from {len(some)} starts, {len(weights)} resamples"
    yield Row(what, f"{alone:.0f} s = {alone / seconds:.1f} times")
    yield _parity("starts whose minimum is no worse than by L-BFGS-B", reached[some], starts.objective)
    ours = problem.solve(centre, weights).objective
    yield _parity("resamples whose minimum is no worse than by L-BFGS-B", ours, refits.objective)


def _parity(what: str, ours: Array, their: Array) -> Row:
    """Return how many of our objectives are no worse than theirs."""
    good = int(np.sum(ours <= their * (1 + PARITY)))
    return Row(what, f"{good} of {len(ours)}", "all", good < len(ours))


def command(table: LossTable, folder: Path) -> Row:
    """Time the command on a CSV of the points without bootstrap, with the start of its process."""
    path = folder / "points.csv"
    pd.DataFrame({"N": table.n, "D": table.d, "loss": table.loss}).to_csv(path, index=False)
    seconds, _ = _process(["-m", "analysis.fit", str(path), "--resamples", "0"])
    what = f"process: fit of a CSV of {len(table)} rows, no bootstrap"
    return Row(what, f"{seconds:.1f} s", f"≤ {PROCESS_GOAL:g} s", seconds > PROCESS_GOAL)


def envelope(folder: Path, seed: int, rows: int = CURVE_ROWS) -> Iterator[Row]:
    """Time the envelope of simulated training curves, and measure the peak memory of its process."""
    write_curves(SweepFolder(folder), rows, seed)
    seconds, output = _process(["-m", "analysis.bench", "--curves", str(folder)])
    memory = float(output.split()[-2])
    what = f"process: envelope of a curves.parquet of {rows} rows"
    yield Row(what, f"{seconds:.1f} s", f"≤ {ENVELOPE_GOAL:g} s", seconds > ENVELOPE_GOAL)
    yield Row("  its peak memory", f"{memory:.2f} GB", f"≤ {MEMORY_GOAL:g} GB", memory > MEMORY_GOAL)


def write_curves(folder: SweepFolder, rows: int, seed: int) -> None:
    """Write the tables of CURVES simulated runs with `rows` logged steps in all."""
    rng = np.random.default_rng(seed)
    n = np.geomspace(1e6, 1e10, CURVES)
    steps = rows // CURVES
    run = np.repeat(np.arange(CURVES), steps)
    d = np.geomspace(1e8, 1e12, steps)[np.tile(np.arange(steps), CURVES)]
    loss = find_law("chinchilla").value(np.array(SIMULATED), n[run], d)
    loss = loss * np.exp(NOISE * rng.standard_normal(len(run)))
    names = np.array([f"run{index:04d}" for index in range(CURVES)])
    curves = {"run_id": names[run], "n_tokens": d, "flops": 6 * n[run] * d, "train_loss": loss}
    frame = pd.DataFrame({**curves, "eval_loss": loss, "point_id": pd.array([None] * len(run), "string")})
    frame.to_parquet(folder.curves, index=False)
    points = {"run_id": names, "n_params": n, "role": "fit", "status": "done"}
    pd.DataFrame(points).to_parquet(folder.points, index=False)


def fit_curves(folder: SweepFolder) -> str:
    """Fit the envelope of the training curves of a sweep; return exponents and peak memory as text."""
    points, curves = read_table(folder.points), read_table(folder.curves)
    hull, bins = fit_envelope(curve_table(curves, points, "n_params"), source="training curves")
    unit = 1e9 if sys.platform == "darwin" else 1e6  # ru_maxrss is in bytes on macOS, in kilobytes on Linux
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return (
        f"hull a = {hull.estimates['a']:.3f}, bins a = {bins.estimates['a']:.3f}, peak memory {memory:.3f} GB"
    )


def _process(arguments: Sequence[str]) -> tuple[float, str]:
    """Run a Python process; return its wall-clock seconds and its output."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    return time.perf_counter() - began, done.stdout


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 whatever the times are, 2 when the input cannot be used."""
    parser = CommandParser(
        "analysis.bench",
        "Time the fits of this machine against goals, and against SciPy's L-BFGS-B.",
        "python -m analysis.bench",
    )
    parser.add_argument(
        "--seed", type=whole_number(0), default=0, help="of starts, resamples and simulated data"
    )
    parser.add_argument("--curves", type=Path, help="only fit the envelope of the sweep in this folder")
    return parser.answer(argv, _run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.curves is None:
        _print_all(arguments.seed)
        return
    try:
        print(fit_curves(SweepFolder(arguments.curves)))
    except FileNotFoundError as error:
        raise InputError(str(error)) from error


def _print_all(seed: int) -> None:
    table, source = points_240(seed)
    print(f"{len(table)} rows ({source}), {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        for rows in (batched(table, seed), [command(table, Path(name))], envelope(Path(name), seed)):
            for row in rows:
                print(row.text(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
