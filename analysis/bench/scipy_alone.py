"""Baseline of the benchmark: the additive law by SciPy's L-BFGS-B, one start after another.

It runs with one BLAS thread, because more make sums over 240 rows several times slower. BLAS reads their
number only when it starts, so this is a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from analysis.arrays import Array
from analysis.solve.problem import Problem

TIGHT: Any = {"maxiter": 10_000, "maxfun": 50_000, "ftol": 1e-14, "gtol": 1e-8}
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Alone:
    """Result of SciPy.

    Attributes:
        objective: objectives under tight tolerances [starts].
        seconds_each: seconds a start under SciPy's default tolerances.
    """

    objective: Array
    seconds_each: float


def scipy_alone(problem: Problem, starts: Array, weights: Array) -> Alone:
    """Minimise the sum of the Huber loss of `problem` with SciPy.

    Args:
        problem: the fit.
        starts: starting points [starts, params].
        weights: weights of the rows for each start [starts, rows].
    """
    table = problem.table
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        delta = np.array(problem.delta)
        np.savez(path, n=table.n, d=table.d, loss=table.loss, delta=delta, starts=starts, weights=weights)
        command = [sys.executable, "-m", "analysis.bench.scipy_alone", str(path)]
        subprocess.run(command, env=os.environ | ONE_THREAD, check=True)
        with np.load(path) as found:
            return Alone(found["objective"], float(found["seconds"]) / len(starts))


def one_by_one(columns: Any, options: Any) -> tuple[Array, float]:
    """Return objectives [starts] and the seconds of all starts together.

    Coordinates are those of Hoffmann et al. 2022 (arXiv:2203.15556, section 3.3): logarithms of E, A, B.
    The objective is divided by δ², because the default tolerances stop far too early otherwise.

    Args:
        columns: n, d, loss [rows]; delta; starts [starts, params]; weights [starts, rows].
        options: options of SciPy's L-BFGS-B, such as its tolerances.
    """
    log_n, log_d, log_loss = (np.log(columns[name]) for name in ("n", "d", "loss"))
    delta = float(columns["delta"])

    def value_and_slope(x: Array, w: Array) -> tuple[float, Array]:
        e, a, b, alpha, beta = x
        parts = np.exp(np.stack([np.full_like(log_n, e), a - alpha * log_n, b - beta * log_d]))
        total = parts.sum(axis=0)
        residual = log_loss - np.log(total)
        inner = np.minimum(np.abs(residual), delta)
        pull = -w * np.clip(residual, -delta, delta) / delta**2
        share = parts / total * pull
        slope = np.array([*share.sum(axis=1), -share[1] @ log_n, -share[2] @ log_d])
        return float(w @ (inner * (np.abs(residual) - 0.5 * inner))) / delta**2, slope

    theta = columns["starts"]
    starts = np.column_stack([np.log(np.maximum(theta[:, :3], 1e-12)), theta[:, 3:]])
    began = time.perf_counter()
    found = [
        minimize(value_and_slope, start, args=(w,), jac=True, method="L-BFGS-B", options=options).fun
        for start, w in zip(starts, columns["weights"], strict=True)
    ]
    return delta**2 * np.array(found), time.perf_counter() - began


def main(path: Path) -> None:
    """Replace the problem in a file by minima under tight tolerances and seconds under default ones."""
    with np.load(path) as found:
        columns = dict(found)
    _, seconds = one_by_one(columns, {})
    np.savez(path, objective=one_by_one(columns, TIGHT)[0], seconds=np.array(seconds))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
