"""Where workers of this machine sit: one core each, one GPU or TPU chip each, or the machine as a whole."""

from __future__ import annotations

import importlib.metadata
import os
from dataclasses import dataclass, field
from pathlib import Path

from harness.execution.hardware import platform_here
from harness.records.provenance import usable_cores

# Speeds a step up by 0 to 8 %. A flag that XLA does not know ends the process: only versions that were tried
# get it.
VECTOR_FLAG = "--xla_cpu_prefer_vector_width"
VECTOR_WIDTH = 512
VECTOR_JAXLIB = ("0.10.", "0.12.")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# What names the devices of a process, by the prefix of their files under /dev.
VISIBLE = {"nvidia": "CUDA_VISIBLE_DEVICES", "accel": "TPU_VISIBLE_CHIPS", "vfio/": "TPU_VISIBLE_CHIPS"}


@dataclass(frozen=True)
class Seat:
    """One worker's place: the environment that keeps it there."""

    environment: dict[str, str] = field(default_factory=dict)


def seats(requested: int | None, n_devices: int) -> list[Seat]:
    """Places for `requested` workers whose mesh has `n_devices` devices; by default as many as there are.

    A worker has a core to itself on CPU, and a device to itself on an accelerator; one with a mesh of several
    devices has the machine.
    """
    if n_devices > 1:
        return [Seat()] * (requested or 1)
    if platform_here() != "cpu":
        found = [Seat(environment) for environment in _devices()] or [Seat()]
    else:
        found = [core_seat(core) for core in usable_cores()]
    if requested is None:
        return found
    return (found * (requested // len(found) + 1))[:requested]


def core_seat(core: int | None) -> Seat:
    """A single thread, pinned to a core where one is given."""
    flags = " ".join(["--xla_cpu_multi_thread_eigen=false", _vector_flag()]).strip()
    pinned = {} if core is None else {"HARNESS_CORE": str(core)}
    return Seat(ONE_THREAD | pinned | {"XLA_FLAGS": flags})


def n_workers_here(requested: int | None, n_devices: int) -> int:
    """Number of workers of this machine."""
    return len(seats(requested, n_devices))


def worker_environment(seat: Seat, n_devices: int) -> dict[str, str]:
    """Environment of a worker at a seat, with `n_devices` virtual devices on CPU."""
    asked = os.environ.get("XLA_FLAGS", ""), f"--xla_force_host_platform_device_count={n_devices}"
    flags = " ".join([*asked, seat.environment.get("XLA_FLAGS", "")]).strip()
    own = {"HARNESS_PARENT": str(os.getpid()), "XLA_FLAGS": flags, "TF_CPP_MIN_LOG_LEVEL": "2"}
    return dict(os.environ) | seat.environment | own


def _vector_flag() -> str:
    """Asks for the widest vectors that the processor has, unless the user has asked for others."""
    known = importlib.metadata.version("jaxlib").startswith(VECTOR_JAXLIB)
    chosen = VECTOR_FLAG in os.environ.get("XLA_FLAGS", "")
    return f"{VECTOR_FLAG}={VECTOR_WIDTH}" if known and not chosen else ""


def _devices(dev: Path = Path("/dev")) -> list[dict[str, str]]:
    """For every GPU or TPU chip that this process may use, the variable that shows it alone."""
    for prefix, variable in VISIBLE.items():
        found = [
            path
            for path in dev.glob(f"{prefix}*")
            if path.as_posix().removeprefix(f"{dev}/{prefix}").isdigit()
        ]
        if found:
            # In a container the files keep the host's numbers, the variable counts from 0.
            allowed = os.environ.get(variable, ",".join(str(i) for i in range(len(found))))
            return [_alone(variable, name) for name in allowed.split(",") if name]
    return []


def _alone(variable: str, number: str) -> dict[str, str]:
    # Without the bounds a TPU process waits for the chips of its host that it does not see.
    bounds = {"TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1", "TPU_PROCESS_BOUNDS": "1,1,1"}
    return {variable: number} | (bounds if variable.startswith("TPU") else {})
