"""Who trains a run: a lease in its folder, for drivers and hosts that share nothing but the file system.

A lease is a file `lease/<n>.json` that only one process can create, since a hard link never replaces a file
(locks of the system do not reach across hosts on every file system). The highest number counts. Its owner
touches it every few seconds; once it has not been touched for STALE_SECONDS, or its owner is known to be
dead, or it says `released`, anybody may create the next number. An owner that was thought dead and finds a
higher number ends at once: the run is in other hands.
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
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import psutil

from harness.records.files import write_json
from harness.records.paths import RunFolder

HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 60.0
LOST_EXIT_CODE = 75
# Times of start that differ by less are those of one process: the kernel's time of boot, which the start is
# counted from, moves by a second with its rounding.
SAME_START_SECONDS = 3
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Held(Exception):
    """Somebody else trains the run."""


@dataclass(frozen=True)
class Lease:
    """Content of a lease; `system` tells whether `pid` can be looked up here, `started` whether it is that
    process still."""

    owner: str
    host: str
    system: str
    pid: int
    started: str
    released: bool = False


def holder(folder: RunFolder) -> Lease | None:
    """Who trains a run, or None where nobody does, as far as this host's clock can tell."""
    number = _highest(folder.lease)
    return _live(folder.lease, number, time.time()) if number else None


@contextlib.contextmanager
def held(folder: RunFolder, lost: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a run for this process; raises Held where another has it. `lost` is called if it is taken away."""
    path = _take(folder.lease)
    ended = threading.Event()
    thread = threading.Thread(target=_keep, args=(path, ended, lost or _end_at_once), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError):
            _release(path)


def _take(leases: Path) -> Path:
    leases.mkdir(parents=True, exist_ok=True)
    mine = Lease(uuid.uuid4().hex, socket.gethostname(), _system(), os.getpid(), _started(os.getpid()))
    draft = leases / f".{mine.owner}.tmp"
    try:
        draft.write_text(json.dumps(asdict(mine)))
        number = _highest(leases)
        # A file touched now tells the file system's own time, whatever the clocks of the hosts say.
        if number and _live(leases, number, draft.stat().st_mtime):
            raise Held(f"{leases.parent} is trained by another process")
        path = _path(leases, number + 1)
        try:
            os.link(draft, path)
        except FileExistsError:
            raise Held(f"{leases.parent} was taken by another process just now") from None
    finally:
        draft.unlink(missing_ok=True)
    if _highest(leases) != number + 1:  # The numbers went on, and this one had been cleared away.
        path.unlink(missing_ok=True)
        raise Held(f"{leases.parent} was taken by another process just now")
    for older in range(number, 0, -1):
        try:
            _path(leases, older).unlink()
        except FileNotFoundError:
            break
    return path


def _keep(path: Path, ended: threading.Event, lost: Callable[[], None]) -> None:
    """Touch the lease until `ended`; the open file stays ours even if the name is another's by then."""
    with open(path) as file:
        while not ended.wait(HEARTBEAT_SECONDS):
            if _highest(path.parent) != int(path.stem):
                lost()
                return
            with contextlib.suppress(OSError):
                os.utime(file.fileno())


def _end_at_once() -> None:
    print("this process was thought dead and another one trains its run now", file=sys.stderr, flush=True)
    os._exit(LOST_EXIT_CODE)


def _release(path: Path) -> None:
    if _highest(path.parent) == int(path.stem):
        try:
            write_json(path, json.loads(path.read_text()) | {"released": True})
        except OSError:  # A full disk still takes a time: one long past.
            os.utime(path, (0, 0))


def _live(leases: Path, number: int, now: float) -> Lease | None:
    """The lease if its owner is alive at the time `now`, as far as anybody can tell."""
    try:
        # Opened, since only then do network file systems ask for the time of the last touch.
        with open(_path(leases, number)) as file:
            found = Lease(**json.load(file))
            touched = os.fstat(file.fileno()).st_mtime
    except (OSError, ValueError, TypeError):
        return None
    if found.released or now - touched > STALE_SECONDS:
        return None
    if found.system == _system() and not _is_alive(found):
        return None
    return found


def _is_alive(owner: Lease) -> bool:
    """Whether the process of a lease of this system still runs.

    A start that this version cannot read is no proof of death: then the heartbeat alone decides, since two
    owners of a run are worse than a minute of waiting.
    """
    started = _started(owner.pid)
    if not started or not owner.started.isdecimal():
        return bool(started)
    return abs(int(started) - int(owner.started)) < SAME_START_SECONDS * TICKS_PER_SECOND


def _path(leases: Path, number: int) -> Path:
    return leases / f"{number}.json"


def _highest(leases: Path) -> int:
    """Number of the lease that counts, 0 where there was none yet."""
    with contextlib.suppress(FileNotFoundError):
        return max((int(name[:-5]) for name in os.listdir(leases) if name[:-5].isdigit()), default=0)
    return 0


@cache
def _system() -> str:
    """Names the running system and its process numbers; containers may share a host name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"unknown {uuid.uuid4().hex}"


def _started(pid: int) -> str:
    """Return when a process began, in ticks since boot; empty if there is no such process, or a dead one."""
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return ""
        # Since boot: seconds since the epoch would change whenever somebody sets the clock.
        return str(round((process.create_time() - psutil.boot_time()) * TICKS_PER_SECOND))
    except psutil.NoSuchProcess:
        return ""
