"""Launcher for this machine: a pinned, single-threaded worker process per core, or one per device.

Workers stay warm from pack to pack. `harness.launch.queue` decides which pack an idle worker takes.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.execution.execution import MeshConfig
from harness.launch.interface import Handle, Outcome
from harness.launch.local.places import Seat
from harness.launch.local.process import WORKER_COMMAND, WorkerProcess
from harness.launch.queue import by_cost, next_pack, shape
from harness.launch.worker import WorkerConfig
from harness.recipe.spec import Job, Pack
from harness.records.paths import SweepFolder
from harness.records.run_files import RunStatus
from harness.track.worker_time import WorkerTime

STOP_SECONDS = 30.0


class LocalLauncher:
    """Launcher with one worker process per seat.

    Args:
        config: settings of every worker.
        seats: places of the workers.
        cost: FLOPs of a job, which order the queue.
        n_devices: devices of each worker; None means all devices of the mesh.
        command: starts a worker, which speaks the protocol of harness.launch.worker.
    """

    detach = False

    def __init__(
        self,
        config: WorkerConfig,
        seats: list[Seat],
        cost: Callable[[Job], float],
        n_devices: int | None = None,
        command: Sequence[str] = WORKER_COMMAND,
    ):
        self._command = command
        self.n_workers = len(seats)
        self._n_devices = MeshConfig(**config.mesh).n_devices if n_devices is None else n_devices
        self._config = config
        self._seats = seats
        self._cost = cost
        self._worker_time = WorkerTime()
        self._workers: list[WorkerProcess] = []
        self._waiting: list[Handle] = []
        self._ended: list[Handle] = []
        # Set by the threads that read the answers of the workers.
        self._changed = threading.Event()

    def submit(self, pack: Pack, spare: bool = False) -> Handle:
        """Add a pack to the queue; `poll` gives it to a worker."""
        cost = sum(self._cost(job) for job in pack)
        handle = Handle(pack, cost, spare, lambda: self._cancel(handle))
        self._waiting.append(handle)
        return handle

    def poll(self, seconds: float) -> list[Handle]:
        """Give packs to idle workers, and return packs that have ended; wait up to `seconds` for one."""
        self._employ()
        self._changed.wait(seconds)
        self._changed.clear()
        for worker in list(self._workers):
            self._collect(worker)
        self._employ()
        ended, self._ended = self._ended, []
        return ended

    def _employ(self) -> None:
        """Start the workers that the queue needs and give packs to idle ones; spare packs start no worker."""
        queue = by_cost(self._waiting)
        n_due = sum(not handle.spare for handle in queue)
        n_idle = sum(worker.handle is None for worker in self._workers)
        for seat in self._free_seats()[: max(0, n_due - n_idle)]:
            self._workers.append(
                WorkerProcess(self._config, seat, self._n_devices, self._changed, self._command)
            )
        for worker in self._workers:
            if worker.handle is None and queue:
                elsewhere = [shape(other.handle.pack) for other in self._workers if other.handle]
                handle = next_pack(queue, worker.last, elsewhere)
                queue.remove(handle)
                self._waiting.remove(handle)
                handle.status = RunStatus.RUNNING
                worker.give(handle)

    def _free_seats(self) -> list[Seat]:
        """Return the seats without a worker."""
        free = list(self._seats)
        for worker in self._workers:
            free.remove(worker.seat)
        return free

    def _collect(self, worker: WorkerProcess) -> None:
        """Take a worker's answer, or notice that it died with a pack in hand."""
        # In this order: a worker that has ended has already given all its answers, so none can be missed.
        died, reply, handle = worker.has_ended(), worker.reply(), worker.handle
        if reply is not None and handle is not None:
            self._count(worker)
            worker.handle = None
            answers = {answer["run_id"]: answer for answer in reply}
            self._ended.append(
                handle.end(tuple(Outcome.from_reply(job, answers[job.spec.run_id]) for job in handle.pack))
            )
        if died:
            worker.close()
            self._workers.remove(worker)
            if worker.handle is not None:
                self._worker_time.lost(worker.in_hand())
                why = worker.ending(SweepFolder(Path(self._config.sweep)).log)
                retry = not worker.is_hopeless()
                lost = (Outcome(job, RunStatus.FAILED, why, retry) for job in worker.handle.pack)
                self._ended.append(worker.handle.end(tuple(lost)))

    def _count(self, worker: WorkerProcess) -> None:
        """Count the seconds that a worker had its pack in hand, by the kinds that its runs report."""
        assert worker.handle is not None
        folder = SweepFolder(Path(self._config.sweep))
        spent: dict[str, float] = {}
        for job in worker.handle.pack:
            spent |= folder.run(job.spec.run_id).read_state().spent
        self._worker_time.finished(worker.in_hand(), spent, worker.n_packs == 1)

    def _cancel(self, handle: Handle) -> None:
        """Remove a pack from the queue; if it is running, ask its worker to save and end."""
        if handle in self._waiting:
            self._waiting.remove(handle)
            self._ended.append(handle.end(tuple(Outcome(job, RunStatus.INTERRUPTED) for job in handle.pack)))
        for worker in self._workers:
            if worker.handle is handle:
                worker.process.terminate()

    def stop(self) -> None:
        """Ask all workers to save and end; kill those that do not within STOP_SECONDS."""
        for worker in self._workers:
            worker.close()
            worker.process.terminate()
        self._await_end()

    def close(self) -> None:
        """End the workers, which are idle by now; kill those that do not end within STOP_SECONDS.

        If two workers wrote one checkpoint, a thread of Orbax waits five minutes for the save that failed.
        """
        for worker in self._workers:
            worker.close()
        self._await_end()

    def _await_end(self) -> None:
        """Wait for the workers to end, and kill those that do not within STOP_SECONDS."""
        deadline = time.monotonic() + STOP_SECONDS
        for worker in self._workers:
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            if worker.handle is not None:
                self._count(worker)
        self._workers.clear()

    def spent(self, seconds: float) -> dict[str, float]:
        """Return the seconds of workers by kind; they add up to workers × `seconds`."""
        return self._worker_time.total(self.n_workers, seconds)
