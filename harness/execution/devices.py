"""Accelerators by name, as their vendors' data sheets describe them, for plans that are made elsewhere.

Peaks are those of dense matrix products, which NVIDIA's sheets print doubled, for sparse ones. A product of
fp32 numbers is rounded on its way by JAX's defaults: to TF32 on a GPU, to bf16 on a TPU.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from harness.records.errors import InputError, near

GIB, MIB = 2**30, 2**20
CPU_DEVICE = "cpu"
EXAMPLES = "h100:8, v5e:16 or cpu:2"
MOST = 2**24


@dataclass(frozen=True)
class Accelerator:
    """One GPU or TPU chip.

    Attributes:
        platform: `gpu` or `tpu`.
        memory: Bytes.
        bandwidth: Bytes a second between memory and chip.
        link: Bytes a second to other devices of the same machine or slice, in one direction.
        half: Peak FLOP/s of products in bf16 or fp16.
        single: Peak FLOP/s of products of fp32 numbers, as JAX computes them.
        kind: Pattern of the name that JAX gives to the device.
    """

    platform: str
    memory: int
    bandwidth: float
    link: float
    half: float
    single: float
    kind: str

    def peak(self, precision: str) -> float:
        """Return the peak FLOP/s of a model whose `model.precision` is `fp32`, `bf16` or `fp16`."""
        return self.single if precision == "fp32" else self.half

    def product_type(self, precision: str) -> str:
        """Return the number type in which products are computed."""
        rounded = "TF32" if self.platform == "gpu" else "bf16"
        return rounded if precision == "fp32" else precision


def _gpu(memory: int, bandwidth: float, link: float, half: float, single: float, kind: str) -> Accelerator:
    """Return a GPU; `link` is NVLink or PCI Express, peaks are in TFLOP/s."""
    return Accelerator("gpu", memory, bandwidth, link, half * 1e12, single * 1e12, kind)


def _tpu(memory: int, bandwidth: float, link: float, half: float, kind: str) -> Accelerator:
    """Return a TPU chip; `link` is half the bandwidth between chips, which counts both directions."""
    return Accelerator("tpu", memory, bandwidth, link, half * 1e12, half * 1e12, kind)


DEVICES = {
    # NVIDIA H100 Tensor Core GPU Datasheet, columns H100 SXM and H100 PCIe.
    "h100": _gpu(80 * GIB, 3.35e12, 450e9, 989.4, 494.7, "H100 80GB HBM3"),
    "h100-pcie": _gpu(80 * GIB, 2.0e12, 64e9, 756, 378, "H100 PCIe"),
    # NVIDIA H200 Tensor Core GPU Datasheet, column H200 SXM.
    "h200": _gpu(141 * GIB, 4.8e12, 450e9, 989.4, 494.7, r"\bH200"),
    # NVIDIA HGX B200 and DGX B200 Datasheets: an eighth of the figures of eight GPUs.
    "b200": _gpu(180 * GIB, 7.7e12, 900e9, 2250, 1125, r"\bB200"),
    # NVIDIA A100 Tensor Core GPU Datasheet, columns A100 40GB and A100 80GB SXM.
    "a100": _gpu(40 * GIB, 1.555e12, 300e9, 312, 156, "A100-.*40GB"),
    "a100-80gb": _gpu(80 * GIB, 2.039e12, 300e9, 312, 156, "A100.*80GB"),
    # NVIDIA L4 and L40S Datasheets. Memory is what is left of 24 and 48 GB by error correction.
    "l4": _gpu(23_034 * MIB, 0.3e12, 32e9, 121, 60, r"\bL4$"),
    "l40s": _gpu(46_068 * MIB, 0.864e12, 32e9, 362, 183, "L40S"),
    # NVIDIA Ada GPU Architecture whitepaper, appendix A, with sums in fp32.
    "rtx4090": _gpu(24 * GIB, 1.008e12, 32e9, 165.2, 82.6, "RTX 4090$"),
    # Google Cloud documentation, pages TPU v4, v5e, v5p and v6e.
    "v4": _tpu(32 * GIB, 1.2e12, 150e9, 275, "TPU v4$"),
    "v5e": _tpu(16 * GIB, 0.8e12, 100e9, 197, "TPU v5 ?(lite|e)"),
    "v5p": _tpu(95 * GIB, 2.765e12, 300e9, 459, "TPU v5p?$"),
    "v6e": _tpu(32 * GIB, 1.6e12, 200e9, 918, "TPU v6 ?(lite|e)"),
}
KNOWN = (*DEVICES, CPU_DEVICE)


@dataclass(frozen=True)
class Devices:
    """Devices of one kind, such as `h100:8`.

    Attributes:
        name: A key of DEVICES, or `cpu`: a core like those of this machine.
        count: How many there are, on all machines together.
    """

    name: str
    count: int

    @classmethod
    def parse(cls, text: str) -> Devices:
        """Parse KIND, KIND:NUMBER or KIND:ROWSxCOLUMNS, as TPU slices are named.

        Raises:
            InputError: If the kind is not known, or the number is none.

        >>> Devices.parse("h100:8"), Devices.parse("v5e:4x4").count, Devices.parse("L4").count
        (Devices(name='h100', count=8), 16, 1)
        """
        name, colon, number = text.strip().lower().partition(":")
        if name not in KNOWN:
            raise InputError(
                f"plan.device={text} is not known; type one of {', '.join(KNOWN)}, with its number "
                f"behind a colon as in {EXAMPLES}{near(name, KNOWN)}"
            )
        sizes = re.fullmatch(r"[0-9]{1,8}(x[0-9]{1,8}){0,3}", number) if colon else None
        count = math.prod(map(int, number.split("x"))) if sizes else 0 if colon else 1
        if not 0 < count < MOST:
            raise InputError(
                f"plan.device={text} was given and a number of devices was expected behind the colon; type "
                f"for example {EXAMPLES}"
            )
        return cls(name, count)

    @property
    def accelerator(self) -> Accelerator | None:
        """Data sheet of one device; None for CPU cores."""
        return DEVICES.get(self.name)

    @property
    def platform(self) -> str:
        """`gpu`, `tpu` or `cpu`."""
        return CPU_DEVICE if self.accelerator is None else self.accelerator.platform

    def __str__(self) -> str:
        noun = f"CPU core{'' if self.count == 1 else 's'}" if self.accelerator is None else self.name
        return f"{self.count} {noun}" if self.accelerator is None else f"{self.count} × {noun}"


def found_device(kind: str) -> str | None:
    """Return the name of the device that JAX calls `kind`; None if the table lacks it.

    >>> found_device("NVIDIA H100 80GB HBM3"), found_device("TPU v5 lite"), found_device("cpu")
    ('h100', 'v5e', None)
    """
    return next((name for name, device in DEVICES.items() if re.search(device.kind, kind)), None)
