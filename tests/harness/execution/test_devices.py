"""The table of devices, and how their names and numbers are typed."""

from __future__ import annotations

import pytest

from harness.aot.topology import KINDS, Topology
from harness.execution.devices import DEVICES, GIB, KNOWN, Devices, found_device
from harness.records.errors import InputError


@pytest.mark.parametrize(
    ("text", "name", "count", "said"),
    [
        ("h100:8", "h100", 8, "8 × h100"),
        ("A100-80GB:16", "a100-80gb", 16, "16 × a100-80gb"),
        (" v5e:4x4", "v5e", 16, "16 × v5e"),
        ("v5p:2x2x2", "v5p", 8, "8 × v5p"),
        ("l4", "l4", 1, "1 × l4"),
        ("cpu", "cpu", 1, "1 CPU core"),
        ("cpu:4", "cpu", 4, "4 CPU cores"),
    ],
)
def test_a_kind_and_a_number_are_read(text: str, name: str, count: int, said: str) -> None:
    found = Devices.parse(text)
    assert (found, str(found)) == (Devices(name, count), said)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("h10:8", ["plan.device=h10:8 is not known", *KNOWN, "h100:8", "did you mean h100?"]),
        ("tpu", ["plan.device=tpu is not known", "v5e:16"]),
        ("", ["plan.device= is not known"]),
        ("h100:", ["a number of devices was expected behind the colon", "h100:8"]),
        ("h100:eight", ["a number of devices was expected"]),
        ("h100:0", ["a number of devices was expected"]),
        ("h100:-8", ["a number of devices was expected"]),
        ("h100:4x", ["a number of devices was expected"]),
        ("h100:99999999x99999999", ["a number of devices was expected"]),
    ],
)
def test_what_is_no_device_is_one_sentence(text: str, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        Devices.parse(text)
    assert [word for word in words if word not in str(error.value)] == []
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA B200", "b200"),
        ("NVIDIA A100-SXM4-40GB", "a100"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA A100 80GB PCIe", "a100-80gb"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA L40", None),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("TPU v4", "v4"),
        ("TPU v5 lite", "v5e"),
        ("TPU v5", "v5p"),
        ("TPU v5p", "v5p"),
        ("TPU v6 lite", "v6e"),
        ("cpu", None),
    ],
)
def test_a_device_is_recognised_by_the_name_that_jax_gives_it(kind: str, name: str | None) -> None:
    assert found_device(kind) == name


def test_no_peak_is_that_of_sparse_products() -> None:
    """The sheets of NVIDIA print twice the figures of dense products in bf16 and TF32."""
    dense = {"h100": (989.4, 494.7), "a100": (312, 156), "l4": (121, 60), "v5e": (197, 197)}
    for name, (half, single) in dense.items():
        device = DEVICES[name]
        assert [device.peak(each) / 1e12 for each in ("bf16", "fp16", "fp32")] == [half, half, single]
    assert [DEVICES["h100"].product_type(each) for each in ("bf16", "fp32")] == ["bf16", "TF32"]
    assert DEVICES["v5e"].product_type("fp32") == "bf16"


def test_the_table_is_sane() -> None:
    """A slip of a power of ten would plan a thousandth of the time."""
    for name, device in DEVICES.items():
        assert device.platform == ("tpu" if name.startswith("v") else "gpu")
        assert 16 * GIB <= device.memory <= 256 * GIB
        assert 1e14 < device.half < 3e15
        assert device.half / 2.1 < device.single <= device.half
        assert 50 < device.half / device.bandwidth < 600, "FLOPs a byte"
        assert 2 < device.bandwidth / device.link < 35


def test_compiling_ahead_of_time_knows_the_same_devices() -> None:
    assert [Topology(kind, "8").device_bytes for kind in KINDS] == [DEVICES[kind].memory for kind in KINDS]
    assert [Topology(kind, "8").platform for kind in KINDS] == [DEVICES[kind].platform for kind in KINDS]
