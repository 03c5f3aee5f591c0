"""What runs on a node of a Ray cluster: an actor with a worker process below it.

The actor itself never imports JAX: Ray keeps its processes for other work, and a process that has used JAX
can neither join others nor forget its devices. The worker process stays for one pack after the other, so that
a shape is compiled once.
"""

from __future__ import annotations

import socket
from typing import Any

from harness.execution.hardware import platform_here
from harness.launch.interface import Handle
from harness.launch.local.local import LocalLauncher
from harness.launch.local.places import Seat, core_seat
from harness.launch.supervise import POLL_SECONDS
from harness.launch.worker import WorkerConfig
from harness.recipe.spec import Job


class RayHost:
    """One process of a run. `n_devices` are those of this process; `one_core`: it asked Ray for one core."""

    def __init__(self, config: str, n_devices: int, one_core: bool):
        self._config = WorkerConfig.from_line(config)
        self._n_devices = n_devices
        alone = one_core and n_devices == 1 and platform_here() == "cpu"
        self._environment = core_seat(None).environment if alone else {}
        self._launcher: LocalLauncher | None = None
        self._handle: Handle | None = None

    def address(self) -> str:
        """Host and free port where the processes of a run find each other."""
        import ray

        with socket.socket() as free:
            free.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"

    def join(self, coordinator: str | None, n_processes: int, process: int) -> None:
        """Take a place among the processes of a run; without `coordinator` it is the only one."""
        together = {
            "HARNESS_COORDINATOR": coordinator or "",
            "HARNESS_PROCESSES": str(n_processes),
            "HARNESS_PROCESS": str(process),
        }
        seat = Seat(self._environment | (together if coordinator else {}))
        self._launcher = LocalLauncher(self._config, [seat], lambda _: 1.0, self._n_devices)

    def train(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Train the jobs of a pack; an answer for each, as a worker gives it."""
        assert self._launcher is not None
        self._handle = self._launcher.submit(tuple(Job.from_dict(values) for values in jobs))
        while self._handle not in self._launcher.poll(POLL_SECONDS):
            pass
        return [
            {"run_id": o.job.spec.run_id, "status": o.status.value, "error": o.error, "retry": o.retry}
            for o in self._handle.outcomes
        ]

    def stop(self) -> None:
        """Let the worker save and end; called beside `train`, which then returns."""
        if self._handle is not None:
            self._handle.cancel()
