"""Early stop of a worker or driver: by a signal, by the death of its parent, or by a cancel request.

The training loop asks between two intervals, saves a checkpoint and ends. Signal handlers only set a flag,
because a handler may interrupt a checkpoint that is being written.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.records.paths import RunFolder, SweepFolder

# Seconds between two looks for cancel requests: each look costs a request to a network file system.
LOOK_SECONDS = 1.0


def sweep_request(folder: SweepFolder) -> Path:
    """Return the file that exists while the whole sweep is asked to save and stop, see harness.cancel."""
    return folder.runs / "cancel"


def is_cancelled(run: RunFolder) -> bool:
    """Return whether this run, or its whole sweep, is asked to save and stop."""
    return run.cancel.exists() or sweep_request(SweepFolder(run.root.parent.parent)).exists()


@contextlib.contextmanager
def as_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a `with` block as Ctrl-C does: by a KeyboardInterrupt, and by one alone.

    Schedulers and closed terminals send these. A signal that is ignored, as under nohup, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    mine = [number for number, handler in before.items() if handler == signal.SIG_DFL]

    def interrupt(*_: object) -> None:
        # A second one must not break off the saving that the first one began.
        for number in mine:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in mine:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, before[number])


class StopFlag:
    """Flag that asks a worker to stop.

    SIGTERM and SIGUSR2 set it (Slurm and submitit send these ahead of the kill), and so does the death of the
    parent: a driver that was killed can no longer ask its workers to stop.
    """

    def __init__(self) -> None:
        # The parent passes its own number, because it may have died before this line asks for it.
        self._parent = int(os.environ.get("HARNESS_PARENT") or os.getppid())
        self._told = False
        for number in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, self._on_signal)

    def _on_signal(self, *_: object) -> None:
        self._told = True

    def __call__(self) -> bool:
        """Return whether the worker is to stop."""
        # The system gives an orphan another parent.
        return self._told or os.getppid() != self._parent


class StopOrCancel:
    """Stop flag of a pack: set if the worker is to stop, or if one of the runs is cancelled.

    Args:
        stop: stop flag of the worker.
        folders: folders of the pack's runs, looked at every LOOK_SECONDS.
    """

    def __init__(self, stop: Callable[[], bool], folders: list[RunFolder]):
        self._stop = stop
        self._folders = folders
        self._looked_at = time.monotonic()

    def __call__(self) -> bool:
        """Return whether the pack is to stop."""
        if self._stop():
            return True
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = time.monotonic()
        return any(is_cancelled(folder) for folder in self._folders)
