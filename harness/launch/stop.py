"""When a worker stops before its runs have ended: told by a signal, left by its parent, or cancelled."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from harness.records.paths import RunFolder, SweepFolder

# How often a run looks whether it has been cancelled.
LOOK_SECONDS = 1.0


def sweep_request(folder: SweepFolder) -> Path:
    """There while the whole sweep is asked to save and stop, see harness.cancel."""
    return folder.runs / "cancel"


def is_cancelled(run: RunFolder) -> bool:
    """Whether this run, or its whole sweep, is asked to save and stop."""
    return run.cancel.exists() or sweep_request(SweepFolder(run.root.parent.parent)).exists()


class StopFlag:
    """Set by SIGTERM, by SIGUSR2 (what schedulers send ahead of time), and when the parent is gone."""

    def __init__(self) -> None:
        # The parent may have died before this line: its number comes from itself.
        self._parent = int(os.environ.get("HARNESS_PARENT") or os.getppid())
        self._told = False
        for number in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, self._on_signal)

    def _on_signal(self, *_: object) -> None:
        self._told = True

    def __call__(self) -> bool:
        return self._told or os.getppid() != self._parent


class StopOrCancel:
    """Whether the worker is to stop, or one of these runs; their folders are looked at once a second."""

    def __init__(self, stop: Callable[[], bool], folders: list[RunFolder]):
        self._stop = stop
        self._folders = folders
        self._looked_at = time.monotonic()

    def __call__(self) -> bool:
        if self._stop():
            return True
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = time.monotonic()
        return any(is_cancelled(folder) for folder in self._folders)
