"""Sources of documents: the Python code of this environment, or the user's own text.

Listing a source takes milliseconds (names, sizes, times). Its files are read only if no prepared corpus fits.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import io
import json
import os
import sysconfig
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import zstandard

from harness.records.errors import InputError

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
# A long .txt file is cut at paragraph ends into documents of about this many characters. So even one book can
# be split into training and evaluation text.
PIECE_CHARACTERS = 16_384
READ_ERRORS = (OSError, EOFError, UnicodeDecodeError, zlib.error, zstandard.ZstdError, pa.ArrowException)


@dataclass(frozen=True)
class SourceFile:
    """One input file.

    Attributes:
        name: path below the source's root, so that it does not depend on where the environment lives.
        path: path on this machine.
        size: bytes.
        mtime_ns: time of its last change, which is part of the cache key.
    """

    name: str
    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Document:
    """A text with a name that is unique in its corpus."""

    name: str
    text: str


def list_python(packages: tuple[str, ...]) -> list[SourceFile]:
    """List the .py files of the standard library (`stdlib`) and of installed distributions, by name.

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
    return sorted(files, key=lambda file: file.name)


def list_text(path: str | None) -> list[SourceFile]:
    """List one text file, or every text file below a folder, by name.

    Raises:
        InputError: no path is given, it does not exist, or it holds no file of a known kind.
    """
    if not path:
        raise InputError("data=text needs a file or folder: add data.path=FILE_OR_FOLDER")
    root = Path(path).expanduser()
    if not root.exists():
        raise InputError(f"data.path={path} does not exist: give an existing file or folder")
    found = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
    known = [p for p in found if p.name.endswith(TEXT_SUFFIXES)]
    if not known:
        kinds = ", ".join(TEXT_SUFFIXES)
        raise InputError(f"data.path={path} holds no file of a known kind: expected {kinds}")
    base = root.parent if root.is_file() else root
    return [_stat(p.relative_to(base).as_posix(), str(p)) for p in known]


def read_python(files: list[SourceFile]) -> Iterator[Document]:
    """Yield every file that is UTF-8; the others show up as fewer documents in the report."""
    for file in files:
        try:
            yield Document(file.name, Path(file.path).read_bytes().decode("utf-8"))
        except UnicodeDecodeError:
            continue


def read_text(files: list[SourceFile], text_field: str) -> Iterator[Document]:
    """Yield the documents of text, JSON-lines and parquet files.

    Raises:
        InputError: a file is damaged or not UTF-8, or has no text in `text_field`.
    """
    for file in files:
        try:
            yield from _read_one(file, text_field)
        except READ_ERRORS as error:
            kind = type(error).__name__
            raise InputError(
                f"{file.path} cannot be read ({kind}: {error}): expected UTF-8 text in a whole file, "
                "repair or remove it"
            ) from error


def _read_one(file: SourceFile, text_field: str) -> Iterator[Document]:
    """Yield the documents of one file, by its suffix."""
    if file.name.endswith(".txt"):
        text = Path(file.path).read_text(encoding="utf-8")
        pieces = _pieces(text)
        yield from (Document(f"{file.name}:{number}", piece) for number, piece in enumerate(pieces, 1))
    elif file.name.endswith(".parquet"):
        yield from _read_parquet(file, text_field)
    else:
        yield from _read_json_lines(file, text_field)


def _pieces(text: str) -> Iterator[str]:
    """Cut `text` after the first blank line (else line end, else anywhere) past each PIECE_CHARACTERS."""
    start = 0
    while start < len(text):
        earliest = start + PIECE_CHARACTERS
        limit = start + 2 * PIECE_CHARACTERS
        end = limit
        for mark in ("\n\n", "\n"):
            found = text.find(mark, earliest, limit)
            if found >= 0:
                end = found + len(mark)
                break
        yield text[start:end]
        start = end


def _read_parquet(file: SourceFile, text_field: str) -> Iterator[Document]:
    """Yield one document per row; rows are numbered from 1."""
    table = pq.ParquetFile(file.path)
    columns = table.schema_arrow.names
    if text_field not in columns:
        have = ", ".join(columns)
        raise InputError(f"{file.path} has no column {text_field!r} but {have}: set data.text_field=COLUMN")
    number = 0
    # Batch by batch, because a column of text may be larger than memory.
    for batch in table.iter_batches(columns=[text_field]):
        for value in batch.column(0).to_pylist():
            number += 1
            yield Document(f"{file.name}:{number}", _as_text(value, file, number, text_field))


def _read_json_lines(file: SourceFile, text_field: str) -> Iterator[Document]:
    """Yield one document per line that is not blank; lines are numbered from 1."""
    with _open_lines(file.path) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{file.path} line {number} is not JSON ({error}): repair it") from error
            if not isinstance(row, dict) or text_field not in row:
                have = ", ".join(row) if isinstance(row, dict) else type(row).__name__
                raise InputError(
                    f"{file.path} line {number} has no field {text_field!r} but {have}: "
                    "set data.text_field=FIELD"
                )
            yield Document(f"{file.name}:{number}", _as_text(row[text_field], file, number, text_field))


def _open_lines(path: str) -> io.TextIOBase:
    """Open a JSON-lines file, decompressed by its suffix."""
    if path.endswith(".gz"):
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8")
    if path.endswith(".zst"):
        return io.TextIOWrapper(zstandard.open(path, "rb"), encoding="utf-8")
    return open(path, encoding="utf-8")


def _as_text(value: object, file: SourceFile, number: int, text_field: str) -> str:
    """Return a value that is text; raise InputError for any other."""
    if not isinstance(value, str):
        raise InputError(
            f"{file.path} row {number}: expected text in {text_field!r}, got {type(value).__name__}: "
            "set data.text_field to a text field"
        )
    return value


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
