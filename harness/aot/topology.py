"""Topologies: descriptions of TPU slices and GPU nodes for which XLA compiles without the hardware.

TPU slices are described by libtpu (extra `tpu`), GPU nodes by JAX's CUDA plugin without NVIDIA's own
libraries (extra `gpu-aot`).
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from typing import Any

from harness.execution.devices import DEVICES
from harness.records.errors import InputError

TPU_KINDS = ("v4", "v5e", "v5p", "v6e")
KINDS = (*TPU_KINDS, "h100")
EXAMPLES = "v5e:4x4, v5p:2x2x2, v6e:2x4 or h100:8"
# Without these variables libtpu asks a metadata server for them, and waits.
TPU_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}
# XLA's description of an H100 SXM.
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84929347584 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 } registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 12 minor: 9 patch: 0 } device_description_str: "NVIDIA H100 80GB HBM3"
"""
# Autotuning and NVIDIA's libraries need the device itself.
GPU_FLAGS = "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false --xla_gpu_enable_cublaslt=false"


@dataclass(frozen=True)
class Topology:
    """A kind of device and how many there are: `v5e:4x4` or `h100:8`."""

    kind: str
    shape: str

    @classmethod
    def parse(cls, text: str) -> Topology:
        """Parse `kind:shape`; raise InputError for an unknown kind or a malformed shape."""
        kind, _, shape = text.partition(":")
        if kind not in KINDS or not all(part.isdigit() for part in shape.split("x")):
            raise InputError(
                f"topology={text} is not known; write kind:shape with a kind of "
                f"{', '.join(KINDS)}, for example {EXAMPLES}"
            )
        return cls(kind, shape)

    def __str__(self) -> str:
        return f"{self.kind}:{self.shape}"

    @property
    def platform(self) -> str:
        """`tpu` or `gpu`."""
        return "tpu" if self.kind in TPU_KINDS else "gpu"

    @property
    def device_bytes(self) -> int:
        """Memory of one device in bytes."""
        return DEVICES[self.kind].memory

    @property
    def _package(self) -> tuple[str, str]:
        return ("libtpu", "tpu") if self.kind in TPU_KINDS else ("jax_cuda12_plugin", "gpu-aot")

    def prepare(self) -> None:
        """Set the environment that JAX reads at import; raise InputError if the extra is not installed."""
        package, extra = self._package
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"topology={self} needs the extra {extra!r}, which is not installed; "
                f"type: uv sync --extra {extra}"
            )
        # Otherwise JAX would look for real devices, and for NVIDIA's libraries.
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        if self.kind in TPU_KINDS:
            for name, value in TPU_ENVIRONMENT.items():
                os.environ.setdefault(name, value)
        else:
            os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {GPU_FLAGS}".strip()

    def devices(self) -> list[Any]:
        """Return the descriptions of all devices; raise InputError for a shape that does not exist."""
        from jax.experimental import topologies

        try:
            if self.kind in TPU_KINDS:
                found = topologies.get_topology_desc(platform="tpu", topology_name=str(self))
            else:
                shape = f"1x1x{self.shape}"
                found = topologies.get_topology_desc(platform="cuda", target_config=H100, topology=shape)
        except Exception as error:
            reason = str(error).split("\n")[0]
            raise InputError(
                f"topology={self} cannot be described: {reason}; try one like {EXAMPLES}"
            ) from error
        return list(found.devices)
