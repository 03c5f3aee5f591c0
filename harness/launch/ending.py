"""How a command ends that is interrupted, or that the disk refuses."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

from harness.launch.stop import as_interrupt
from harness.records.errors import INTERRUPTED_EXIT_CODE, InputError

DISK_TROUBLE = {
    errno.ENOSPC: ("the disk is full", "free space"),
    errno.EDQUOT: ("the quota of the disk is used up", "free space"),
    errno.EROFS: ("the folder is read-only", "give another results_dir or cache_dir, or mount it writable"),
    errno.ENOTDIR: ("a file stands where a folder was expected", "move it away"),
    errno.EISDIR: ("a folder stands where a file was expected", "move it away"),
}
FORBIDDEN = (errno.EACCES, errno.EPERM)


def interruptible(act: Callable[[], int]) -> int:
    """Return the exit code of `act`, or that of an interrupt; raise InputError if the disk refuses."""
    try:
        with as_interrupt():
            return act()
    except OSError as error:
        trouble = disk_trouble(error)
        if trouble is None:
            raise
        raise InputError(f"{trouble}, then the same command goes on") from error
    except KeyboardInterrupt:
        # After a SIGHUP there is no terminal to print on.
        with contextlib.suppress(OSError):
            print("interrupted; the state is saved, the same command goes on from here", file=sys.stderr)
        return INTERRUPTED_EXIT_CODE


def disk_trouble(error: OSError) -> str | None:
    """Return what the disk refuses and what to do about it; None if the error is of another kind."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in FORBIDDEN:
        path = Path(error.filename or ".").absolute()
        nearest = next(place for place in (path, *path.parents) if os.path.lexists(place))
        if not os.access(nearest, os.R_OK | (os.X_OK if nearest.is_dir() else 0)):
            return f"{nearest} may not be read; change its rights"
        return f"the folder may not be written{where}; give another results_dir or cache_dir, or its rights"
    if error.errno not in DISK_TROUBLE:
        return None
    what, repair = DISK_TROUBLE[error.errno]
    return f"{what}{where}; {repair}"
