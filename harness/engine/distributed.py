"""Multi-process training: several processes train one run on one mesh.

Every process runs the same program on its own devices, and the first one writes the files of the run.
A collective that only some processes enter waits for ever. So decisions that depend on a clock, a signal or
the disk are made once and broadcast. A single process communicates nothing.
"""

from __future__ import annotations

import os

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Sharding

from harness.records.errors import InputError

# Environment variables that a launcher sets for each process.
COORDINATOR, N_PROCESSES, PROCESS = "HARNESS_COORDINATOR", "HARNESS_PROCESSES", "HARNESS_PROCESS"


def initialize(coordinator: str, n_processes: int, process: int) -> None:
    """Connect to the other processes of a run; must come before any other use of JAX.

    Args:
        coordinator: host:port of the first process.
        n_processes: Number of processes.
        process: Index of this process, from 0.
    """
    # Collectives between CPU processes need a network library; other platforms ignore this setting.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # The service would catch SIGTERM, which asks a worker to save a checkpoint and stop.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(coordinator, n_processes, process)


def initialize_from_environment() -> None:
    """Connect to the processes named by the environment; without HARNESS_COORDINATOR do nothing.

    Raises:
        InputError: If HARNESS_PROCESSES or HARNESS_PROCESS is missing or no whole number.
    """
    coordinator = os.environ.get(COORDINATOR)
    if not coordinator:
        return
    try:
        n_processes, process = int(os.environ[N_PROCESSES]), int(os.environ[PROCESS])
    except (KeyError, ValueError):
        raise InputError(
            f"{COORDINATOR}={coordinator} needs whole numbers in {N_PROCESSES} and {PROCESS}, got "
            f"{os.environ.get(N_PROCESSES)} and {os.environ.get(PROCESS)}; set both, for example 2 and 0"
        ) from None
    initialize(coordinator, n_processes, process)


def is_alone() -> bool:
    """Return whether this is the only process of the run."""
    return jax.process_count() == 1


def is_first() -> bool:
    """Return whether this is the first process, which writes the files of the run."""
    return jax.process_index() == 0


def told_by_first(value: int) -> int:
    """Broadcast the first process's value, an int32, to all processes and return it."""
    if is_alone():
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def true_anywhere(*flags: bool) -> tuple[bool, ...]:
    """Return for each flag whether it is set in any process."""
    if is_alone():
        return flags
    everywhere = multihost_utils.process_allgather(np.array(flags, np.int32))
    return tuple(bool(column) for column in everywhere.any(axis=0))


def fetched(array: jax.Array) -> np.ndarray:
    """Return a whole array on the host, wherever its shards lie; all processes must call it together."""
    if array.is_fully_addressable:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def place(array: np.ndarray, sharding: Sharding) -> np.ndarray | jax.Array:
    """Return a host array, which every process holds whole, in a form that a jitted function accepts.

    Args:
        array: The host array, equal in every process.
        sharding: The function's input sharding.
    """
    # With several processes, jit accepts no host array: each process must offer the shards of its devices.
    if sharding.is_fully_addressable:
        return array
    return jax.make_array_from_callback(array.shape, sharding, lambda part: array[part])
