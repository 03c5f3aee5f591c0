"""Files of leases: which process trains a run, as any other process may read it.

`harness.launch.lease` takes, keeps and releases leases. Everything else only reads.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from harness.records.paths import RunFolder

STALE_SECONDS = 60.0
# Start times that differ by less belong to one process. The kernel counts the start from the time of boot,
# which moves by a second with its rounding.
SAME_START_SECONDS = 3
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Lease:
    """Content of a lease.

    Attributes:
        owner: random name of the owner, unique among all leases.
        host: name of its host, for people.
        system: running system of the owner, see `system`; `pid` means something on that system only.
        pid: process number of the owner.
        started: when that process began, in ticks since boot. A later process may get the same number.
        released: whether the owner has given the lease back.
        disturbed: whether a silent owner of an earlier lease may still wake up and write into the run.
    """

    owner: str
    host: str
    system: str
    pid: int
    started: str
    released: bool = False
    disturbed: bool = False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def holder(folder: RunFolder) -> Lease | None:
    """Return the live lease of a run, by this host's clock; None if no worker trains the run."""
    number = highest(folder.lease)
    return live(folder.lease, number, time.time()) if number else None


def live(leases: Path, number: int, now: float) -> Lease | None:
    """Return a lease if it is neither released nor stale at `now`, and its owner is not known to be dead."""
    try:
        # NFS caches attributes: only opening the file asks the server for the time of the last touch.
        with open(path_of(leases, number)) as file:
            found = Lease(**json.load(file))
            touched = os.fstat(file.fileno()).st_mtime
    except (OSError, ValueError, TypeError):
        return None
    if found.released or now - touched > STALE_SECONDS:
        return None
    if found.system == system() and not _is_alive(found):
        return None
    return found


def content(leases: Path, number: int) -> Lease | None:
    """Return what a lease says, live or not; None if it cannot be read."""
    try:
        return Lease(**json.loads(path_of(leases, number).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _is_alive(owner: Lease) -> bool:
    """Return whether the owner of a lease of this system still runs.

    A start time that this version cannot read proves nothing. Then the heartbeat alone decides, because two
    owners of a run are worse than a minute of waiting.
    """
    started = started_ticks(owner.pid)
    if not started or not owner.started.isdecimal():
        return bool(started)
    return abs(int(started) - int(owner.started)) < SAME_START_SECONDS * TICKS_PER_SECOND


def path_of(leases: Path, number: int) -> Path:
    """Return the file of a lease."""
    return leases / f"{number}.json"


def highest(leases: Path) -> int:
    """Return the number of the lease that counts; 0 if there was none yet."""
    with contextlib.suppress(FileNotFoundError):
        return max((int(name[:-5]) for name in os.listdir(leases) if name[:-5].isdigit()), default=0)
    return 0


@cache
def system() -> str:
    """Return a name of the running system and of its process numbers.

    A host name would not do: containers share it and yet have process numbers of their own.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        # Not Linux: a name of its own, so that no process number is looked up and the heartbeat decides.
        return f"unknown {uuid.uuid4().hex}"


def started_ticks(pid: int) -> str:
    """Return when a process began, in ticks since boot; empty if there is no such process, or a dead one."""
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return ""
        # Since boot, because seconds since the epoch would change whenever somebody sets the clock.
        return str(round((process.create_time() - psutil.boot_time()) * TICKS_PER_SECOND))
    except psutil.NoSuchProcess:
        return ""
