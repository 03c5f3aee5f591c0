"""The device mesh, and where each array of a training step lives on it.

`pjit` is today `jax.jit` with `NamedSharding`; this file is the one place that spells it. Axes: `data` splits
the batch, `fsdp` splits the batch and also parameters, gradients and optimiser state. A single device is a
1×1 mesh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from harness.records import InputError

BATCH_AXES = ("data", "fsdp")


@dataclass(frozen=True)
class MeshConfig:
    """Number of devices along each axis."""

    data: int = 1
    fsdp: int = 1

    @property
    def n_devices(self) -> int:
        return self.data * self.fsdp


def make_mesh(config: MeshConfig) -> Mesh:
    """Mesh over the first `n_devices` devices; raises InputError when there are fewer."""
    available = jax.device_count()
    if config.n_devices > available:
        raise InputError(
            f"mesh.data={config.data} × mesh.fsdp={config.fsdp} needs {config.n_devices} devices, "
            f"this machine shows {available}; lower mesh.data or mesh.fsdp"
        )
    devices = jax.devices()[: config.n_devices]
    shape = (config.data, config.fsdp)
    return jax.make_mesh(shape, BATCH_AXES, axis_types=(AxisType.Auto,) * 2, devices=devices)


def parameter_sharding(mesh: Mesh, shape: tuple[int, ...]) -> NamedSharding:
    """Split the largest axis that `fsdp` divides; small or odd arrays are replicated."""
    size = mesh.shape["fsdp"]
    divisible = [axis for axis, length in enumerate(shape) if length % size == 0 and length >= size]
    if size == 1 or not divisible:
        return NamedSharding(mesh, P())
    axis = max(divisible, key=lambda candidate: shape[candidate])
    return NamedSharding(mesh, P(*("fsdp" if i == axis else None for i in range(len(shape)))))


def state_shardings(mesh: Mesh, state: Any) -> Any:
    """Sharding of every leaf of a (possibly abstract) training state."""
    return jax.tree.map(lambda leaf: parameter_sharding(mesh, np.shape(leaf)), state)


def batch_sharding(mesh: Mesh, batch_axis: int, n_axes: int) -> NamedSharding:
    """Sharding of a token array whose axis `batch_axis` counts sequences."""
    return NamedSharding(mesh, P(*(BATCH_AXES if i == batch_axis else None for i in range(n_axes))))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P())
