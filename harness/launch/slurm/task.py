"""What runs inside a Slurm job: a worker under a small driver of its own.

The driver repeats lost attempts, and answers the signals with which Slurm announces preemption and the end
of the time: the worker saves and ends, and the job goes back into the queue. Of a run on several nodes every
node has such a driver; a worker that is lost ends the whole job, since its partners cannot go on.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit

from harness.execution.execution import MeshConfig
from harness.launch.interface import Outcome
from harness.launch.local.local import LocalLauncher
from harness.launch.local.places import Seat, core_seat
from harness.launch.stop import is_cancelled
from harness.launch.supervise import LOOK_SECONDS, POLL_SECONDS, Supervisor
from harness.launch.worker import WorkerConfig
from harness.recipe.spec import Job, Pack
from harness.records.paths import SweepFolder
from harness.records.run_files import RunStatus
from harness.runs.state import record_failure

# After a signal meant for the worker the scheduler has something in mind: it requeues the job, or kills it.
LINGER_SECONDS = 600.0
FIRST_PORT, N_PORTS = 20_000, 12_000


@dataclass(frozen=True)
class SlurmTask:
    """A pack as submitit pickles it."""

    config: str
    jobs: tuple[dict[str, Any], ...]
    max_attempts: int
    cpus: int

    def __call__(self) -> None:
        """Train the pack; everything that comes of it is in the folders of its runs."""
        config = WorkerConfig.from_line(self.config)
        pack = tuple(Job.from_dict(values) for values in self.jobs)
        n_nodes = int(os.environ.get("SLURM_NTASKS", "1"))
        seat = node_seat() if n_nodes > 1 else core_seat(None) if self.cpus == 1 else Seat()
        n_devices = MeshConfig(**config.mesh).n_devices // n_nodes
        _launchers.append(LocalLauncher(config, [seat], lambda _: 1.0, n_devices))
        folder = SweepFolder(Path(config.sweep))
        if n_nodes > 1:
            outcomes = _train_with_others(_launchers[-1], pack, folder)
        else:
            outcomes = _train_alone(_launchers[-1], pack, folder, self.max_attempts)
        _launchers[-1].close()
        cancelled = all(is_cancelled(folder.run(job.spec.run_id)) for job in pack)
        if any(outcome.status == RunStatus.INTERRUPTED for outcome in outcomes) and not cancelled:
            time.sleep(LINGER_SECONDS)
        if any(outcome.status == RunStatus.FAILED for outcome in outcomes):
            sys.exit(1)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Called by submitit when Slurm announces the end: save, and start again from there."""
        for launcher in _launchers:
            launcher.stop()
        return submitit.helpers.DelayedSubmission(self)


# The launcher of this process, for the signal handler.
_launchers: list[LocalLauncher] = []


def node_seat() -> Seat:
    """All of a node, as one of several processes that train a run together."""
    job, task, n_tasks = (os.environ[f"SLURM_{name}"] for name in ("JOB_ID", "PROCID", "NTASKS"))
    # srun is started on the first node, where the first process is as well.
    address = os.environ["SLURM_LAUNCH_NODE_IPADDR"]
    coordinator = f"{address}:{FIRST_PORT + int(job) % N_PORTS}"
    return Seat({"HARNESS_COORDINATOR": coordinator, "HARNESS_PROCESSES": n_tasks, "HARNESS_PROCESS": task})


def _train_alone(
    launcher: LocalLauncher, pack: Pack, folder: SweepFolder, max_attempts: int
) -> list[Outcome]:
    supervisor = Supervisor(launcher, folder, max_attempts)
    supervisor.add([pack])
    return list(supervisor.outcomes(lambda _: None))


def _train_with_others(launcher: LocalLauncher, pack: Pack, folder: SweepFolder) -> list[Outcome]:
    """One attempt, in step with the drivers of the other nodes."""
    while True:
        handle = launcher.submit(pack)
        while handle not in launcher.poll(POLL_SECONDS):
            pass
        if handle.status != RunStatus.WAITING:
            break
        time.sleep(LOOK_SECONDS)
    for outcome in handle.outcomes:
        if outcome.status == RunStatus.FAILED:
            run = folder.run(outcome.job.spec.run_id)
            if run.read_state().error != outcome.error:
                record_failure(run, outcome.error or "ended without a word", outcome.retry)
    return list(handle.outcomes)
