"""What the plan for other devices says, sentence by sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.execution.devices import DEVICES, Devices
from harness.execution.execution import Execution, MeshConfig
from harness.grid.packs import one_lane
from harness.plan.estimate import Estimate, RungEstimate
from harness.plan.machine import Machine
from harness.plan.machine_table import basis_lines, fit_lines, idle_lines, time_words
from tests.small_sweeps import small_cells

SPECS = [cell.spec for cell in small_cells("grid.rungs=[16,32]", "grid.n_tokens=[4096]")]
THERE = Machine(Devices("h100", 8), MeshConfig(), Execution(), 8, one_lane)


@pytest.mark.parametrize(
    ("measured", "said", "not_said"),
    [
        ({}, "the speed is assumed, not measured: a step multiplies matrices at 50 % of the 495", "logged"),
        ({"d16": 0.1}, "d16 is what its runs here logged on such devices; that of d32 is assumed", "d16,"),
        ({"d16": 0.1, "d32": 0.2}, "the speed of d16, d32 is what its runs here logged", "assumed"),
    ],
)  # fmt: skip
def test_the_origin_of_the_speed_is_said(measured: dict[str, float], said: str, not_said: str) -> None:
    text = " ".join(basis_lines(replace(THERE, measured=measured), SPECS))
    assert said in text
    assert not_said not in text


def test_a_mesh_waits_for_other_devices_and_one_device_does_not() -> None:
    assert "for other devices (450 GB/s)" in basis_lines(replace(THERE, mesh=MeshConfig(data=8)), SPECS)[1]
    assert "for other devices" not in basis_lines(THERE, SPECS)[1]


def test_memory_is_named_with_the_share_that_jax_takes() -> None:
    assert (
        "against 60 GiB, the 75 % of one h100 that JAX takes; XLA_CLIENT_MEM_FRACTION=0.95 takes more"
        in (basis_lines(THERE, SPECS)[0])
    )
    assert basis_lines(replace(THERE, share=0.9), SPECS)[0].endswith(
        "72 GiB, the 90 % of one h100 that JAX takes"
    )
    assert "against 16 GiB of a device" in basis_lines(replace(THERE, devices=Devices("v5e", 8)), SPECS)[0]


@pytest.mark.parametrize(
    ("filled", "said"), [(0.5, None), (0.9, "fits only just: 54 of 60 GiB"), (1.1, "does not fit: 66 GiB")]
)
def test_a_rung_is_named_if_it_does_not_fit_or_only_just(filled: float, said: str | None) -> None:
    rung = RungEstimate(SPECS[0], 1, 1, filled * 0.75 * DEVICES["h100"].memory, 1.0)
    lines = fit_lines(Estimate([rung], 1.0), THERE)
    assert len(lines) == (said is not None)
    assert all(str(said) in line for line in lines)


def test_devices_without_a_run_are_counted() -> None:
    assert idle_lines(THERE) == []
    (line,) = idle_lines(replace(THERE, at_once=3))
    assert line.startswith("5 of 8 × h100 stay idle, because 3 run(s) at a time use 1 each")


def test_all_devices_are_paid_until_the_end() -> None:
    assert time_words(5400, THERE) == "about 1 h 30 min on 8 × h100, 12 device-hours"
    priced = replace(THERE, price_per_hour=2.5)
    assert time_words(5400, priced) == "about 1 h 30 min on 8 × h100, 12 device-hours, cost 30.00"
    assert (
        time_words(float("nan"), THERE) == "for a time unknown on 8 × h100, as this machine was not measured"
    )
