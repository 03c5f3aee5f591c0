"""Whatever holds runs: a file or folder is looked into, and read by the reader for what is there."""

from __future__ import annotations

import hashlib
from pathlib import Path

from analysis.tables.frames import MARKS
from analysis.trackers.events import MARK, has_events, read_events
from analysis.trackers.exports import read_table_of_runs
from analysis.trackers.mlflow_store import DATABASE, read_database, read_files, run_folders
from analysis.trackers.printed import LARGEST, read_printed
from analysis.trackers.record import SourceFile
from analysis.trackers.tracked import TrackedRun
from analysis.trackers.wandb_files import SUFFIX, read_wandb, wandb_files
from harness.records.errors import Damaged, InputError

KINDS = (
    "a chart or table of W&B as .csv or its own files, event files of TensorBoard, mlruns or mlflow.db of "
    "MLflow, a printed log, or metrics as .jsonl"
)
PRINTED = (".log", ".txt", ".out", ".err", ".jsonl", "")
NOT_OURS = (".pt", ".pth", ".ckpt", ".pkl", ".yaml", ".yml")


def read_source(path: Path) -> list[TrackedRun]:
    """Return the runs in a file or folder.

    Raises:
        InputError: there is nothing, or nothing that is known.
    """
    if not path.exists():
        raise InputError(f"there is no file or folder {path}: expected {KINDS}")
    if path.is_dir():
        return _folder(path)
    if MARK in path.name:
        return read_events(path)
    try:
        with open(path, "rb") as file:
            start = file.read(len(DATABASE))
    except OSError as error:
        raise Damaged(path, (error.strerror or "it cannot be read").lower()) from error
    if start == DATABASE:
        return read_database(path)
    if path.suffix == SUFFIX:
        return read_wandb([path])
    if path.suffix in NOT_OURS:
        raise InputError(f"{path} holds no logged losses: expected {KINDS}")
    if path.suffix.casefold() in PRINTED and path.stat().st_size <= LARGEST:
        # Shells of Windows write what a program prints as UTF-16.
        encoding = next((name for mark, name in MARKS.items() if start.startswith(mark)), "utf-8")
        found = read_printed(path, path.read_text(encoding=encoding, errors="replace"))
        if found is not None:
            return [found]
    try:
        return read_table_of_runs(path)
    except InputError as error:
        if path.suffix.casefold() in PRINTED and path.suffix != ".jsonl":
            raise InputError(
                f"no line of {path} has a loss in a form that is known, such as 'step 250: train loss 2.1, "
                f"val loss 2.3': expected {KINDS}"
            ) from error
        raise


def _folder(path: Path) -> list[TrackedRun]:
    if has_events(path):
        return read_events(path)
    if run_folders(path):
        return read_files(path)
    base = path / "mlflow.db"
    if base.exists():
        return read_database(base)
    files = wandb_files(path)
    if files:
        return read_wandb(files)
    raise InputError(f"folder {path} holds no runs of TensorBoard, MLflow or W&B: expected {KINDS}")


def files_of(path: Path) -> list[Path]:
    """Return the files that `read_source` reads."""
    if path.is_file():
        return [path]
    if has_events(path):
        return sorted(file for file in path.rglob(f"*{MARK}*") if file.is_file())
    return sorted(
        [file for folder in run_folders(path) for file in folder.rglob("*") if file.is_file()]
        or list(path.glob("mlflow.db"))
        or wandb_files(path)
    )


def describe(path: Path) -> list[SourceFile]:
    """Return names, sizes and hashes of the files that were read."""
    return [
        SourceFile(str(file), file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest())
        for file in files_of(path)
    ]
