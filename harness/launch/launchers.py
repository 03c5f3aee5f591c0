"""The one place that knows which launchers there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.execution import MeshConfig
from harness.grid import Cell
from harness.launch.interface import Launcher
from harness.launch.local import LocalLauncher
from harness.launch.seats import n_workers_here, seats
from harness.launch.worker import WorkerConfig
from harness.plan import check_memory
from harness.spec import Job

if TYPE_CHECKING:
    from harness.config import LauncherSettings


def n_workers(settings: LauncherSettings, mesh: MeshConfig) -> int:
    """How many runs are trained at the same time."""
    return n_workers_here(settings.n_workers, mesh.n_devices)


def check_launcher(settings: LauncherSettings, cells: list[Cell], mesh: MeshConfig) -> None:
    """Raise InputError where the launcher cannot train these cells."""
    check_memory(cells, n_workers(settings, mesh), mesh.n_batch_shards)


def make_launcher(settings: LauncherSettings, config: WorkerConfig, cost: Callable[[Job], float]) -> Launcher:
    """The launcher that launcher=NAME chose; `cost` of a job says what to start first."""
    mesh = MeshConfig(**config.mesh)
    return LocalLauncher(config, seats(settings.n_workers, mesh.n_devices), cost)
