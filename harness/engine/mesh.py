"""The device mesh, and the sharding of every array of a training step.

Older code calls this `pjit`; today it is `jax.jit` with `NamedSharding`. The table of
harness/model/partition.py maps names of dimensions to mesh axes. A single device is a mesh of ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from harness.execution.execution import MeshConfig
from harness.model import partition
from harness.records.errors import InputError


def make_mesh(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """Return a mesh over the first `config.n_devices` devices.

    Args:
        config: Number of devices along each axis.
        devices: Devices to choose from, by default all of JAX's.

    Raises:
        InputError: If there are fewer devices.
    """
    if devices is None:
        devices = jax.devices()
    if config.n_devices > len(devices):
        raise InputError(
            f"{config} needs {config.n_devices} devices, this machine shows {len(devices)}; "
            f"lower an axis of the mesh"
        )
    shape = tuple(getattr(config, axis) for axis in partition.AXES)
    # Auto: XLA propagates shardings. JAX's default, Explicit, makes them part of every array's type.
    kinds = (AxisType.Auto,) * len(shape)
    chosen = devices[: config.n_devices]
    return jax.make_mesh(shape, partition.AXES, axis_types=kinds, devices=chosen)


def n_batch_shards(mesh: Mesh) -> int:
    """Return the number of shards of a batch."""
    return partition.n_shards(mesh, "batch")


def array_sharding(mesh: Mesh, shape: tuple[int, ...], axes: partition.Axes) -> NamedSharding:
    """Return the sharding of an array with these names of dimensions; see `partition.partition_spec`."""
    return NamedSharding(mesh, partition.partition_spec(mesh, shape, axes))


def batch_sharding(mesh: Mesh, batch_axis: int, n_axes: int) -> NamedSharding:
    """Return the sharding of a token array of `n_axes` axes, of which `batch_axis` counts sequences."""
    return NamedSharding(mesh, P(*(partition.BATCH if i == batch_axis else None for i in range(n_axes))))


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of an array that every device holds whole."""
    return NamedSharding(mesh, P())


def tree_shardings(mesh: Mesh, leaves: Any, axes: Any) -> Any:
    """Return the shardings of a tree of arrays (abstract ones too) from a tree of names of dimensions."""
    return jax.tree.map(lambda leaf, names: array_sharding(mesh, np.shape(leaf), names), leaves, axes)
