"""Benchmark process of one rung: reads a RungJob from standard input and prints its figures as JSON.

On CPU the process is pinned and single-threaded like a worker of a sweep. Contestants take turns, in the
opposite order every other turn, so that a slow moment of the machine falls on all of them. Ratios are taken
within a turn.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.execution.devices import DEVICES, found_device
from harness.recipe import counting
from harness.recipe.spec import RunSpec
from harness.records.errors import InputError

COMPILES = 3  # at most
STEP, MATMUL = "step", "matmul"
TEXTBOOK, TORCH = "textbook", "torch"


@dataclass(frozen=True)
class RungJob:
    """Work of one benchmark process.

    Attributes:
        spec: Recipe of the rung.
        seconds: Seconds per measurement.
        repeats: Measurements per contestant.
        compare: Decoders to compare with: `textbook`, `torch`.
        torch_python: Python interpreter that has PyTorch.
    """

    spec: RunSpec
    seconds: float
    repeats: int
    compare: tuple[str, ...]
    torch_python: str

    def to_line(self) -> str:
        """Return the job as one line of JSON."""
        return json.dumps(asdict(self) | {"spec": self.spec.to_dict()})

    @classmethod
    def from_line(cls, line: str) -> RungJob:
        """Return the job that `to_line` wrote."""
        values = json.loads(line)
        values |= {"spec": RunSpec.from_dict(values["spec"]), "compare": tuple(values["compare"])}
        return cls(**values)


def spread(values: Any) -> dict[str, float]:
    """Return median, minimum and maximum of repeated measurements."""
    return {"median": float(np.median(values)), "min": float(np.min(values)), "max": float(np.max(values))}


def take_turns(contestants: dict[str, Any], seconds: float, repeats: int) -> dict[str, np.ndarray]:
    """Return the rates of every contestant, one per turn."""
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(repeats):
        names = list(contestants)
        for name in names if turn % 2 == 0 else reversed(names):
            rates[name].append(contestants[name].rate(seconds))
    return {name: np.array(values) for name, values in rates.items()}


def peak_bytes() -> int:
    """Return the peak memory in bytes: of the accelerator, or of this process on CPU."""
    import jax

    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return int(stats["peak_bytes_in_use"])
    status = Path("/proc/self/status")
    if status.exists():
        # VmHWM and not getrusage, which counts the memory of the process before it executed Python.
        found = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(found[0].split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def figures(spec: RunSpec, rates: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the speed of the step, its share of the matmul peak, and its ratios to the others."""
    flops_per_token = counting.train_flops_token(spec.model)
    step, matmul = rates[STEP], rates[MATMUL]
    others = {name: values for name, values in rates.items() if name not in (STEP, MATMUL)}
    return {
        "flops_per_token": flops_per_token,
        "tokens_per_second": spread(step),
        "flops_per_second": spread(step * flops_per_token),
        "matmul_flops_per_second": spread(matmul),
        "share_of_peak": spread(step * flops_per_token / matmul),
        "compare": {
            name: {"tokens_per_second": spread(values), "ratio": spread(step / values)}
            for name, values in others.items()
        },
    }


def data_sheet_share(spec: RunSpec, steps: np.ndarray, kind: str) -> dict[str, Any] | None:
    """Return the share of the data sheet's peak that the step reached (MFU); None for other devices.

    Args:
        spec: Recipe of the rung.
        steps: Tokens a second of the step, one entry per turn.
        kind: Name that JAX gives to the device.
    """
    name = found_device(kind)
    if name is None:
        return None
    peak = DEVICES[name].peak(spec.model.precision)
    shares = steps * counting.train_flops_token(spec.model) / peak
    return {"device": name, "peak": peak, "mfu": spread(shares)}


def measure(job: RungJob) -> dict[str, Any]:
    """Time one rung on the devices of this process and return its figures."""
    import jax

    from harness.bench import contestants as ways

    spec, torch = job.spec, None
    if TORCH in job.compare and jax.default_backend() not in ("cpu", "gpu"):
        raise InputError(
            f"--compare torch was expected on CPU or GPU, this is {jax.default_backend()}; leave it out here"
        )
    # Memory is read before PyTorch or the textbook step add theirs.
    step = ways.SweepStep(spec)
    memory, compiles = peak_bytes(), [step.compile_seconds]
    for _ in range(min(COMPILES, job.repeats) - 1):
        jax.clear_caches()
        step = ways.SweepStep(spec)
        compiles.append(step.compile_seconds)
    matmul = ways.Matmul()
    contestants: dict[str, ways.Contestant] = {STEP: step, MATMUL: matmul}
    if TEXTBOOK in job.compare:
        contestants[TEXTBOOK] = ways.TextbookStep(spec)
    if TORCH in job.compare:
        torch = ways.TorchProcess(job.torch_python, spec)
        contestants |= {f"{TORCH} {name}": ways.TorchVariant(torch, name) for name in torch.variants}
    rates = take_turns(contestants, job.seconds, job.repeats)
    if torch is not None:
        torch.close()
    return {
        "rung": spec.rung,
        "d_model": spec.model.d_model,
        "n_layers": spec.model.n_layers,
        "n_params": counting.n_params(spec.model),
        "n_params_matmul": counting.n_params_matmul(spec.model),
        "batch_tokens": spec.batch_tokens,
        "micro_batch_tokens": step.engine.micro_batch * spec.model.seq_len,
        "device": jax.devices()[0].device_kind,
        "platform": jax.default_backend(),
        "matmul_width": matmul.width,
        **figures(spec, rates),
        "data_sheet": data_sheet_share(spec, rates[STEP], jax.devices()[0].device_kind),
        "compile_seconds": spread(compiles),
        "peak_bytes": memory,
        "torch": {"version": torch.version, "failed": torch.failed} if torch else None,
    }


def main() -> int:
    """Pin this process, time the rung and print its figures; return the exit code."""
    core = os.environ.get("HARNESS_CORE")
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core)})
    import jax

    # Compile seconds would otherwise measure the cache.
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        print(json.dumps(measure(RungJob.from_line(sys.stdin.read()))))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
