"""Runs as jobs of a Slurm cluster, submitted as arrays through submitit.

What a run is doing is read from its folder and from `squeue`; no accounting database is asked. The driver may
end at any time: its jobs go on, and the same command later finds them by the job number in each run's folder.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config.messages import near
from harness.launch.interface import Handle, Outcome
from harness.launch.stop import is_cancelled
from harness.launch.worker import WorkerConfig
from harness.recipe.spec import Job, Pack
from harness.records.errors import InputError
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from harness.records.provenance import ROOT
from harness.records.run_files import RunStatus, Submission
from harness.runs.state import record_waiting, slurm_submission

if TYPE_CHECKING:
    from harness.config.settings import LauncherSettings

ASK_SECONDS = 2.0
# A job that is put back into the queue is in none of its lists for a moment.
MISSED_ANSWERS = 3
RUNNING_STATES = ("RUNNING", "COMPLETING")
MAX_PARALLEL = 256
# As long as an array may be where nobody has set MaxArraySize.
MAX_ARRAY = 1000


def check_slurm(settings: LauncherSettings) -> None:
    """Raise InputError where jobs cannot be submitted as these settings say."""
    if importlib.util.find_spec("submitit") is None:
        raise InputError("launcher=slurm needs submitit, which is not installed; type uv sync --extra slurm")
    if shutil.which("sbatch") is None:
        raise InputError(
            "launcher=slurm needs sbatch and squeue, and no sbatch is on the PATH; start the command on a "
            "login node of the cluster, or install Slurm's client (Debian: slurm-client)"
        )
    found = subprocess.run(["sinfo", "-h", "-o", "%R"], capture_output=True, text=True, check=False)
    if found.returncode:
        raise InputError(f"Slurm does not answer ({last_line(found.stderr)}); look at what sinfo says")
    partitions = sorted(set(found.stdout.split()))
    if settings.partition is not None and settings.partition not in partitions:
        raise InputError(
            f"launcher.partition={settings.partition} is not there; use one of "
            f"{', '.join(partitions)}{near(settings.partition, partitions)}"
        )
    if settings.signal_seconds >= 60 * settings.minutes:
        raise InputError(
            f"launcher.signal_seconds={settings.signal_seconds} leaves nothing of launcher.minutes="
            f"{settings.minutes} to train in; lower the first or raise the second"
        )


class SlurmLauncher:
    """Submits packs as job arrays; one task of an array trains one pack."""

    def __init__(
        self,
        settings: LauncherSettings,
        config: WorkerConfig,
        cost: Callable[[Job], float],
    ):
        self.n_workers = settings.n_workers or MAX_PARALLEL
        self.detach = settings.detach
        self._settings = settings
        self._config = config
        self._cost = cost
        self._folder = SweepFolder(Path(config.sweep))
        self._new: list[Handle] = []
        self._jobs: dict[Handle, str] = {}
        self._missed: dict[Handle, int] = {}
        self._asked_at = 0.0

    def submit(self, pack: Pack, spare: bool = False) -> Handle:
        """Take in a pack; the next `poll` hands all new ones to Slurm as one array."""
        handle = Handle(pack, sum(self._cost(job) for job in pack), spare, lambda: self._cancel(handle))
        self._new.append(handle)
        return handle

    def poll(self, seconds: float) -> list[Handle]:
        """Packs whose runs have ended, or whose job has gone without an end of theirs."""
        if not self._new:
            time.sleep(seconds)
        now = time.monotonic()
        if self._new or now - self._asked_at > ASK_SECONDS:
            self._asked_at = now
            queue = queued()
            while self._new and queue is None:
                time.sleep(ASK_SECONDS)
                queue = queued()
            if queue is not None:
                self._start_new(queue)
                for handle in list(self._jobs):
                    self._look_up(handle, queue)
        ended = [handle for handle in self._jobs if self._has_ended(handle)]
        for handle in ended:
            del self._jobs[handle]
            self._missed.pop(handle, None)
        return ended

    def _start_new(self, queue: dict[str, str]) -> None:
        """Find those that an earlier driver has submitted, and submit the others, the longest first."""
        new, self._new = sorted(self._new, key=lambda handle: (handle.spare, -handle.cost)), []
        fresh = []
        for handle in new:
            submitted = (slurm_submission(self._folder.run(job.spec.run_id)) for job in handle.pack)
            job = next((each.job for each in submitted if each and each.job in queue), None)
            if job is None:
                fresh.append(handle)
            else:
                self._jobs[handle] = job
        for first in range(0, len(fresh), MAX_ARRAY):
            handles = fresh[first : first + MAX_ARRAY]
            for handle, (job, log) in zip(handles, self._submit_array(handles), strict=True):
                self._jobs[handle] = job
                for run in (self._folder.run(job.spec.run_id) for job in handle.pack):
                    write_record(run.submission, Submission(launcher="slurm", job=job, log=log))
        # They are not in the queue that was asked before.
        queue.update({self._jobs[handle]: "PENDING" for handle in fresh})

    def _submit_array(self, handles: list[Handle]) -> list[tuple[str, str]]:
        """Job number and log of each pack. Raises InputError where Slurm refuses them."""
        import submitit

        from harness.launch.slurm.task import SlurmTask

        executor = submitit.SlurmExecutor(
            self._folder.log.resolve() / "%j",
            max_num_timeout=max(0, self._settings.max_attempts - 1),
        )
        executor.update_parameters(**self._parameters())
        for handle in handles:
            for job in handle.pack:
                record_waiting(self._folder.run(job.spec.run_id))
        try:
            # submitit prints what sbatch says; it is said once, below.
            with contextlib.redirect_stderr(io.StringIO()), executor.batch():
                jobs = [executor.submit(self._task(SlurmTask, handle.pack)) for handle in handles]
        except submitit.core.utils.FailedJobError as error:
            why = last_line(str(error)).removeprefix("sbatch: error: ")
            raise InputError(
                f"Slurm refuses the jobs ({why}); change launcher.account, launcher.qos, launcher.gres, "
                "launcher.minutes, launcher.nodes or launcher.sbatch"
            ) from None
        return [(job.job_id, str(job.paths.stdout)) for job in jobs]

    def _task(self, kind: Callable[..., Any], pack: Pack) -> Any:
        return kind(
            self._config.to_line(),
            tuple(job.to_dict() for job in pack),
            self._settings.max_attempts,
            self._settings.cpus,
        )

    def _parameters(self) -> dict[str, Any]:
        """What submitit writes into the batch file."""
        settings = self._settings
        named = {name: getattr(settings, name) for name in ("partition", "account", "qos", "gres")}
        return {name: value for name, value in named.items() if value is not None} | {
            "job_name": "scaling",
            "time": settings.minutes,
            "nodes": settings.nodes,
            "ntasks_per_node": 1,
            "cpus_per_task": settings.cpus,
            "array_parallelism": self.n_workers,
            "signal_delay_s": settings.signal_seconds,
            "additional_parameters": {"requeue": True} | settings.sbatch,
            "srun_args": ["--kill-on-bad-exit=1", f"--cpus-per-task={settings.cpus}"],
            "setup": [f"export PYTHONPATH={ROOT}${{PYTHONPATH:+:$PYTHONPATH}}"],
        }

    def _look_up(self, handle: Handle, queue: dict[str, str]) -> None:
        state = queue.get(self._jobs[handle])
        self._missed[handle] = 0 if state else self._missed.get(handle, 0) + 1
        handle.status = RunStatus.RUNNING if state in RUNNING_STATES else RunStatus.WAITING

    def _has_ended(self, handle: Handle) -> bool:
        """Whether all its runs have finished, or its job has left the queue."""
        found = [Outcome.from_files(job, self._folder) for job in handle.pack]
        is_gone = self._missed.get(handle, 0) >= MISSED_ANSWERS
        finished = [o for o in found if o is not None and o.status in (RunStatus.DONE, RunStatus.DIVERGED)]
        if len(finished) == len(handle.pack):
            handle.end(tuple(finished))
        elif is_gone:
            lost = f"the Slurm job {self._jobs[handle]} ended before the run did; see {self._log(handle)}"
            handle.end(
                tuple(
                    Outcome(job, RunStatus.INTERRUPTED)
                    if is_cancelled(self._folder.run(job.spec.run_id))
                    else outcome
                    if outcome is not None and outcome.status != RunStatus.INTERRUPTED
                    else Outcome(job, RunStatus.FAILED, lost, retry=True)
                    for job, outcome in zip(handle.pack, found, strict=True)
                )
            )
        return handle.status.ended

    def _log(self, handle: Handle) -> str:
        submitted = slurm_submission(self._folder.run(handle.pack[0].spec.run_id))
        return submitted.log if submitted else "its log"

    def _cancel(self, handle: Handle) -> None:
        if handle in self._jobs:
            subprocess.run(["scancel", self._jobs[handle]], check=False)

    def close(self) -> None:
        """Nothing was started that needs an end."""

    def stop(self) -> None:
        """Jobs in the queue go on without the driver."""

    def spent(self, seconds: float) -> dict[str, float]:  # noqa: ARG002
        """Nobody counts the seconds that jobs wait."""
        return {}


def queued() -> dict[str, str] | None:
    """State by number of all jobs of this user; None where Slurm does not answer just now."""
    command = ["squeue", "-h", "-r", "--me", "-o", "%i %T"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())


def last_line(text: str) -> str:
    """The last line that says something."""
    return ([line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"])[-1]
