"""Provenance of numbers: code revision, package versions, machine."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

# Root of the repository.
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "pandas", "tokenizers")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Code, package versions and machine of one process.

    Attributes:
        code_revision: commit of the code, with `+` if files differ from it; `v` and the version of an
            installed package.
        code_dirty: whether files differ from the commit; None in old records.
        lock_sha256: SHA-256 of uv.lock; None without the file.
        python: version of Python.
        versions: version by package.
        machine: processor model.
        cores: cores that the process may run on.
        system: operating system.
    """

    code_revision: str
    code_dirty: bool | None = None
    lock_sha256: str | None
    python: str
    versions: dict[str, str]
    machine: str
    cores: int
    system: str


def _git(*arguments: str) -> str | None:
    """Return the output of a git command in the repository; None if it fails."""
    try:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def installed_version() -> str | None:
    """Return the version of the package if this code is an installed one; None in a checkout."""
    try:
        found = distribution("scaling-harness")
    except PackageNotFoundError:
        return None
    own = Path(__file__).resolve()
    # An editable install points to the checkout from elsewhere.
    listed = Path(str(found.locate_file("/".join(own.parts[-3:]))))
    return found.version if listed.resolve() == own else None


# Cached, because rows of points ask for it often and git takes a while.
@cache
def code_revision() -> str:
    """Return the commit of the code, with `+` if files differ from it.

    Of an installed package it is the version, such as `v0.1.0`, even if it lies inside somebody's repository.
    It is `unknown` outside a repository, and without git.
    """
    installed = installed_version()
    if installed is not None:
        return f"v{installed}"
    revision = _git("rev-parse", "--short=12", "HEAD")
    if revision is None:
        return "unknown"
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "harness", "analysis", "sweeps")
    return revision + ("+" if changed else "")


def usable_cores() -> list[int]:
    """Return the cores that this process may run on; all cores if the system cannot tell."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cpu_name() -> str:
    """Return the processor model as the system names it."""
    # By hand, since psutil has no name of the processor, and Python's `platform` none on Linux.
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def provenance() -> Provenance:
    """Return code revision, lock file, package versions and machine of this process."""
    lock = ROOT / "uv.lock"
    return Provenance(
        code_revision=code_revision(),
        code_dirty=code_revision().endswith("+"),
        lock_sha256=hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else None,
        python=platform.python_version(),
        versions={name: version(name) for name in PACKAGES},
        machine=cpu_name(),
        cores=len(usable_cores()),
        system=platform.system(),
    )
