"""Placement of workers on this machine: a core, a GPU or TPU chip, or the whole machine for each."""

from __future__ import annotations

import importlib.metadata
import os
from dataclasses import dataclass, field
from pathlib import Path

from harness.execution.hardware import platform_here
from harness.execution.numerics import XLA_FLAGS
from harness.records.provenance import usable_cores

# Makes a step up to 8 % faster. XLA ends the process at a flag that it does not know, so only versions of
# jaxlib that were tried get it.
VECTOR_FLAG = "--xla_cpu_prefer_vector_width"
VECTOR_WIDTH = 512
COUNT_FLAG, THREAD_FLAG = "--xla_force_host_platform_device_count", "--xla_cpu_multi_thread_eigen"
# Flags that this module sets, which XLA is known to know.
OWN_FLAGS = (COUNT_FLAG, THREAD_FLAG)
VECTOR_JAXLIB = ("0.10.", "0.12.")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# Environment variable that limits a process to some devices, by the prefix of their files under /dev.
VISIBLE = {"nvidia": "CUDA_VISIBLE_DEVICES", "accel": "TPU_VISIBLE_CHIPS", "vfio/": "TPU_VISIBLE_CHIPS"}


@dataclass(frozen=True)
class Seat:
    """Place of one worker.

    Attributes:
        environment: variables that keep the worker on its core or device.
    """

    environment: dict[str, str] = field(default_factory=dict)


def seats(requested: int | None, n_devices: int) -> list[Seat]:
    """Return a seat for each worker.

    A worker has a core of its own on CPU, and a device of its own on an accelerator. A worker with a mesh of
    several devices has the whole machine.

    Args:
        requested: number of workers; None means one per core or device. More workers than places share them.
        n_devices: devices of each worker's mesh.
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
    """Return the seat of a single-threaded worker, pinned to `core` unless that is None.

    Runs of small models gain nothing from more threads, and threads of several workers would get in each
    other's way.
    """
    flags = " ".join([f"{THREAD_FLAG}=false", _vector_flag()]).strip()
    pinned = {} if core is None else {"HARNESS_CORE": str(core)}
    return Seat(ONE_THREAD | pinned | {XLA_FLAGS: flags})


def n_workers_here(requested: int | None, n_devices: int) -> int:
    """Return the number of workers on this machine; arguments as in `seats`."""
    return len(seats(requested, n_devices))


def worker_environment(seat: Seat, n_devices: int) -> dict[str, str]:
    """Return the environment of a worker at a seat, with `n_devices` virtual devices on CPU."""
    asked = os.environ.get(XLA_FLAGS, ""), f"{COUNT_FLAG}={n_devices}"
    flags = " ".join([*asked, seat.environment.get(XLA_FLAGS, "")]).strip()
    own = {"HARNESS_PARENT": str(os.getpid()), XLA_FLAGS: flags, "TF_CPP_MIN_LOG_LEVEL": "2"}
    return dict(os.environ) | seat.environment | own


def _vector_flag() -> str:
    """Return the XLA flag for the widest vectors; empty if the user sets it or XLA may not know it."""
    known = importlib.metadata.version("jaxlib").startswith(VECTOR_JAXLIB)
    chosen = VECTOR_FLAG in os.environ.get(XLA_FLAGS, "")
    return f"{VECTOR_FLAG}={VECTOR_WIDTH}" if known and not chosen else ""


def _devices(dev: Path = Path("/dev")) -> list[dict[str, str]]:
    """Return, for each GPU or TPU chip that this process may use, variables that limit a worker to it."""
    for prefix, variable in VISIBLE.items():
        found = [
            path
            for path in dev.glob(f"{prefix}*")
            if path.as_posix().removeprefix(f"{dev}/{prefix}").isdigit()
        ]
        if found:
            # In a container the files keep the host's numbers, but the variable counts from 0.
            allowed = os.environ.get(variable, ",".join(str(i) for i in range(len(found))))
            return [_alone(variable, name) for name in allowed.split(",") if name]
    return []


def _alone(variable: str, number: str) -> dict[str, str]:
    """Return the variables that limit a process to one device."""
    # Without the bounds a TPU process waits for the other chips of its host, which it cannot see.
    bounds = {"TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1", "TPU_PROCESS_BOUNDS": "1,1,1"}
    return {variable: number} | (bounds if variable.startswith("TPU") else {})
