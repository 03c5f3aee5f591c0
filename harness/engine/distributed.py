"""Several processes that train one run together: how they find each other and agree.

Every process runs the same program on its own devices of one mesh. The first one writes the files of the run;
what depends on a clock, a signal or the disk is decided once and told to all, since a collective that some
processes enter and others do not would wait for ever. With a single process nothing is sent.
"""

from __future__ import annotations

import os

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Sharding

from harness.records.errors import InputError

# What a launcher of several processes sets for each of them.
COORDINATOR, N_PROCESSES, PROCESS = "HARNESS_COORDINATOR", "HARNESS_PROCESSES", "HARNESS_PROCESS"


def initialize(coordinator: str, n_processes: int, process: int) -> None:
    """Join the processes of a run; `coordinator` is host:port of the first. Before any other use of JAX."""
    # CPU processes have no network of their own; other platforms ignore this.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would take SIGTERM for itself, by which a worker is asked to save and stop.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(coordinator, n_processes, process)


def initialize_from_environment() -> None:
    """Join the processes named by the environment; without HARNESS_COORDINATOR this process is alone."""
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
    """Whether this process trains by itself."""
    return jax.process_count() == 1


def is_first() -> bool:
    """Whether this process writes the files of the run."""
    return jax.process_index() == 0


def told_by_first(value: int) -> int:
    """The value that the first process has."""
    if is_alone():
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def true_anywhere(*flags: bool) -> tuple[bool, ...]:
    """For each flag, whether it is set in any process."""
    if is_alone():
        return flags
    everywhere = multihost_utils.process_allgather(np.array(flags, np.int32))
    return tuple(bool(column) for column in everywhere.any(axis=0))


def place(array: np.ndarray, sharding: Sharding) -> np.ndarray | jax.Array:
    """A host array that every process holds whole, as a jitted function with this sharding takes it."""
    if sharding.is_fully_addressable:
        return array
    return jax.make_array_from_callback(array.shape, sharding, lambda part: array[part])
