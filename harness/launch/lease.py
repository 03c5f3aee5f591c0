"""Leases: locks with a heartbeat that let one worker at a time train a run.

Drivers and hosts need to share nothing but the file system. A lease is a file `lease/<n>.json`; the highest
number counts. Its owner touches the file every HEARTBEAT_SECONDS. Any process may create the next number if

- the file was not touched for STALE_SECONDS,
- the owner ran on this system and is dead, or
- the file says `released`.

An owner that was believed dead and then finds a higher number ends at once: another process trains the run.

One process alone creates the file (`harness.records.exclusive`). File locks (`flock`, `fcntl`) do not reach
across hosts on every file system. `harness.records.status.lease_file` reads leases.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from harness.records.exclusive import link_new
from harness.records.files import write_json
from harness.records.paths import RunFolder
from harness.records.status.lease_file import (
    STALE_SECONDS,
    Lease,
    content,
    highest,
    live,
    path_of,
    started_ticks,
    system,
)

HEARTBEAT_SECONDS = 5.0
# EX_TEMPFAIL of sysexits.h: try again later.
LOST_EXIT_CODE = 75


class Held(Exception):
    """Another process holds the lease of the run."""


class Silence:
    """Watch over the leases that others hold: one that is not touched for STALE_SECONDS is made stale.

    The clock of this process counts the seconds. The times of files cannot, if a host's clock is ahead: a
    lease that it left behind would seem alive for as long as the clock is wrong.
    """

    def __init__(self) -> None:
        # By run, the time of the last touch and the moment at which this process first saw it.
        self._seen: dict[str, tuple[float, float]] = {}

    def end(self, folder: RunFolder) -> None:
        """Look at the lease of a run, and make it stale if its owner has been silent for too long."""
        with contextlib.suppress(OSError):
            path = path_of(folder.lease, highest(folder.lease))
            touched, now = path.stat().st_mtime, time.monotonic()
            before, since = self._seen.get(folder.run_id, (None, now))
            if touched != before:
                self._seen[folder.run_id] = touched, now
            elif now - since > STALE_SECONDS:
                # An owner that lives after all touches it again within HEARTBEAT_SECONDS.
                os.utime(path, (0, 0))


@contextlib.contextmanager
def held(folder: RunFolder, lost: Callable[[], None] | None = None) -> Iterator[bool]:
    """Hold the lease of a run inside a `with` block; yields whether a silent owner may still be writing.

    Args:
        folder: folder of the run.
        lost: called if another process takes the lease; by default this process ends at once.

    Raises:
        Held: another process holds the lease.
    """
    path, disturbed = _take(folder.lease)
    ended = threading.Event()
    # A thread, so that the heartbeat goes on while the main thread compiles or waits for a device.
    thread = threading.Thread(target=_keep, args=(path, ended, lost or _end_at_once), daemon=True)
    thread.start()
    try:
        yield disturbed
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError):
            _release(path)


def lost_to_another(folder: RunFolder) -> bool:
    """Return whether another process took the run that this one trains, even if it has ended since."""
    owner = content(folder.lease, highest(folder.lease))
    return owner is not None and (owner.system, owner.pid) != (system(), os.getpid())


def _take(leases: Path) -> tuple[Path, bool]:
    """Create the next lease; return its path, and whether a silent owner of before is not known to be dead.

    A lease says so to those after it, because the owner may wake up under any of them.

    Raises Held if another process holds or takes it.
    """
    leases.mkdir(parents=True, exist_ok=True)
    mine = Lease(uuid.uuid4().hex, socket.gethostname(), system(), os.getpid(), started_ticks(os.getpid()))
    draft = leases / f".{mine.owner}.tmp"
    try:
        draft.write_text(json.dumps(asdict(mine)))
        number = highest(leases)
        # The time of a file written just now is the file system's own, so clocks of hosts may differ.
        if number and live(leases, number, draft.stat().st_mtime):
            raise Held(f"{leases.parent} is trained by another process")
        # As of 1970: by the heartbeat alone it would be live, so its owner may wake up.
        before = content(leases, number) if number else None
        silent = before is not None and (before.disturbed or live(leases, number, 0.0) is not None)
        if silent:
            draft.write_text(json.dumps(asdict(replace(mine, disturbed=True))))
        path = path_of(leases, number + 1)
        if not link_new(draft, path):
            raise Held(f"{leases.parent} was taken by another process just now")
    finally:
        draft.unlink(missing_ok=True)
    # Between `_highest` and `link` others may have taken this number, cleared it away and gone on.
    if highest(leases) != number + 1:
        path.unlink(missing_ok=True)
        raise Held(f"{leases.parent} was taken by another process just now")
    for older in range(number, 0, -1):
        try:
            path_of(leases, older).unlink()
        except OSError:  # It is gone already. Or it is a folder, and no lease that counts.
            break
    return path, silent


def _keep(path: Path, ended: threading.Event, lost: Callable[[], None]) -> None:
    """Touch the lease every HEARTBEAT_SECONDS until `ended`; call `lost` if a higher number appears."""
    # The open file, because the name may be deleted and created anew by another process.
    with open(path) as file:
        while not ended.wait(HEARTBEAT_SECONDS):
            if highest(path.parent) != int(path.stem):
                lost()
                return
            # A network file system may be away for a while; the next heartbeat tries again.
            with contextlib.suppress(OSError):
                os.utime(file.fileno())


def _end_at_once() -> None:
    """End this process without any cleanup, because every further write would damage the new owner's run."""
    print("this process was thought dead and another one trains its run now", file=sys.stderr, flush=True)
    os._exit(LOST_EXIT_CODE)


def _release(path: Path) -> None:
    """Mark the lease as released, unless another process has taken over."""
    if highest(path.parent) == int(path.stem):
        try:
            write_json(path, json.loads(path.read_text()) | {"released": True})
        except OSError:
            # A full disk still takes a new time; one long past makes the lease stale.
            os.utime(path, (0, 0))
