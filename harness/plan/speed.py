"""Training speed of this machine, estimated from one second of matrix products."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

SECONDS = 1.0
PATIENCE_SECONDS = 60.0
# Share of one core's fp32 matmul rate (106 GFLOP/s) that a training step reached, by d_model. Measured at
# vocabulary 512, context 128 and batches of 512 tokens.
STEP_SHARE = {16: 0.30, 32: 0.40, 48: 0.47, 64: 0.50, 96: 0.53, 192: 0.60}
# Start of a worker in seconds: imports, corpus, compilation.
WORKER_START_SECONDS = 12.0

_PROBE = """
import sys, time, numpy
a = numpy.ones((512, 512), numpy.float32)
a @ a
end = time.perf_counter() + float(sys.argv[1]); n = 0; start = time.perf_counter()
while time.perf_counter() < end:
    a @ a; n += 1
print(2 * 512**3 * n / (time.perf_counter() - start))
"""


def matmul_rate(seconds: float = SECONDS) -> float | None:
    """Measure the FLOP/s of fp32 matrix products on one core, for about `seconds`.

    Returns:
        The rate; None if the process that measures was killed, or does not end. A sweep does without it.
    """
    # In a process of its own, because BLAS reads its number of threads only when it is loaded.
    environment = dict(os.environ, OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    command = [sys.executable, "-c", _PROBE, str(seconds)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment, timeout=PATIENCE_SECONDS
        )
        return float(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def step_rate(matmul: float, d_model: int) -> float:
    """Return the estimated FLOP/s of a training step on one core.

    Args:
        matmul: FLOP/s of fp32 matrix products on one core.
        d_model: width of the model; the share that a step reaches is interpolated in its logarithm.
    """
    widths = sorted(STEP_SHARE)
    shares = [STEP_SHARE[width] for width in widths]
    return matmul * float(np.interp(np.log(d_model), np.log(widths), shares))


def makespan(seconds: list[float], n_workers: int) -> float:
    """Return the wall-clock seconds of jobs that start longest first on `n_workers` workers."""
    ends = [0.0] * max(1, n_workers)
    for duration in sorted(seconds, reverse=True):
        ends[ends.index(min(ends))] += duration
    return max(ends)
