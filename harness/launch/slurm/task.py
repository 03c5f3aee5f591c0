"""Program of a Slurm job: a small driver with one worker below it.

The driver repeats failed attempts. Slurm announces preemption and the end of the walltime by signals. Then
the driver asks the worker to save and end, and submitit requeues the job. If a run has several nodes, each
node has such a driver. A lost worker then ends the whole job, because its partners would wait for it.
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

# How long a job whose worker was stopped by a signal waits for Slurm to requeue or kill it. Slurm does not
# requeue a job that has ended before.
LINGER_SECONDS = 600.0
FIRST_PORT, N_PORTS = 20_000, 12_000


@dataclass(frozen=True)
class SlurmTask:
    """The callable that submitit pickles into a job.

    Attributes:
        config: first line of the worker's protocol.
        jobs: jobs of the pack.
        max_attempts: largest number of attempts inside the job.
        cpus: cores per node.
    """

    config: str
    jobs: tuple[dict[str, Any], ...]
    max_attempts: int
    cpus: int

    def __call__(self) -> None:
        """Train the pack; exit with 1 if a run failed. Results are in the folders of the runs."""
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
        """Save and end the worker; return the task that submitit is to requeue.

        Submitit calls it from its signal handler when Slurm announces preemption or the end of the walltime.
        """
        for launcher in _launchers:
            launcher.stop()
        return submitit.helpers.DelayedSubmission(self)


# Launcher of this process. The signal handler needs it, and a frozen task that is pickled cannot hold it.
_launchers: list[LocalLauncher] = []


def node_seat() -> Seat:
    """Return the seat of a whole node, one rank of a run that several nodes train together."""
    job, task, n_tasks = (os.environ[f"SLURM_{name}"] for name in ("JOB_ID", "PROCID", "NTASKS"))
    # srun starts on the first node of the job, and so does rank 0, the coordinator.
    address = os.environ["SLURM_LAUNCH_NODE_IPADDR"]
    # A port from the job number, because two jobs may share a node and the ranks cannot agree beforehand.
    coordinator = f"{address}:{FIRST_PORT + int(job) % N_PORTS}"
    return Seat({"HARNESS_COORDINATOR": coordinator, "HARNESS_PROCESSES": n_tasks, "HARNESS_PROCESS": task})


def _train_alone(
    launcher: LocalLauncher, pack: Pack, folder: SweepFolder, max_attempts: int
) -> list[Outcome]:
    """Train a pack on one node, and repeat failed attempts; return the outcome of each job."""
    supervisor = Supervisor(launcher, folder, max_attempts)
    supervisor.add([pack])
    return list(supervisor.outcomes(lambda _: None))


def _train_with_others(launcher: LocalLauncher, pack: Pack, folder: SweepFolder) -> list[Outcome]:
    """Train a pack together with the drivers of the other nodes, in one attempt.

    A retry is left to the driver of the sweep, because all nodes would have to start it at the same time.
    """
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
