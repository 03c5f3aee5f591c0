"""The device mesh, and where each array of a training step lives on it.

`pjit` is today `jax.jit` with `NamedSharding`; this file is the one place that spells it. The rules that map
dimensions to axes are the table of harness/model/partition.py. A single device is a mesh of ones.
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
    """Mesh over the first `n_devices` devices; raises InputError when there are fewer."""
    if devices is None:
        devices = jax.devices()
    if config.n_devices > len(devices):
        raise InputError(
            f"{config} needs {config.n_devices} devices, this machine shows {len(devices)}; "
            f"lower an axis of the mesh"
        )
    shape = tuple(getattr(config, axis) for axis in partition.AXES)
    kinds = (AxisType.Auto,) * len(shape)
    chosen = devices[: config.n_devices]
    return jax.make_mesh(shape, partition.AXES, axis_types=kinds, devices=chosen)


def n_batch_shards(mesh: Mesh) -> int:
    """Parts into which a batch is cut."""
    return partition.n_shards(mesh, "batch")


def array_sharding(mesh: Mesh, shape: tuple[int, ...], axes: partition.Axes) -> NamedSharding:
    """Where an array lives whose dimensions have these names."""
    return NamedSharding(mesh, partition.partition_spec(mesh, shape, axes))


def batch_sharding(mesh: Mesh, batch_axis: int, n_axes: int) -> NamedSharding:
    """Sharding of a token array whose axis `batch_axis` counts sequences."""
    return NamedSharding(mesh, P(*(partition.BATCH if i == batch_axis else None for i in range(n_axes))))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P())


def tree_shardings(mesh: Mesh, leaves: Any, axes: Any) -> Any:
    """Shardings of a tree of (possibly abstract) arrays, by a tree of the names of their dimensions."""
    return jax.tree.map(lambda leaf, names: array_sharding(mesh, np.shape(leaf), names), leaves, axes)
