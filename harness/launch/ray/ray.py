"""Launcher for a Ray cluster: an existing one, or one that it starts on this machine.

Workers run below actors that belong to the driver, and stay warm from pack to pack. When the driver ends,
they end too, and the same command later goes on from the checkpoints. To leave a sweep unattended, let the
cluster run the driver itself (`ray job submit`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.execution.execution import MeshConfig
from harness.launch.interface import Handle, Outcome
from harness.launch.local.local import STOP_SECONDS
from harness.launch.queue import by_cost, next_pack, shape
from harness.launch.ray.cluster import connect, n_ray_workers, needs
from harness.launch.worker import WorkerConfig
from harness.recipe.spec import Job, Pack
from harness.records.errors import InputError
from harness.records.provenance import ROOT
from harness.records.run_files import RunStatus

if TYPE_CHECKING:
    from harness.config.schema import LauncherSettings
    from harness.launch.ray.crew import Crew

# An idle crew gives its resources back after so long: other users of the cluster may want them.
IDLE_SECONDS = 60.0
MAX_FAILED_STARTS = 3


class RayLauncher:
    """Launcher with up to `n_workers` crews.

    Args:
        settings: the section `launcher` of the configuration.
        config: settings of every worker.
        cost: FLOPs of a job, which order the queue.
    """

    detach = False

    def __init__(self, settings: LauncherSettings, config: WorkerConfig, cost: Callable[[Job], float]):
        connect(settings.address)
        self.n_workers = n_ray_workers(settings)
        self._needs = needs(settings)
        self._n_processes = settings.nodes
        self._config = config
        self._cost = cost
        self._waiting: list[Handle] = []
        self._ended: list[Handle] = []
        self._crews: list[Crew] = []
        self._n_failed_starts = 0

    def submit(self, pack: Pack, spare: bool = False) -> Handle:
        """Add a pack to the queue; `poll` gives it to a crew."""
        handle = Handle(pack, sum(self._cost(job) for job in pack), spare, lambda: self._cancel(handle))
        self._waiting.append(handle)
        return handle

    def poll(self, seconds: float) -> list[Handle]:
        """Give packs to idle crews, and return packs that have ended; wait up to `seconds` for one."""
        import ray

        self._employ()
        refs = [ref for crew in self._crews for ref in crew.waiting_for()]
        if refs:
            ray.wait(refs, timeout=seconds)
        elif not self._ended:
            time.sleep(seconds)
        for crew in list(self._crews):
            self._collect(crew)
        self._employ()
        ended, self._ended = self._ended, []
        return ended

    def _employ(self) -> None:
        """Start the crews that the queue needs and give packs to idle ones; spare packs start no crew."""
        from harness.launch.ray.crew import Crew

        queue = by_cost(self._waiting)
        n_idle = sum(crew.handle is None for crew in self._crews)
        n_short = sum(not handle.spare for handle in queue) - n_idle
        n_devices = MeshConfig(**self._config.mesh).n_devices // self._n_processes
        for _ in range(min(n_short, self.n_workers - len(self._crews))):
            self._crews.append(Crew(self._config, self._needs, self._n_processes, n_devices))
        for crew in list(self._crews):
            if crew.handle is not None or not self._is_ready(crew):
                continue
            if queue:
                elsewhere = [shape(other.handle.pack) for other in self._crews if other.handle]
                handle = next_pack(queue, crew.last, elsewhere)
                queue.remove(handle)
                self._waiting.remove(handle)
                handle.status = RunStatus.RUNNING
                crew.give(handle)
            elif time.monotonic() - crew.idle_since > IDLE_SECONDS:
                self._dismiss(crew)

    def _is_ready(self, crew: Crew) -> bool:
        """Return whether a crew has started; raise InputError after MAX_FAILED_STARTS failures in a row."""
        import ray

        from harness.launch.ray.crew import reason

        try:
            is_ready = crew.is_ready()
        except ray.exceptions.RayError as error:
            self._dismiss(crew)
            self._n_failed_starts += 1
            if self._n_failed_starts >= MAX_FAILED_STARTS:
                raise InputError(
                    f"Ray cannot start workers ({reason(error)}); every node must have {ROOT} and its Python "
                    "environment at the same path"
                ) from None
            return False
        if is_ready:
            self._n_failed_starts = 0
        return is_ready

    def _collect(self, crew: Crew) -> None:
        """Take the outcomes of a crew's pack, if it has ended."""
        handle = crew.handle
        outcomes = crew.collect() if handle is not None else None
        if handle is not None and outcomes is not None:
            self._ended.append(handle.end(outcomes))
            if crew.is_spent():
                self._dismiss(crew)

    def _dismiss(self, crew: Crew) -> None:
        """End a crew."""
        self._crews.remove(crew)
        crew.end()

    def _cancel(self, handle: Handle) -> None:
        """Remove a pack from the queue; if it is running, ask its crew to save and end."""
        if handle in self._waiting:
            self._waiting.remove(handle)
            self._ended.append(handle.end(tuple(Outcome(job, RunStatus.INTERRUPTED) for job in handle.pack)))
        for crew in self._crews:
            if crew.handle is handle:
                crew.ask_to_stop()

    def stop(self) -> None:
        """Ask all workers to save and end; kill those that do not within STOP_SECONDS."""
        import ray

        busy = [crew for crew in self._crews if crew.handle is not None]
        for crew in busy:
            crew.ask_to_stop()
        refs = [ref for crew in busy for ref in crew.waiting_for()]
        if refs:
            ray.wait(refs, num_returns=len(refs), timeout=STOP_SECONDS)
        for crew in list(self._crews):
            self._dismiss(crew)

    def close(self) -> None:
        """End all workers and disconnect; a cluster that this driver started ends too."""
        import ray

        self.stop()
        ray.shutdown()

    def spent(self, seconds: float) -> dict[str, float]:  # noqa: ARG002
        """Return nothing: waiting for resources of the cluster would count as idle workers."""
        return {}
