"""FLOP/s that the devices of a mesh could reach, against which the speed of training is held."""

from __future__ import annotations

import time
from functools import cache

import jax
import jax.numpy as jnp

from harness.execution.devices import DEVICES, found_device
from harness.records.provenance import usable_cores

SIDE = 512  # of the matrices that are multiplied
SECONDS = 0.2


def peak_flops(mesh: jax.sharding.Mesh, precision: str) -> float | None:
    """Return the peak FLOP/s of all devices of a mesh.

    GPUs and TPUs have that of their data sheet. CPU devices have the speed at which matrices are multiplied
    here, which is measured once; several share the cores of the machine.

    Args:
        mesh: the devices.
        precision: `fp32`, `bf16` or `fp16`, of the model.

    Returns:
        The FLOP/s; None for a device whose data sheet is not known.
    """
    device = mesh.devices.flat[0]
    if device.platform == "cpu":
        return matmul_flops() * min(mesh.devices.size, len(usable_cores()))
    name = found_device(device.device_kind)
    return None if name is None else DEVICES[name].peak(precision) * mesh.devices.size


@cache
def matmul_flops() -> float:
    """Measure the FLOP/s of fp32 matrix products on one CPU device: the best of several."""
    product = jax.jit(jnp.matmul)
    square = jnp.ones((SIDE, SIDE), jnp.float32)
    product(square, square).block_until_ready()
    best, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        began = time.perf_counter()
        product(square, square).block_until_ready()
        best = min(best, time.perf_counter() - began)
    return 2 * SIDE**3 / best
