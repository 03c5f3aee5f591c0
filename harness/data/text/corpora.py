"""Sources of documents: the Python code of this environment, or the user's own text.

Listing a source takes milliseconds (names, sizes, times). Its files are read only if no prepared corpus fits.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import stat
import sysconfig
from dataclasses import dataclass
from pathlib import Path, PurePath

from harness.data.text.remote import is_remote, list_remote
from harness.records.errors import InputError, printable

# Distributions whose .py files make the default corpus. All are run-time dependencies pinned by uv.lock, so
# every environment has the same text.
PYTHON_PACKAGES = (
    "stdlib",
    "absl-py",
    "contourpy",
    "etils",
    "flax",
    "fonttools",
    "fsspec",
    "huggingface-hub",
    "hydra-core",
    "jax",
    "jaxlib",
    "jaxtyping",
    "jinja2",
    "markdown-it-py",
    "matplotlib",
    "numpy",
    "omegaconf",
    "opt-einsum",
    "optax",
    "orbax-checkpoint",
    "pandas",
    "pillow",
    "protobuf",
    "pyarrow",
    "pygments",
    "pyparsing",
    "rich",
    "scipy",
    "tokenizers",
    "tqdm",
    "treescope",
)
# Vendored packages are copies of others, and site-packages may lie inside the standard library's folder.
SKIPPED_FOLDERS = {"site-packages", "dist-packages", "__pycache__", "_vendor", "_vendored"}
TEXT_SUFFIXES = (".txt", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
TOKEN_FILES = (".bin", ".npy", ".ds", ".arrow")  # files of tokens alone


@dataclass(frozen=True)
class SourceFile:
    """One input file.

    Attributes:
        name: path below the source's root, so that it does not depend on where the environment lives.
        path: path from the root of this machine, or address.
        size: bytes.
        mtime_ns: time of its last change, which is part of the cache key; any number that changes with it.
    """

    name: str
    path: str
    size: int
    mtime_ns: int


@functools.cache
def list_python(packages: tuple[str, ...]) -> tuple[SourceFile, ...]:
    """List the .py files of the standard library (`stdlib`) and of installed distributions, by name.

    A process lists them once: it imported from the same files, and replications of a sweep share their text.

    Raises:
        InputError: a distribution is not installed or has no list of its files, or no .py file is found.
    """
    files = []
    for package in packages:
        root, names = _stdlib_files() if package == "stdlib" else _distribution_files(package)
        paths = {name: os.path.join(root, name) for name in names}
        # Some distributors strip files that RECORD still lists.
        files += [_stat(f"{package}/{name}", path) for name, path in paths.items() if os.path.isfile(path)]
    if not files:
        raise InputError(f"data.packages={list(packages)} holds no .py file: add stdlib or a distribution")
    return tuple(sorted(files, key=lambda file: file.name))


def list_files(
    path: str | None, suffixes: tuple[str, ...] = TEXT_SUFFIXES, key: str = "data.path"
) -> list[SourceFile]:
    """List one file, or every file below a folder whose name ends with one of the suffixes, by name.

    The path may be an address that `fsspec` opens.

    Links to folders are followed. A folder that several links lead to is listed once.

    Raises:
        InputError: no path is given, it does not exist, it holds no file of a known kind, or something below
            it cannot be looked at.
    """
    if not path:
        raise InputError(f"a file or folder was expected and none is given: add {key}=FILE_OR_FOLDER")
    if is_remote(path):
        every = [SourceFile(*each) for each in list_remote(path, key)]
        files = [file for file in every if file.name.lower().endswith(suffixes)]
        if not files:
            raise _no_file(key, path, suffixes, [file.name for file in every])
        return files
    try:
        # From the root: prepared corpora and workers that start elsewhere keep these paths.
        root = Path(path).expanduser().absolute()
        found = _found(root, f"{key}={path}")
        known = sorted(each for each in found if each[0].name.lower().endswith(suffixes))
        if not known:
            raise _no_file(key, path, suffixes, [name.as_posix() for name, _ in found])
        return [_stat(name.as_posix(), place) for name, place in known]
    except InputError:  # A ValueError too, whose sentence is whole.
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{key}={path} cannot be listed ({error}): expected files and folders that this user may "
            "read, change the permission or move it elsewhere"
        ) from error


def _found(root: Path, said: str) -> list[tuple[PurePath, str]]:
    """Return the name and place of each file at or below `root`."""
    # os.stat and not Path.exists, which calls a folder that may not be entered missing or raises.
    try:
        is_folder = stat.S_ISDIR(os.stat(root).st_mode)
    except FileNotFoundError:
        raise InputError(f"{said} does not exist: give an existing file or folder") from None
    return _below(root) if is_folder else [(PurePath(root.name), str(root))]


def _no_file(key: str, path: str, suffixes: tuple[str, ...], names: list[str]) -> InputError:
    """Return the error for a folder without a file of a kind, with the setting that reads what is there."""
    text = f"{key}={path} holds no file of a known kind: expected {', '.join(suffixes)}"
    other, kind = (TOKEN_FILES, "tokens") if suffixes == TEXT_SUFFIXES else (TEXT_SUFFIXES, "text")
    fitting = sorted(name for name in names if name.lower().endswith(other))
    if fitting and key in ("data.path", "data.eval_path"):
        text += f"; {printable(fitting[0])} is read by data={kind}"
    return InputError(text)


def _below(root: Path) -> list[tuple[PurePath, str]]:
    """Return the name and place of every file below a folder; raise InputError for a link to nothing.

    Folders behind links come last, so a folder inside `root` keeps its own name.
    """
    found: list[tuple[PurePath, str]] = []
    seen: set[tuple[int, int]] = set()
    waiting, linked = [PurePath()], list[PurePath]()
    while waiting or linked:
        folder = waiting.pop() if waiting else linked.pop(0)
        status = os.stat(root / folder)
        # A link can lead to a folder that contains it.
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(root / folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                name = folder / entry.name
                if entry.is_dir():
                    (linked if entry.is_symlink() else waiting).append(name)
                elif entry.is_file():
                    found.append((name, entry.path))
                elif entry.is_symlink() and not os.path.exists(entry.path):
                    raise InputError(f"{entry.path} is a link to nothing: repair or remove it")
    return found


def _stdlib_files() -> tuple[str, list[str]]:
    """Return the folder of the standard library and its .py files, relative to it."""
    root = sysconfig.get_paths()["stdlib"]
    names = []
    for folder, subfolders, entries in os.walk(root):
        # In place: os.walk then skips these folders.
        subfolders[:] = sorted(set(subfolders) - SKIPPED_FOLDERS)
        # _sysconfigdata holds the paths and compiler flags of one build of Python.
        chosen = [e for e in entries if e.endswith(".py") and not e.startswith("_sysconfigdata")]
        names += [os.path.relpath(os.path.join(folder, entry), root) for entry in chosen]
    return root, names


def _distribution_files(package: str) -> tuple[str, list[str]]:
    """Return the root of an installed distribution and its .py files, relative to it."""
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError(
            f"data.packages names {package!r}, which is not installed: install it or leave it out"
        ) from error
    # RECORD is read as text: parsing it into path objects costs more than all the rest of a warm start.
    record = distribution.read_text("RECORD")
    if record is None:
        raise InputError(f"package {package!r} was installed without a RECORD of its files: reinstall it")
    names = [line.rsplit(",", 2)[0].strip('"') for line in record.splitlines()]
    wanted = [n for n in names if n.endswith(".py") and not SKIPPED_FOLDERS.union([".."]) & set(n.split("/"))]
    return str(distribution.locate_file("")), wanted


def _stat(name: str, path: str) -> SourceFile:
    """Return the source file at `path` with its size and time."""
    status = os.stat(path)
    return SourceFile(name, path, status.st_size, status.st_mtime_ns)
