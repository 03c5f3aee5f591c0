"""Peak FLOP/s of devices, and the share of it that a run logs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.engine import peak
from harness.execution.devices import DEVICES
from harness.recipe import counting
from harness.recipe.spec import Job
from harness.records.paths import RunFolder
from harness.train import journal
from harness.train.loop import train_job
from tests import recipes

# Without the check of types, as the devices are stand-ins.
PEAK = getattr(peak.peak_flops, "__wrapped__", peak.peak_flops)


def mesh(platform: str, kind: str, count: int) -> Any:
    devices = [SimpleNamespace(platform=platform, device_kind=kind) for _ in range(count)]
    return SimpleNamespace(devices=np.array(devices, object).reshape(1, count))


def test_accelerators_have_the_peak_of_their_data_sheet() -> None:
    eight = mesh("gpu", "NVIDIA H100 80GB HBM3", 8)
    assert PEAK(eight, "bf16") == 8 * DEVICES["h100"].half
    assert PEAK(eight, "fp32") == 8 * DEVICES["h100"].single
    assert PEAK(mesh("gpu", "a device of next year", 1), "bf16") is None


def test_cpu_devices_share_the_cores_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "matmul_flops", lambda: 1e11)
    monkeypatch.setattr(peak, "usable_cores", lambda: {0, 1})
    assert [PEAK(mesh("cpu", "cpu", n), "fp32") for n in (1, 2, 8)] == [1e11, 2e11, 2e11]


def test_products_are_measured() -> None:
    assert 1e8 < peak.matmul_flops() < 1e14
    assert peak.matmul_flops() == peak.matmul_flops()


@pytest.mark.parametrize("after", [0.0, 1e9])
def test_a_run_logs_its_share_of_the_peak(
    after: float, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MFU_AFTER_SECONDS", after)
    monkeypatch.setattr("harness.train.loop.peak_flops", lambda *_: 1e12)
    spec = recipes.run_spec()
    folder = RunFolder(tmp_path)
    train_job(Job(spec, (8 * recipes.RASTER,)), folder, recipes.inputs())
    rows = pd.concat(pd.read_parquet(path) for path in folder.curves.glob("*.parquet"))
    if after:
        assert rows.mfu.isna().all()
        assert folder.read_state().mfu is None
    else:
        expected = counting.train_flops_token(spec.model) * rows.tokens_per_second / 1e12
        np.testing.assert_allclose(rows.mfu, expected)
        assert folder.read_state().mfu in set(rows.mfu)
