"""Folders of a sweep: where its results and its cache lie, checked before anything is written."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from harness.config.schema import DEFAULT_BUDGET, SweepSettings
from harness.data.text.remote import is_remote
from harness.records.errors import InputError
from harness.records.paths import CACHE, SweepFolder, cache_root

# Longest path of a file below a folder of results or of the cache, and the limit of most systems.
BELOW, MAX_PATH = 250, 4096
TROUBLE = {
    errno.ENAMETOOLONG: "has a name that is too long for this file system",
    errno.ELOOP: "goes through links that lead in a circle",
    errno.EACCES: "lies in a folder that this user may not enter",
}


def cache_folder(settings: SweepSettings) -> Path:
    """Return the folder that keeps corpora and compiled programs between sweeps; raises InputError."""
    if settings.cache_dir is not None:
        return usable_folder("cache_dir", settings.cache_dir).resolve()
    return usable_folder(CACHE, str(cache_root())).resolve()


def sweep_folder(settings: SweepSettings) -> SweepFolder:
    """Return the folder of the sweep: results_dir, or results/<grid>-<budget> without the default budget.

    Raises:
        InputError: the folder cannot be made.
    """
    grid = settings.grid
    suffix = f"-{settings.budget}" if grid.budgets and settings.budget != DEFAULT_BUDGET else ""
    return SweepFolder(usable_folder("results_dir", settings.results_dir or f"results/{grid.name}{suffix}"))


def usable_folder(key: str, typed: str) -> Path:
    """Return a typed path as a folder that is there or can be made.

    Args:
        key: setting or variable that holds the path, for messages.
        typed: the path; `~` is the home folder.

    Raises:
        InputError: a file or a dead link is in the way, or the path is too long or goes in a circle.
    """
    path = _expanded(key, typed)
    if len(os.fsencode(path.absolute())) + BELOW > MAX_PATH:
        raise InputError(f"{key} has {len(typed):,} characters, too many for a path; type a shorter one")
    for part in [path, *path.parents]:
        mode = _mode(key, typed, part)
        if mode is None and part.is_symlink():
            raise InputError(
                f"{key}={typed} goes through {part}, a link to {part.readlink()}, which is not there; make "
                "that folder or type another path"
            )
        if mode is not None and not stat.S_ISDIR(mode):
            raise InputError(f"{key}={typed} names a folder and {part} is a file; type another path")
        if mode is not None:
            break
    return path


def check_source(key: str, typed: str) -> None:
    """Raise InputError if the path of a setting is none that the file system knows, or may not be read."""
    if is_remote(typed):  # Listing it will tell.
        return
    path = _expanded(key, typed)
    mode = _mode(key, typed, path)
    if mode is None and path.is_symlink():
        raise InputError(f"{key}={typed} is a link to {path.readlink()}, which is not there; mend the link")
    if mode is not None and not os.access(path, os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
        raise InputError(f"{key}={typed} may not be read by this user; change its rights")


def _expanded(key: str, typed: str) -> Path:
    """Return a path with the home folder in place of `~`."""
    try:
        return Path(typed).expanduser()
    except RuntimeError:
        raise InputError(f"{key}={typed} names a home folder that is not there; type the path") from None


def _mode(key: str, typed: str, path: Path) -> int | None:
    """Return the mode of a file or folder, None if there is none; `typed` is the setting that holds it."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno not in TROUBLE:
            raise
        raise InputError(f"{key}={typed} {TROUBLE[error.errno]}; type another path") from None
