"""Stores of MLflow: folders of plain files (mlruns) and databases (mlflow.db), read without MLflow."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import yaml

from analysis.trackers.tracked import RunBuilder, TrackedRun, as_logged, told_apart
from harness.records.errors import Damaged

DATABASE = b"SQLite format 3"
META, NAME_TAG = "meta.yaml", "mlflow.runName"
# Numbers of states in meta.yaml; databases hold the words.
STATES = {1: "running", 2: "scheduled", 3: "finished", 4: "failed", 5: "killed"}


def run_folders(folder: Path) -> list[Path]:
    """Return the folders of runs in a store of plain files."""
    return sorted(meta.parent for meta in folder.rglob(META) if (meta.parent / "metrics").is_dir())


def read_files(folder: Path) -> list[TrackedRun]:
    """Return the runs of a store of plain files; deleted ones are left out.

    Raises:
        Damaged: a file of the store does not hold what MLflow writes there.
    """
    return told_apart(list(_from_files(folder)))


def _from_files(folder: Path) -> Iterator[tuple[str, TrackedRun]]:
    for run in run_folders(folder):
        tag = run / "tags" / NAME_TAG
        described, named = _text(run / META), _text(tag).strip() if tag.exists() else None
        try:
            meta = yaml.safe_load(described)
            if meta.get("lifecycle_stage") == "deleted":
                continue
            name = named if named is not None else str(meta.get("run_name") or run.name)
            state = STATES.get(meta.get("status"), str(meta.get("status") or ""))
        except (yaml.YAMLError, AttributeError, TypeError, ValueError, RecursionError) as error:
            raise Damaged(run / META, "it is no description of a run") from error
        builder = RunBuilder(name)
        for path in sorted(file for file in (run / "params").rglob("*") if file.is_file()):
            builder.settings[path.relative_to(run / "params").as_posix()] = _text(path).strip()
        for path in sorted(file for file in (run / "metrics").rglob("*") if file.is_file()):
            metric = path.relative_to(run / "metrics").as_posix()
            for number, line in enumerate(_text(path).splitlines(), 1):
                try:
                    _, value, *step = line.split()[:3]
                    builder.log(metric, float(step[0]) if step else 0.0, float(value))
                except ValueError as error:
                    raise Damaged(path, f"line {number} is no `time value step`") from error
        yield run.name, builder.build("MLflow files", state=state)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Damaged(path, "it is no text") from error


def read_database(path: Path) -> list[TrackedRun]:
    """Return the runs of a database; deleted ones are left out.

    Raises:
        Damaged: it is no database of MLflow.
    """
    try:
        # Opened for reading alone: a tracker may be writing.
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as base:
            return told_apart(list(_from_database(base)))
    except sqlite3.Error as error:
        raise Damaged(path, f"it is no database of MLflow: {error}") from error


def _from_database(base: sqlite3.Connection) -> Iterator[tuple[str, TrackedRun]]:
    chosen = "select run_uuid, name, status from runs where lifecycle_stage = 'active' order by start_time"
    for run_id, name, state in base.execute(chosen).fetchall():
        builder = RunBuilder(str(name or run_id))
        builder.settings |= dict(base.execute("select key, value from params where run_uuid = ?", (run_id,)))
        rows = base.execute(
            "select key, step, value, is_nan from metrics where run_uuid = ? order by key, timestamp, step",
            (run_id,),
        )
        for key, step, value, is_nan in rows:
            at, number = as_logged(step), float("nan") if is_nan else as_logged(value)
            if at is None or number is None:
                raise sqlite3.DatabaseError(f"{key} has the value {value!r} at step {step!r}")
            builder.log(str(key), at, number)
        yield run_id, builder.build("MLflow database", state=str(state or "").lower())
