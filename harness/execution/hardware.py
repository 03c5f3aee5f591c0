"""Detection of the platform without initialising JAX.

The driver of a sweep must not open the devices: a TPU serves one process, and workers could not have it.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

JAX_PLATFORMS = "JAX_PLATFORMS"
PLATFORMS = {"cpu": "cpu", "cuda": "gpu", "gpu": "gpu", "rocm": "gpu", "tpu": "tpu"}
CUDA_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")


def platform_here(devices: Path = Path("/dev")) -> str:
    """Return the platform of this machine: `cpu`, `gpu` or `tpu`.

    The first entry of JAX_PLATFORMS decides. Without it, an accelerator counts if its device files exist
    under `devices` and JAX's plugin for it is installed.
    """
    asked = os.environ.get(JAX_PLATFORMS, "").split(",")[0]
    if asked:
        return PLATFORMS.get(asked, "cpu")
    return platform_found(devices)


def platform_found(devices: Path = Path("/dev")) -> str:
    """Return the platform of this machine, whatever JAX_PLATFORMS asks for."""
    if _installed("libtpu") and (any(devices.glob("accel[0-9]*")) or any(devices.glob("vfio/[0-9]*"))):
        return "tpu"
    if any(map(_installed, CUDA_PLUGINS)) and any(devices.glob("nvidia[0-9]*")):
        return "gpu"
    return "cpu"


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
