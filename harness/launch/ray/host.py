"""Ray actor on one node, with a worker process below it.

The actor itself never imports JAX. Ray reuses its processes for other actors, but a process that has used JAX
can neither join other ranks nor release its devices. The worker process stays from pack to pack, so that it
compiles a shape once.
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
    """Actor with one rank of a run.

    Args:
        config: first line of the worker's protocol.
        n_devices: devices of this rank.
        one_core: whether the actor asked Ray for one core; its worker is then single-threaded.
    """

    def __init__(self, config: str, n_devices: int, one_core: bool):
        self._config = WorkerConfig.from_line(config)
        self._n_devices = n_devices
        # Not pinned to a core: Ray counts cores and does not say which.
        alone = one_core and n_devices == 1 and platform_here() == "cpu"
        self._environment = core_seat(None).environment if alone else {}
        self._launcher: LocalLauncher | None = None
        self._handle: Handle | None = None

    def address(self) -> str:
        """Return host:port of this node with a free port, for the coordinator."""
        import ray

        with socket.socket() as free:
            free.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"

    def join(self, coordinator: str | None, n_processes: int, process: int) -> None:
        """Become one rank of a run.

        Args:
            coordinator: host:port of rank 0; None if this is the only rank.
            n_processes: number of ranks.
            process: this rank.
        """
        together = {
            "HARNESS_COORDINATOR": coordinator or "",
            "HARNESS_PROCESSES": str(n_processes),
            "HARNESS_PROCESS": str(process),
        }
        seat = Seat(self._environment | (together if coordinator else {}))
        self._launcher = LocalLauncher(self._config, [seat], lambda _: 1.0, self._n_devices)

    def train(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Train the jobs of a pack; return an answer for each, as a worker gives it."""
        assert self._launcher is not None
        self._handle = self._launcher.submit(tuple(Job.from_dict(values) for values in jobs))
        while self._handle not in self._launcher.poll(POLL_SECONDS):
            pass
        return [
            {"run_id": o.job.spec.run_id, "status": o.status.value, "error": o.error, "retry": o.retry}
            for o in self._handle.outcomes
        ]

    def stop(self) -> None:
        """Ask the worker to save and end; Ray calls it while `train` runs, which then returns."""
        if self._handle is not None:
            self._handle.cancel()
