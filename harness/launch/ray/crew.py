"""Crew: the Ray actors whose workers train one run together, each on a node of its own; nearly always one."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from harness.launch.interface import Handle, Outcome
from harness.launch.ray.host import RayHost
from harness.launch.worker import WorkerConfig
from harness.recipe.spec import Pack
from harness.records.provenance import ROOT
from harness.records.run_files import RunStatus

# Wait for the answers of the others after one process has failed: they may fail too, or wait for ever.
PARTNER_SECONDS = 10.0
# Prefixes of environment variables that are carried to the workers, because Ray carries none.
CARRIED = ("JAX_", "XLA_")


class Crew:
    """Actors that train one pack after the other. Ray ends them when their driver ends.

    Args:
        config: settings of the workers.
        needs: resources of each process, by Ray's names.
        n_processes: processes of a run, each on a node of its own.
        n_devices: devices of each process.
    """

    def __init__(self, config: WorkerConfig, needs: dict[str, float], n_processes: int, n_devices: int):
        # Gang scheduling: Ray reserves all nodes at once or none, so two crews cannot block each other.
        bundles = [needs] * n_processes
        self._group = placement_group(bundles, strategy="STRICT_SPREAD") if n_processes > 1 else None
        self._hosts = [
            self._start(i, needs).remote(config.to_line(), n_devices, needs.get("CPU") == 1)
            for i in range(n_processes)
        ]
        address = self._hosts[0].address.remote() if n_processes > 1 else None
        self._joined = [host.join.remote(address, n_processes, i) for i, host in enumerate(self._hosts)]
        self.handle: Handle | None = None
        self.last: Pack | None = None
        self.idle_since = time.monotonic()
        # Whether this driver asked the crew to stop, rather than a node that is about to go.
        self.is_stopping = False
        self._pending: dict[Any, int] = {}
        self._replies: dict[int, list[dict[str, Any]]] = {}
        self._lost: str | None = None
        self._failed_at: float | None = None

    def _start(self, i: int, needs: dict[str, float]) -> Any:
        """Return the actor class of process i, with its resources and its placement."""
        kept = {name: value for name, value in os.environ.items() if name.startswith(CARRIED)}
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        strategy = "DEFAULT" if self._group is None else PlacementGroupSchedulingStrategy(self._group, i)
        return ray.remote(RayHost).options(
            num_cpus=needs.get("CPU", 0),
            num_gpus=needs.get("GPU", 0),
            resources={name: amount for name, amount in needs.items() if name not in ("CPU", "GPU")},
            # One thread for `train`, one for `stop`, which is called meanwhile.
            max_concurrency=2,
            # The supervisor repeats attempts. An actor that Ray restarts would have joined no other ranks.
            max_restarts=0,
            runtime_env={"env_vars": kept | {"PYTHONPATH": path}},
            scheduling_strategy=strategy,
        )

    def is_ready(self) -> bool:
        """Return whether all processes have started; raise RayError if one could not be started."""
        if self._joined:
            done, self._joined = ray.wait(self._joined, num_returns=len(self._joined), timeout=0)
            ray.get(done)
        return not self._joined

    def waiting_for(self) -> list[Any]:
        """Return the references whose completion `ray.wait` is to wait for."""
        return self._joined or list(self._pending)

    def give(self, handle: Handle) -> None:
        """Send a pack to all processes."""
        self.handle, self.last = handle, handle.pack
        jobs = [job.to_dict() for job in handle.pack]
        self._pending = {host.train.remote(jobs): i for i, host in enumerate(self._hosts)}
        self._replies, self._lost, self._failed_at = {}, None, None

    def collect(self) -> tuple[Outcome, ...] | None:
        """Return the outcomes of the pack in hand; None while it is trained."""
        assert self.handle is not None
        for ref in ray.wait(list(self._pending), num_returns=len(self._pending), timeout=0)[0]:
            i = self._pending.pop(ref)
            try:
                self._replies[i] = ray.get(ref)
            except ray.exceptions.RayError as error:
                self._lost = f"a worker on the Ray cluster was lost: {reason(error)}"
        if self._failed_at is None and (self._lost or self._said(RunStatus.FAILED)):
            self._failed_at = time.monotonic()
        is_late = self._failed_at is not None and time.monotonic() - self._failed_at > PARTNER_SECONDS
        if self._pending and not is_late:
            return None
        pack, self.handle, self.idle_since = self.handle.pack, None, time.monotonic()
        return self._outcomes(pack)

    def _outcomes(self, pack: Pack) -> tuple[Outcome, ...]:
        """Return the outcomes from the answers: that of rank 0, which writes the files, if there is one."""
        if 0 in self._replies:
            replies = self._replies[0]
        elif self._lost:
            return tuple(Outcome(job, RunStatus.FAILED, self._lost, retry=True) for job in pack)
        else:
            replies = next(r for r in self._replies.values() if RunStatus.FAILED in {a["status"] for a in r})
        answers = {answer["run_id"]: answer for answer in replies}
        return tuple(self._outcome(Outcome.from_reply(job, answers[job.spec.run_id])) for job in pack)

    def _outcome(self, outcome: Outcome) -> Outcome:
        """Return the outcome, but WAITING if a node that is about to go has interrupted the run.

        The run then goes on elsewhere, and this is no failed attempt.
        """
        if outcome.status == RunStatus.INTERRUPTED and not self.is_stopping:
            return Outcome(outcome.job, RunStatus.WAITING)
        return outcome

    def is_spent(self) -> bool:
        """Return whether the crew can train no more: a process is gone, about to go, or out of step."""
        is_out_of_step = len(self._hosts) > 1 and self._said(RunStatus.FAILED)
        return bool(self._lost) or self._said(RunStatus.INTERRUPTED) or is_out_of_step

    def _said(self, status: RunStatus) -> bool:
        """Return whether an answer has this status."""
        return any(answer["status"] == status for reply in self._replies.values() for answer in reply)

    def ask_to_stop(self) -> None:
        """Ask all processes to save and end the pack in hand."""
        self.is_stopping = True
        for host in self._hosts:
            host.stop.remote()

    def end(self) -> None:
        """Kill the actors with their workers, and give their resources back to Ray."""
        for host in self._hosts:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(host)
        if self._group is not None:
            remove_placement_group(self._group)


def reason(error: ray.exceptions.RayError) -> str:
    """Return the last line of Ray's error, which names the cause."""
    return ([line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__])[-1]
