"""Launcher for a Slurm cluster: submits packs as job arrays through submitit.

The driver reads the progress of a run from its folder and from `squeue`, since not every cluster has an
accounting database for `sacct`. The driver may end at any time, and its jobs go on. The same command later
finds them by the job number in each run's submission.json.
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

from harness.launch.interface import Handle, Outcome
from harness.launch.stop import is_cancelled
from harness.launch.worker import WorkerConfig
from harness.recipe.spec import Job, Pack
from harness.records.errors import InputError, near
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from harness.records.provenance import ROOT
from harness.records.run_files import RunStatus, Submission
from harness.runs.state import record_waiting, slurm_submission

if TYPE_CHECKING:
    from harness.config.schema import LauncherSettings

# Seconds between two calls of squeue, which all users of a cluster share.
ASK_SECONDS = 2.0
# Answers of squeue that must lack a job before it counts as gone: a job that Slurm requeues is missing for a
# moment.
MISSED_ANSWERS = 3
RUNNING_STATES = ("RUNNING", "COMPLETING")
# Tasks of an array that run at the same time if launcher.n_workers is not set.
MAX_PARALLEL = 256
# Longest array: Slurm's default of MaxArraySize is 1001, and indices start at 0.
MAX_ARRAY = 1000


def check_minutes(settings: LauncherSettings) -> None:
    """Raise InputError if a job of Slurm is told to save before it has trained."""
    if settings.signal_seconds >= 60 * settings.minutes:
        raise InputError(
            f"launcher.signal_seconds={settings.signal_seconds} leaves nothing of launcher.minutes="
            f"{settings.minutes} to train in; lower the first or raise the second"
        )


def check_slurm(settings: LauncherSettings) -> None:
    """Raise InputError if submitit or Slurm is missing here, or the cluster lacks the partition."""
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


class SlurmLauncher:
    """Launcher that submits packs as job arrays; one task of an array trains one pack.

    Args:
        settings: the section `launcher` of the configuration.
        config: settings of every worker.
        cost: FLOPs of a job, which order the array.
    """

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
        """Add a pack; the next `poll` submits all new packs as one array."""
        handle = Handle(pack, sum(self._cost(job) for job in pack), spare, lambda: self._cancel(handle))
        self._new.append(handle)
        return handle

    def poll(self, seconds: float) -> list[Handle]:
        """Return packs whose runs have ended, or whose Slurm job is gone before they ended."""
        if not self._new:
            time.sleep(seconds)
        now = time.monotonic()
        if self._new or now - self._asked_at > ASK_SECONDS:
            self._asked_at = now
            queue = queued()
            # Without an answer of squeue, jobs of an earlier driver would be submitted a second time.
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
        """Find the jobs that an earlier driver submitted, and submit the other packs, most expensive first.

        Args:
            queue: state of each job in Slurm's queue, by job number; gets the new jobs.
        """
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
        # The answer of squeue is older than these jobs, which would count as gone.
        queue.update({self._jobs[handle]: "PENDING" for handle in fresh})

    def _submit_array(self, handles: list[Handle]) -> list[tuple[str, str]]:
        """Submit one array; return the job number and log of each pack. Raise InputError if Slurm refuses."""
        import submitit

        from harness.launch.slurm.task import SlurmTask

        executor = submitit.SlurmExecutor(
            self._folder.log.resolve() / "%j",
            max_num_timeout=max(0, self._settings.max_attempts - 1),
        )
        executor.update_parameters(**self._parameters())
        # Before the submission, because a job that starts at once writes a state of its own.
        for handle in handles:
            for job in handle.pack:
                record_waiting(self._folder.run(job.spec.run_id))
        try:
            # submitit prints the error of sbatch to standard error; InputError reports it below, once.
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
        """Return the SlurmTask of a pack; its class is passed in, because importing it needs submitit."""
        return kind(
            self._config.to_line(),
            tuple(job.to_dict() for job in pack),
            self._settings.max_attempts,
            self._settings.cpus,
        )

    def _parameters(self) -> dict[str, Any]:
        """Return the parameters that submitit writes into the batch file."""
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
            # Slurm then puts a preempted job back into the queue under the same number.
            "additional_parameters": {"requeue": True} | settings.sbatch,
            # One dead rank ends the whole job, because its partners would wait for it. srun does not inherit
            # --cpus-per-task from sbatch since Slurm 22.05.
            "srun_args": ["--kill-on-bad-exit=1", f"--cpus-per-task={settings.cpus}"],
            "setup": [f"export PYTHONPATH={ROOT}${{PYTHONPATH:+:$PYTHONPATH}}"],
        }

    def _look_up(self, handle: Handle, queue: dict[str, str]) -> None:
        """Update the status of a pack from the queue, and count the answers that lack its job."""
        state = queue.get(self._jobs[handle])
        self._missed[handle] = 0 if state else self._missed.get(handle, 0) + 1
        handle.status = RunStatus.RUNNING if state in RUNNING_STATES else RunStatus.WAITING

    def _has_ended(self, handle: Handle) -> bool:
        """Return whether all runs of a pack have finished or its job is gone; end the handle if so."""
        found = [Outcome.from_files(job, self._folder) for job in handle.pack]
        # A failed run alone ends nothing: the driver inside the job may be about to repeat it.
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
        """Return the path of the job's log, for a message."""
        submitted = slurm_submission(self._folder.run(handle.pack[0].spec.run_id))
        return submitted.log if submitted else "its log"

    def _cancel(self, handle: Handle) -> None:
        """Cancel the job of a pack."""
        if handle in self._jobs:
            subprocess.run(["scancel", self._jobs[handle]], check=False)

    def close(self) -> None:
        """Do nothing: jobs end by themselves."""

    def stop(self) -> None:
        """Do nothing: jobs go on without the driver."""

    def spent(self, seconds: float) -> dict[str, float]:  # noqa: ARG002
        """Return nothing: waiting in the queue would count as idle workers."""
        return {}


def queued() -> dict[str, str] | None:
    """Return the state of each job of this user, by job number; None if squeue fails."""
    # -r lists every task of an array in a line of its own.
    command = ["squeue", "-h", "-r", "--me", "-o", "%i %T"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())


def last_line(text: str) -> str:
    """Return the last line that is not empty."""
    return ([line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"])[-1]
