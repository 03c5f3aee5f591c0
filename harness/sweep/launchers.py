"""Choice of the launcher: the only module that knows all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING

from harness.config.schema import MeshSettings, SweepSettings
from harness.config.settings import plain
from harness.execution.devices import Devices
from harness.execution.execution import Execution, MeshConfig, check_platform
from harness.execution.hardware import platform_here
from harness.grid.cells import Cell, trajectories
from harness.grid.expansion import expand
from harness.grid.packs import Lanes, lanes_of
from harness.launch.interface import Launcher
from harness.launch.local.environment import check_environment
from harness.launch.local.local import LocalLauncher
from harness.launch.local.places import n_workers_here, seats
from harness.launch.ray.cluster import check_ray, check_request, n_ray_workers
from harness.launch.ray.ray import RayLauncher
from harness.launch.slurm.slurm import MAX_PARALLEL, SlurmLauncher, check_minutes, check_slurm
from harness.launch.worker import WorkerConfig
from harness.plan.fastest_mesh import fastest, meshes
from harness.plan.machine import Machine, memory_share
from harness.plan.plan import check_memory
from harness.recipe.spec import DataSpec, Job
from harness.records.errors import InputError
from harness.records.provenance import usable_cores

if TYPE_CHECKING:
    from harness.config.schema import LauncherSettings, PlanSettings

# Device that stands as an example for a platform; the mesh of a GPU-sized grid may be planned from a CPU.
PLANNED = {"cpu": "h100", "gpu": "h100", "tpu": "v5e"}


def n_workers(settings: LauncherSettings, mesh: MeshConfig, available: bool = True) -> int:
    """Return the number of packs that train at the same time.

    Args:
        settings: the section `launcher` of the configuration.
        mesh: mesh of one run.
        available: whether `check_available` found the launcher; a Ray cluster is asked only then.
    """
    if settings.name == "slurm":
        return settings.n_workers or MAX_PARALLEL
    if settings.name == "ray":
        return n_ray_workers(settings) if available else settings.n_workers or 1
    return n_workers_here(settings.n_workers, mesh.n_devices)


def launcher_platform(settings: LauncherSettings) -> str:
    """Return the platform of the workers as far as the driver can tell: `cpu`, `gpu` or `tpu`."""
    # The driver of a cluster cannot see the devices of the workers, so the requested resources decide.
    if settings.name == "slurm":
        return "gpu" if "gpu" in (settings.gres or "") else "cpu"
    if settings.name == "ray":
        return "tpu" if "TPU" in settings.resources else "gpu" if settings.gpus > 0 else "cpu"
    return platform_here()


def lanes(settings: LauncherSettings, mesh: MeshConfig, platform: str | None = None) -> Lanes:
    """Return the function from a model to the largest number of its runs in one pack.

    `platform` is that of the devices of a plan; None takes that of the launcher.
    """
    platform = launcher_platform(settings) if platform is None else platform
    one_accelerator = platform != "cpu" and mesh.n_devices == 1
    return partial(lanes_of, requested=settings.pack, accelerator=one_accelerator)


def planned_machine(
    plan: PlanSettings, launcher: LauncherSettings, mesh: MeshConfig, execution: Execution
) -> Machine | None:
    """Return the machine that plan.device names, or None if the plan is made for this one."""
    if plan.device is None:
        return None
    devices = Devices.parse(plan.device)
    places = devices.count // mesh.n_devices
    # A local worker with a mesh of several devices has the whole machine.
    asked = 1 if launcher.name == "local" and mesh.n_devices > 1 else launcher.n_workers or places
    return Machine(
        devices=devices,
        mesh=mesh,
        execution=execution,
        at_once=min(places, asked),
        lanes=lanes(launcher, mesh, devices.platform),
        mfu=plan.mfu,
        price_per_hour=plan.price_per_hour,
        share=memory_share(),
    )


def with_mesh(settings: SweepSettings, notes: list[str]) -> tuple[SweepSettings, list[str]]:
    """Return settings with the mesh that `mesh=auto` chooses, and the notes with a sentence on it.

    The choice reads no corpus: the vocabulary has the size that is asked for.

    Raises:
        InputError: the devices are not known, or no mesh of them holds every rung.
    """
    if not settings.mesh.auto:
        return settings, notes
    launcher, execution = settings.launcher, Execution(**plain(settings.execution))
    first = planned_machine(settings.plan, launcher, MeshConfig(), execution)
    if first is None and launcher_platform(launcher) != "cpu":
        raise InputError(
            "mesh=auto needs the memory and speed of the devices, and plan.device is null; type what is "
            "there, such as plan.device=h100:8"
        )
    if first is None or first.devices.accelerator is None:
        chosen, note = MeshConfig(), "mesh=auto takes one device for a run: cores train runs side by side"
    else:
        data = DataSpec("none", "none", 0.0, settings.data.eval_tokens, settings.data.curve_eval_tokens)
        jobs = trajectories(expand(settings, data, settings.data.vocab_size))
        machines = [
            planned_machine(settings.plan, launcher, mesh, execution) for mesh in meshes(first.devices.count)
        ]
        found, note = fastest(jobs, [machine for machine in machines if machine is not None])
        chosen = found.mesh
    return replace(settings, mesh=MeshSettings(**asdict(chosen))), [*notes, note]


def check_launcher(settings: LauncherSettings, mesh: MeshConfig) -> None:
    """Raise InputError if the settings of the launcher fit neither each other nor the mesh."""
    if mesh.n_devices % settings.nodes:
        raise InputError(
            f"launcher.nodes={settings.nodes} cannot share the {mesh.n_devices} devices of the mesh evenly; "
            f"use mesh sizes whose product is a multiple of {settings.nodes}, such as "
            f"mesh.data={settings.nodes}"
        )
    if settings.name == "slurm":
        check_minutes(settings)
    if settings.name == "ray":
        check_request(settings)


def check_available(settings: LauncherSettings) -> None:
    """Raise InputError if the launcher cannot start workers from this machine."""
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


def elsewhere_note(settings: LauncherSettings, mesh: MeshConfig, refused: bool) -> list[str]:
    """Return a sentence if the plan's minutes, those of a core here, are not those of its workers.

    Args:
        settings: the section `launcher` of the configuration.
        mesh: mesh of one run.
        refused: whether this machine lacks something that the sweep needs.
    """
    platform = launcher_platform(settings)
    if platform == "cpu" and mesh.n_devices <= len(usable_cores()) and not refused:
        return []
    return [
        "the minutes below are those of one CPU core of this machine for each worker; name the devices that "
        f"train, for their minutes, memory and cost: plan.device={PLANNED[platform]}:{mesh.n_devices}"
    ]


def make_launcher(settings: LauncherSettings, config: WorkerConfig, cost: Callable[[Job], float]) -> Launcher:
    """Return the launcher that launcher=NAME chose; it starts the jobs of highest `cost` first."""
    if settings.name == "slurm":
        return SlurmLauncher(settings, config, cost)
    if settings.name == "ray":
        return RayLauncher(settings, config, cost)
    mesh = MeshConfig(**config.mesh)
    return LocalLauncher(config, seats(settings.n_workers, mesh.n_devices), cost)
