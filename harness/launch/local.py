"""Runs on this machine: one pinned, single-threaded worker process per core (or one for a device mesh).

Truth is the files of the runs. A worker that dies is replaced and its job started again up to `max_attempts`
times; a job that raises is recorded as failed and does not stop the others.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.execution import MeshConfig
from harness.launch.accounting import WorkerTime
from harness.launch.worker import WorkerConfig, record_failure
from harness.provenance import usable_cores
from harness.records import RunFolder, SweepFolder
from harness.spec import Job

POLL_SECONDS = 0.2
STOP_SECONDS = 30.0
# Speeds a step up by 0 to 8 %. A flag that XLA does not know ends the process: only versions that were tried
# get it.
VECTOR_FLAG = "--xla_cpu_prefer_vector_width"
VECTOR_WIDTH = 512
VECTOR_JAXLIB = ("0.10.", "0.12.")
# A job is preferred for its shape while it costs at least this share of the most expensive one.
SAME_SHAPE_SHARE = 0.5


@dataclass(frozen=True)
class Outcome:
    """How one job ended: done, diverged, failed or interrupted."""

    job: Job
    status: str
    error: str | None = None
    attempts: int = 1


def n_workers_here(requested: int | None, n_devices: int) -> int:
    """One worker per core on CPU; one in all for a mesh of several devices or an accelerator."""
    if requested is not None:
        return requested
    if n_devices > 1 or (accelerator_installed() and os.environ.get("JAX_PLATFORMS") != "cpu"):
        return 1
    return len(usable_cores())


def accelerator_installed() -> bool:
    """Whether a JAX plugin for GPU or TPU is installed, found without importing JAX."""
    return bool(importlib.metadata.entry_points(group="jax_plugins"))


def _vector_flag() -> str:
    """Asks for the widest vectors that the processor has, unless the user has asked for others."""
    known = importlib.metadata.version("jaxlib").startswith(VECTOR_JAXLIB)
    chosen = VECTOR_FLAG in os.environ.get("XLA_FLAGS", "")
    return f"{VECTOR_FLAG}={VECTOR_WIDTH}" if known and not chosen else ""


def worker_environment(core: int | None, n_devices: int) -> dict[str, str]:
    """Environment of a worker: a single thread per pinned core, `n_devices` virtual devices on CPU."""
    flags = [os.environ.get("XLA_FLAGS", ""), f"--xla_force_host_platform_device_count={n_devices}"]
    environment = dict(os.environ, HARNESS_PARENT=str(os.getpid()))
    if core is not None:
        flags += ["--xla_cpu_multi_thread_eigen=false", _vector_flag()]
        environment |= {"HARNESS_CORE": str(core), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return environment | {"XLA_FLAGS": " ".join(flags).strip(), "TF_CPP_MIN_LOG_LEVEL": "2"}


class _Worker:
    """A worker process and the job it has in hand."""

    def __init__(self, config: WorkerConfig, core: int | None):
        self.core = core
        environment = worker_environment(core, MeshConfig(**config.mesh).n_devices)
        self.errors: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.launch.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            # A Ctrl-C in the terminal goes to the driver alone, which then asks the workers to save.
            start_new_session=True,
        )
        self.replies: queue.Queue[dict[str, str]] = queue.Queue()
        threading.Thread(target=self._read_replies, daemon=True).start()
        threading.Thread(target=self._read_errors, daemon=True).start()
        self.job: Job | None = None
        self.last: Job | None = None
        self.n_jobs = 0
        self._given_at = 0.0
        self._send(config.to_line())

    def _send(self, line: str) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # A dead worker is noticed by its exit code.

    def _read_replies(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.replies.put(json.loads(line))

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.errors = [*self.errors[-19:], line.rstrip()]

    def give(self, job: Job) -> None:
        self.n_jobs += 1
        self._given_at = time.monotonic()
        self.job = self.last = job
        self._send(json.dumps(job.to_dict()))

    def in_hand(self) -> float:
        """Seconds since it was given its job."""
        return time.monotonic() - self._given_at

    def close(self) -> None:
        """Let the worker end after its last job."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def ending(self) -> str:
        """Why a dead worker died, in words."""
        code = self.process.poll()
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        last = next((line for line in reversed(self.errors) if line.strip()), "")
        hint = " (out of memory?)" if code == -9 else ""
        return f"worker ended with {how}{hint}{': ' + last if last else ''}"


@dataclass
class LocalLauncher:
    """Trains jobs on this machine; `cost` orders them."""

    config: WorkerConfig
    n_workers: int
    max_attempts: int
    cost: Callable[[Job], float]
    worker_time: WorkerTime = field(default_factory=WorkerTime)
    _workers: list[_Worker] = field(default_factory=list)
    _attempts: dict[str, int] = field(default_factory=dict)

    def run(
        self, jobs: list[Job], watch: Callable[[list[Job]], None], spare: list[Job] | None = None
    ) -> Iterator[Outcome]:
        """Yield each job's outcome as it ends; `watch` is called now and then with the jobs under way.

        A worker that would have nothing to do takes a job from `spare`, which loses it; one still under way
        when the last of `jobs` ends goes on, and the next `run` yields it.
        On KeyboardInterrupt the workers are asked to save and end before it is raised again.
        """
        waiting = sorted(jobs, key=self.cost, reverse=True)
        spare = [] if spare is None else spare
        due = {job.spec.run_id for job in jobs} | {w.job.spec.run_id for w in self._workers if w.job}
        try:
            while due or waiting:
                self._employ(waiting, spare)
                time.sleep(POLL_SECONDS)
                watch([worker.job for worker in self._workers if worker.job])
                for worker in list(self._workers):
                    for outcome in self._collect(worker, waiting):
                        due.discard(outcome.job.spec.run_id)
                        yield outcome
        except (KeyboardInterrupt, GeneratorExit):
            self.stop()
            raise

    def _employ(self, waiting: list[Job], spare: list[Job]) -> None:
        cores = self._free_cores()
        while waiting and len(self._workers) < min(self.n_workers, len(waiting) + len(self._workers)):
            self._workers.append(_Worker(self.config, cores.pop(0) if cores else None))
        for worker in self._workers:
            queue = waiting or spare
            if worker.job is None and queue:
                job = self._next(queue, worker.last)
                queue.remove(job)
                run_id = job.spec.run_id
                self._attempts[run_id] = self._attempts.get(run_id, 0) + 1
                worker.give(job)

    def _free_cores(self) -> list[int | None]:
        """Cores without a worker; None (no pinning) where one worker has the machine to itself."""
        if self.n_workers == 1 and MeshConfig(**self.config.mesh).n_devices > 1:
            return [None]
        taken = {worker.core for worker in self._workers}
        return [core for core in usable_cores() if core not in taken]

    def _next(self, waiting: list[Job], last: Job | None) -> Job:
        """The most expensive job, but of the worker's compiled shape, or else of a shape that no other worker
        is compiling just now, where such a job costs nearly as much."""
        near = [job for job in waiting if self.cost(job) >= SAME_SHAPE_SHARE * self.cost(waiting[0])]
        elsewhere = [worker.job.spec.model for worker in self._workers if worker.job]
        own = [job for job in near if last is not None and job.spec.model == last.spec.model]
        free = [job for job in near if job.spec.model not in elsewhere]
        return (own or free or waiting)[0]

    def _collect(self, worker: _Worker, waiting: list[Job]) -> Iterator[Outcome]:
        died = worker.process.poll() is not None
        if died:
            time.sleep(POLL_SECONDS)  # Let the reader thread hand over a last reply.
        job = worker.job
        if not worker.replies.empty() and job is not None:
            reply = worker.replies.get()
            spent = self._folder(job).read_state().get("spent", {})
            self.worker_time.finished(worker.in_hand(), spent, worker.n_jobs == 1)
            worker.job = None
            yield Outcome(job, reply["status"], reply.get("error"), self._attempts[job.spec.run_id])
        elif died:
            worker.close()
            self._workers.remove(worker)
            if job is not None:
                self.worker_time.lost(worker.in_hand())
            if job is not None and self._attempts[job.spec.run_id] < self.max_attempts:
                waiting.insert(0, job)
            elif job is not None:
                reason = worker.ending()
                record_failure(self._folder(job), reason)
                yield Outcome(job, "failed", reason, self._attempts[job.spec.run_id])

    def _folder(self, job: Job) -> RunFolder:
        return SweepFolder(Path(self.config.sweep)).run(job.spec.run_id)

    def stop(self) -> None:
        """Ask all workers to save and end; kill those that do not."""
        for worker in self._workers:
            worker.close()
            worker.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for worker in self._workers:
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            if worker.job is not None:
                spent = self._folder(worker.job).read_state().get("spent", {})
                self.worker_time.finished(worker.in_hand(), spent, worker.n_jobs == 1)
        self._workers.clear()

    def close(self) -> None:
        """End idle workers."""
        for worker in self._workers:
            worker.close()
        for worker in self._workers:
            worker.process.wait()
        self._workers.clear()
