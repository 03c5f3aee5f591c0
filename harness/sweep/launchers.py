"""Choice of the launcher: the only module that knows all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from harness.execution.execution import Execution, MeshConfig, check_platform
from harness.execution.hardware import platform_here
from harness.grid.cells import Cell
from harness.grid.packs import Lanes, lanes_of
from harness.launch.interface import Launcher
from harness.launch.local.environment import check_environment
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
    """Return the number of packs that train at the same time."""
    if settings.name == "slurm":
        return settings.n_workers or MAX_PARALLEL
    if settings.name == "ray":
        return n_ray_workers(settings)
    return n_workers_here(settings.n_workers, mesh.n_devices)


def launcher_platform(settings: LauncherSettings) -> str:
    """Return the platform of the workers as far as the driver can tell: `cpu`, `gpu` or `tpu`."""
    # The driver of a cluster cannot see the devices of the workers, so the requested resources decide.
    if settings.name == "slurm":
        return "gpu" if "gpu" in (settings.gres or "") else "cpu"
    if settings.name == "ray":
        return "tpu" if "TPU" in settings.resources else "gpu" if settings.gpus > 0 else "cpu"
    return platform_here()


def lanes(settings: LauncherSettings, mesh: MeshConfig) -> Lanes:
    """Return the function from a model to the largest number of its runs in one pack."""
    one_accelerator = launcher_platform(settings) != "cpu" and mesh.n_devices == 1
    return partial(lanes_of, requested=settings.pack, accelerator=one_accelerator)


def check_launcher(settings: LauncherSettings, mesh: MeshConfig) -> None:
    """Raise InputError if the launcher is unavailable, or does not fit the mesh, machine or cluster."""
    if mesh.n_devices % settings.nodes:
        raise InputError(
            f"launcher.nodes={settings.nodes} cannot share the {mesh.n_devices} devices of the mesh evenly; "
            f"use mesh sizes whose product is a multiple of {settings.nodes}, such as "
            f"mesh.data={settings.nodes}"
        )
    if settings.name == "local":
        check_environment()
    if settings.name == "slurm":
        check_slurm(settings)
    if settings.name == "ray":
        check_ray(settings)


def check_here(settings: LauncherSettings, cells: list[Cell], mesh: MeshConfig, execution: Execution) -> None:
    """Raise InputError if workers on this machine lack the memory or the platform that the cells need."""
    if settings.name == "local":
        check_platform((cell.spec for cell in cells), mesh, execution, platform_here())
        check_memory(cells, n_workers(settings, mesh), mesh.n_batch_shards, lanes(settings, mesh))


def make_launcher(settings: LauncherSettings, config: WorkerConfig, cost: Callable[[Job], float]) -> Launcher:
    """Return the launcher that launcher=NAME chose; it starts the jobs of highest `cost` first."""
    if settings.name == "slurm":
        return SlurmLauncher(settings, config, cost)
    if settings.name == "ray":
        return RayLauncher(settings, config, cost)
    mesh = MeshConfig(**config.mesh)
    return LocalLauncher(config, seats(settings.n_workers, mesh.n_devices), cost)
