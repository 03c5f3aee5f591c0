"""Places for workers: a core or a device each."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.launch.local import places as module
from harness.launch.local.places import Seat, n_workers_here, seats, worker_environment
from harness.records.provenance import usable_cores


@pytest.fixture
def accelerators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a plugin of JAX whose device files lie in the folder."""
    monkeypatch.setattr(module, "platform_here", lambda: "gpu")
    find = module._devices
    monkeypatch.setattr(module, "_devices", lambda: find(tmp_path))
    return tmp_path


def test_a_worker_for_every_core(monkeypatch: pytest.MonkeyPatch) -> None:
    found = seats(None, 1)
    assert [seat.environment["HARNESS_CORE"] for seat in found] == [str(core) for core in usable_cores()]
    assert len(seats(5, 1)) == n_workers_here(5, 1) == 5
    assert seats(None, 4) == [Seat()]
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(module, "_devices", lambda: [])
    assert seats(None, 1) == [Seat()]


@pytest.mark.parametrize(
    ("files", "variable"),
    [
        (["nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm"], "CUDA_VISIBLE_DEVICES"),
        (["accel0", "accel1"], "TPU_VISIBLE_CHIPS"),
        (["vfio/0", "vfio/1", "vfio/vfio"], "TPU_VISIBLE_CHIPS"),
    ],
)
def test_a_worker_for_every_device(accelerators: Path, files: list[str], variable: str) -> None:
    for name in files:
        (accelerators / name).parent.mkdir(exist_ok=True)
        (accelerators / name).touch()
    assert [seat.environment[variable] for seat in seats(None, 1)] == ["0", "1"]
    assert [seat.environment[variable] for seat in seats(3, 1)] == ["0", "1", "0"]
    assert seats(None, 2) == [Seat()], "a mesh has the machine"
    assert "XLA_FLAGS" in worker_environment(seats(None, 1)[1], 1)


def test_devices_that_the_user_has_chosen_are_kept_to(
    accelerators: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        (accelerators / f"nvidia{number}").touch()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert [seat.environment["CUDA_VISIBLE_DEVICES"] for seat in seats(None, 1)] == ["2", "3"]
