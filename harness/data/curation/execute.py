"""Run stages on datatrove's own executors: processes of this machine, Slurm, or Ray.

datatrove marks each finished task with a file, so a stage that was interrupted goes on with the others.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.data.curation.recipe import Options
from harness.data.curation.stages import Stage
from harness.records.errors import InputError
from harness.records.provenance import usable_cores

LOG, JOB = "datatrove.log", "slurm_job"
POLL_SECONDS = 2.0
OBJECT_STORE_BYTES = 100 << 20


def run_stage(stage: Stage, options: Options, work: Path) -> None:
    """Run what is left of a stage, and return when all of it is done.

    Args:
        stage: the stage.
        options: which executor, and its options.
        work: folder of the run; what datatrove says goes into a file there.

    Raises:
        InputError: the executor cannot be had, or tasks of the stage did not finish.
    """
    folder = work / stage.name
    folder.mkdir(parents=True, exist_ok=True)
    with _said_to(work / LOG):
        executor = _executor(stage, options, folder)
        if not executor.get_incomplete_ranks():
            return
        if options["name"] == "slurm":
            _run_on_slurm(executor, folder)
        else:
            executor.run()
        left = executor.get_incomplete_ranks()
    if left:
        raise InputError(
            f"{len(left)} of {stage.n_tasks} tasks of {stage.name} did not finish; {folder / 'logs'} and "
            f"{work / LOG} say why, and the same command goes on with them"
        )


def _executor(stage: Stage, options: Options, folder: Path) -> Any:
    """Return datatrove's executor of a stage."""
    ours = ("name", "tasks", "address", "minutes", "sbatch")
    chosen = {key: value for key, value in options.items() if key not in ours}
    common = {"pipeline": stage.pipeline, "tasks": stage.n_tasks, "logging_dir": str(folder)}
    if options["name"] == "slurm":
        more = {"qos": "", "sbatch_args": options.get("sbatch", {})}
        return _slurm(options["minutes"], common | more | chosen)
    if options["name"] == "ray":
        from datatrove.executor import RayPipelineExecutor

        _connect(options.get("address"))
        return RayPipelineExecutor(**(common | {"mem_per_cpu_gb": 1} | chosen))
    from datatrove.executor import LocalPipelineExecutor

    workers = min(chosen.get("workers", len(usable_cores())), stage.n_tasks)
    return LocalPipelineExecutor(**(common | {"workers": workers}))


def _connect(address: str | None) -> None:
    """Connect to a Ray cluster, or start one of this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Under `uv run` Ray would copy the whole folder and install it anew for every worker.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
    except ImportError:
        raise InputError(
            "executor.name=ray needs Ray, which is not installed; type uv run --extra curate --extra ray, or "
            "executor.name=local"
        ) from None

    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        ray.init(
            address="local",
            num_cpus=len(usable_cores()),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            **quiet,
        )
        return
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, ValueError) as error:
        raise InputError(
            f"no Ray cluster answers at executor.address={address} ({error}); start the command on a node of "
            "a running cluster, or leave the address out"
        ) from error


def _slurm(minutes: int, arguments: dict[str, Any]) -> Any:
    """Return an executor whose jobs use this interpreter and the programs beside it."""
    if shutil.which("sbatch") is None:
        raise InputError(
            "executor.name=slurm needs sbatch, which is not on the PATH; log in where jobs are submitted, or "
            "type executor.name=local"
        )
    from datatrove.executor import SlurmPipelineExecutor

    class Slurm(SlurmPipelineExecutor):  # type: ignore[misc, unused-ignore]
        def launch_merge_stats(self) -> None:
            """Leave out a job whose summary nobody reads."""

    programs = shlex.quote(str(Path(sys.executable).parent))
    limit = f"{minutes // 60}:{minutes % 60:02d}:00"
    return Slurm(**arguments, time=limit, env_command=f'export PATH={programs}:"$PATH"')


def _run_on_slurm(executor: Any, folder: Path) -> None:
    """Submit the tasks that are left, unless an earlier command did, and wait until they have ended."""
    note = folder / JOB
    if not (note.exists() and _is_queued(note.read_text())):
        executor.run()
        note.write_text(str(executor.job_id))
    job = note.read_text()
    while executor.get_incomplete_ranks() and _is_queued(job):
        time.sleep(POLL_SECONDS)


def _is_queued(job: str) -> bool:
    """Return whether Slurm still has a job that waits or runs."""
    asked = ["squeue", "--noheader", "--jobs", job]
    return bool(subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip())


@contextmanager
def _said_to(log: Path) -> Iterator[None]:
    """Send what this process and its children write to standard error into a file."""
    sys.stderr.flush()
    before = os.dup(2)
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)
