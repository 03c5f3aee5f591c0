"""What this machine computes on, found without opening it: a driver that holds a TPU keeps workers out."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

PLATFORMS = {"cpu": "cpu", "cuda": "gpu", "gpu": "gpu", "rocm": "gpu", "tpu": "tpu"}
CUDA_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")


def platform_here(devices: Path = Path("/dev")) -> str:
    """`cpu`, `gpu` or `tpu`: what JAX_PLATFORMS says, or else the devices that JAX has a plugin for."""
    asked = os.environ.get("JAX_PLATFORMS", "").split(",")[0]
    if asked:
        return PLATFORMS.get(asked, "cpu")
    if _installed("libtpu") and (any(devices.glob("accel[0-9]*")) or any(devices.glob("vfio/[0-9]*"))):
        return "tpu"
    if any(map(_installed, CUDA_PLUGINS)) and any(devices.glob("nvidia[0-9]*")):
        return "gpu"
    return "cpu"


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
