"""What lies below the folder that is served: sweeps, studies of replications, and files a browser may fetch.

Links to other folders are not followed, so nothing outside the folder is shown.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from harness.records.paths import SweepFolder

SWEEP, REPLICATIONS = "sweep.json", "replications.json"
REPORT = "report.html"
# Files of a sweep that a browser may fetch.
SERVED = re.compile(r"report\.html|figures/[A-Za-z0-9_-][A-Za-z0-9_.-]*\.(svg|png)")


@dataclass(frozen=True)
class Found:
    """Folders below the one that is served, by their path relative to it with slashes.

    Attributes:
        sweeps: folders with a sweep.json.
        replications: folders with a study of replications.
    """

    sweeps: dict[str, Path] = field(default_factory=dict)
    replications: dict[str, Path] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, Path]:
        """Both kinds of folders."""
        return self.sweeps | self.replications


def find_folders(root: Path) -> Found:
    """Return the sweeps below a folder, at whatever depth; none inside another sweep.

    Args:
        root: the folder, without links in its path. If it is a sweep itself, its name is that of the folder.
    """
    found = Found()
    for folder, inner, files in os.walk(root):
        path = Path(folder)
        name = path.relative_to(root).as_posix() if path != root else root.name
        if REPLICATIONS in files and not (path / REPLICATIONS).is_symlink():
            found.replications[name] = path
        if SWEEP in files and not SweepFolder(path).sweep.is_symlink():
            found.sweeps[name] = path
            inner.clear()
        inner[:] = sorted(each for each in inner if not each.startswith("."))
    return found


def served_file(root: Path, folder: Path, name: str) -> Path | None:
    """Return a file of a sweep that a browser may fetch.

    Args:
        root: the folder that is served, without links in its path.
        folder: folder of the sweep.
        name: path of the file relative to it, as the browser asks for it.

    Returns:
        The file, without links in its path; None if it is no report and no figure, if it is missing, or if
        a link leads out of `root`.
    """
    if not SERVED.fullmatch(name):
        return None
    try:
        path = (folder / name).resolve(strict=True)
    except (OSError, RuntimeError):  # Missing, or a link in a circle.
        return None
    return path if path.is_relative_to(root) and path.is_file() else None
