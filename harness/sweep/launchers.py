"""The one place that knows which launchers there are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from harness.execution.execution import Execution, MeshConfig, check_platform
from harness.execution.hardware import platform_here
from harness.grid.cells import Cell
from harness.grid.packs import Lanes, lanes_of
from harness.launch.interface import Launcher
from harness.launch.local.local import LocalLauncher
from harness.launch.local.places import n_workers_here, seats
from harness.launch.ray.cluster import check_ray, n_ray_workers
from harness.launch.ray.ray import RayLauncher
from harness.launch.slurm.slurm import MAX_PARALLEL, SlurmLauncher, check_slurm
from harness.launch.worker import WorkerConfig
from harness.plan.plan import check_memory
from harness.recipe.spec import Job
from harness.records.errors import InputError

if TYPE_CHECKING:
    from harness.config.settings import LauncherSettings


def n_workers(settings: LauncherSettings, mesh: MeshConfig) -> int:
    """How many runs are trained at the same time."""
    if settings.name == "slurm":
        return settings.n_workers or MAX_PARALLEL
    if settings.name == "ray":
        return n_ray_workers(settings)
    return n_workers_here(settings.n_workers, mesh.n_devices)


def lanes(settings: LauncherSettings, mesh: MeshConfig) -> Lanes:
    """How many runs of a model are trained side by side."""
    if settings.name == "slurm":
        accelerator = "gpu" in (settings.gres or "")
    elif settings.name == "ray":
        accelerator = settings.gpus > 0 or "TPU" in settings.resources
    else:
        accelerator = platform_here() != "cpu"
    one_accelerator = accelerator and mesh.n_devices == 1
    return partial(lanes_of, requested=settings.pack, accelerator=one_accelerator)


def check_launcher(settings: LauncherSettings, mesh: MeshConfig) -> None:
    """Raise InputError where the launcher cannot be used as these settings say."""
    if mesh.n_devices % settings.nodes:
        raise InputError(
            f"launcher.nodes={settings.nodes} cannot share the {mesh.n_devices} devices of the mesh evenly; "
            f"use mesh sizes whose product is a multiple of {settings.nodes}, such as "
            f"mesh.data={settings.nodes}"
        )
    if settings.name == "slurm":
        check_slurm(settings)
    if settings.name == "ray":
        check_ray(settings)


def check_here(settings: LauncherSettings, cells: list[Cell], mesh: MeshConfig, execution: Execution) -> None:
    """Raise InputError where workers on this machine have no room for the cells, or not what they ask for."""
    if settings.name == "local":
        check_platform((cell.spec for cell in cells), mesh, execution, platform_here())
        check_memory(cells, n_workers(settings, mesh), mesh.n_batch_shards, lanes(settings, mesh))


def make_launcher(settings: LauncherSettings, config: WorkerConfig, cost: Callable[[Job], float]) -> Launcher:
    """The launcher that launcher=NAME chose; `cost` of a job says what to start first."""
    if settings.name == "slurm":
        return SlurmLauncher(settings, config, cost)
    if settings.name == "ray":
        return RayLauncher(settings, config, cost)
    mesh = MeshConfig(**config.mesh)
    return LocalLauncher(config, seats(settings.n_workers, mesh.n_devices), cost)
