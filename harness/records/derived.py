"""Record of what the derived files of a sweep were made from: derived.json.

Tables, fits and report are made in stages. A stage is up to date while its inputs have the recorded
hash and its files the recorded content. After a kill between a file and this record, the stage is made again.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.records.errors import InputError
from harness.records.files import remove
from harness.records.json_files import read_record, write_record
from harness.records.paths import SweepFolder

DERIVED_SCHEMA = 1


class Stage(StrEnum):
    """Derived files that are made together."""

    TABLES = "tables"
    """points.parquet, curves.parquet, evals.parquet and items.parquet, from the files of the runs."""
    FITS = "fits"
    """fits.json and optim.yaml, from the tables and the sealed forecast."""
    TASKS = "tasks"
    """emergence.json, from the tables of task evaluations."""
    REPORT = "report"
    """report.html and the figures, from tables, forecast, fits and verdicts on tasks."""


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        n_bytes: its size.
        crc32: checksum of its bytes.
    """

    n_bytes: int
    crc32: int


@dataclass(frozen=True)
class Made:
    """A stage as it was made last.

    Attributes:
        made_from: hash of its inputs.
        files: content of its files, by their path below the sweep's folder.
    """

    made_from: str
    files: Mapping[str, Content]


@dataclass(frozen=True, kw_only=True)
class DerivedRecord:
    """Content of derived.json.

    Attributes:
        schema: version of the keys.
        stages: the stages that were made to their end.
    """

    schema: int = DERIVED_SCHEMA
    stages: Mapping[Stage, Made] = field(default_factory=dict)


def content_of(path: Path) -> Content | None:
    """Return what a file holds; None if there is no such file."""
    try:
        data = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    return Content(len(data), zlib.crc32(data))


def hash_of(*inputs: Any) -> str:
    """Return a hash of JSON values."""
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def hash_of_files(paths: Iterable[Path], *more: Any) -> str:
    """Return a hash of the content of files, of which some may be missing, and of JSON values."""
    found = [(path.name, content_of(path)) for path in paths]
    return hash_of([(name, content and (content.n_bytes, content.crc32)) for name, content in found], *more)


def was_made(folder: SweepFolder, stage: Stage) -> bool:
    """Return whether a stage was ever made in this folder, from whatever inputs."""
    return stage in _read(folder).stages


def is_current(folder: SweepFolder, stage: Stage, made_from: str) -> bool:
    """Return whether the files of a stage were made from these inputs and hold what was written."""
    made = _read(folder).stages.get(stage)
    if made is None or made.made_from != made_from:
        return False
    return all(content_of(folder.root / name) == content for name, content in made.files.items())


def record_made(folder: SweepFolder, stage: Stage, made_from: str, files: Iterable[Path]) -> None:
    """Record that a stage was made, and delete its earlier files that were not made again."""
    before = _read(folder)
    contents = {path.relative_to(folder.root).as_posix(): content_of(path) for path in files}
    known = {name: content for name, content in contents.items() if content is not None}
    for name in before.stages[stage].files if stage in before.stages else ():
        # Names come from a file, and none outside the folder is ours.
        if name not in known and (folder.root / name).resolve().is_relative_to(folder.root.resolve()):
            remove(folder.root / name)
    write_record(folder.derived, DerivedRecord(stages={**before.stages, stage: Made(made_from, known)}))


def _read(folder: SweepFolder) -> DerivedRecord:
    """Return derived.json; no stage if it is missing or damaged, so that everything is made again."""
    try:
        return read_record(folder.derived, DerivedRecord, DERIVED_SCHEMA)
    except InputError:
        return DerivedRecord()
