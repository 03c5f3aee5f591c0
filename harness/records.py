"""The contract between harness and analysis: file names and tables of a sweep.

`points.parquet` holds one row per finished end point, `curves.parquet` one row per logged step. Sweeps with
tasks also have `evals.parquet`, one row per metric, and `items.parquet`, one row per item of an end point.
Units and meanings of every column stand in results/README.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

POINT_COLUMNS: dict[str, str] = {
    "run_id": "string",
    "trunk_id": "string",
    "point_id": "string",
    "grid": "string",
    "rung": "string",
    "seed": "int64",
    "n_layers": "int64",
    "d_model": "int64",
    "n_params": "int64",
    "n_params_matmul": "int64",
    "n_params_body": "int64",
    "n_tokens": "int64",
    "n_unique_tokens": "int64",
    "flops": "float64",
    "flops_6nd": "float64",
    "loss": "float64",
    "loss_sem": "float64",
    "bits_per_byte": "float64",
    "peak_lr": "float64",
    "embed_lr": "float64",
    "head_lr": "float64",
    "gain_lr": "float64",
    "batch_tokens": "int64",
    "n_steps": "int64",
    "schedule": "string",
    "cooled": "bool",
    "role": "string",
    "status": "string",
    "excluded_reason": "string",
    "seconds": "float64",
    "device": "string",
    "code_revision": "string",
    "corpus_id": "string",
    "tokenizer_id": "string",
    "vocab_size": "int64",
    "unigram_nats": "float64",
}

CURVE_COLUMNS: dict[str, str] = {
    "run_id": "string",
    "point_id": "string",
    "step": "int64",
    "n_tokens": "int64",
    "flops": "float64",
    "train_loss": "float64",
    "eval_loss": "float64",
    "lr": "float64",
    "grad_norm": "float64",
    "tokens_per_second": "float64",
}

EVAL_COLUMNS: dict[str, str] = {
    "run_id": "string",
    "point_id": "string",
    "n_tokens": "int64",
    "task": "string",
    "length": "int64",
    "n_shot": "int64",
    "split": "string",
    "metric": "string",
    "value": "float64",
    "sem": "float64",
    "n_items": "int64",
    "chance": "float64",
}

ITEM_COLUMNS: dict[str, str] = {
    "run_id": "string",
    "point_id": "string",
    "n_tokens": "int64",
    "task": "string",
    "length": "int64",
    "n_shot": "int64",
    "item": "int64",
    "n_positions": "int64",
    "hits": "int64",
    "exact_match": "bool",
    "log_p_answer": "float64",
    "nll_per_token": "float64",
    "margin": "float64",
}

# Columns that say how a run went on a machine rather than what it computed.
TIMING_COLUMNS = ("seconds", "tokens_per_second", "device", "code_revision")


class InputError(ValueError):
    """What the user gave cannot be used; the text says what was expected, what came, what to type."""


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    with _replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A name to write to, of this process on this host alone, that takes the place of `path` at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        # On a full disk a part of a file would only take up room.
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically as indented JSON with a final newline."""
    write_atomic(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a parquet table atomically."""
    with _replacing(path) as temporary:
        frame.to_parquet(temporary, index=False)


def as_table(rows: list[dict[str, Any]] | pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Return rows as a frame with exactly `columns`, in order and with their types."""
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


@dataclass(frozen=True)
class SweepFolder:
    """Every file name under results/<sweep>/."""

    root: Path

    @property
    def sweep(self) -> Path:
        return self.root / "sweep.json"

    @property
    def points(self) -> Path:
        return self.root / "points.parquet"

    @property
    def curves(self) -> Path:
        return self.root / "curves.parquet"

    @property
    def evals(self) -> Path:
        return self.root / "evals.parquet"

    @property
    def items(self) -> Path:
        return self.root / "items.parquet"

    @property
    def forecast(self) -> Path:
        return self.root / "forecast.json"

    @property
    def optim(self) -> Path:
        """The recipe that a learning-rate sweep found."""
        return self.root / "optim.yaml"

    @property
    def fits(self) -> Path:
        return self.root / "fits.json"

    @property
    def emergence(self) -> Path:
        """Verdicts on the tasks of a sweep that has evals.parquet."""
        return self.root / "emergence.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def run(self, run_id: str) -> RunFolder:
        return RunFolder(self.runs / run_id)


@dataclass(frozen=True)
class RunFolder:
    """Every file name under results/<sweep>/runs/<run_id>/."""

    root: Path

    @property
    def run_id(self) -> str:
        return self.root.name

    @property
    def spec(self) -> Path:
        return self.root / "spec.json"

    @property
    def state(self) -> Path:
        return self.root / "state.json"

    def read_state(self) -> dict[str, Any]:
        """What the run last said about itself; empty when it has not begun."""
        with contextlib.suppress(OSError, json.JSONDecodeError):
            return dict(json.loads(self.state.read_text()))
        return {}

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def lease(self) -> Path:
        """Who trains the run, see harness.launch.lease."""
        return self.root / "lease"

    @property
    def submission(self) -> Path:
        """Where the run was queued: launcher, job number and log."""
        return self.root / "submission.json"

    @property
    def cancel(self) -> Path:
        """There while the run is asked to save and stop; that of the whole sweep lies beside the runs."""
        return self.root / "cancel"

    @property
    def provenance(self) -> Path:
        """Code, versions, machine, configuration and command of every attempt."""
        return self.root / "provenance.json"

    @property
    def sinks(self) -> Path:
        return self.root / "sinks.json"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def curves(self) -> Path:
        return self.root / "curves"

    @property
    def points(self) -> Path:
        return self.root / "points"

    def point(self, point_id: str) -> Path:
        return self.points / f"{point_id}.json"

    @property
    def evals(self) -> Path:
        return self.root / "evals"

    @property
    def items(self) -> Path:
        return self.root / "items"

    def point_evals(self, point_id: str) -> Path:
        return self.evals / f"{point_id}.parquet"

    def step_evals(self, n_tokens: int) -> Path:
        """Of the trunk after so many tokens."""
        return self.evals / f"trunk-{n_tokens:015d}.parquet"

    def point_items(self, point_id: str) -> Path:
        return self.items / f"{point_id}.parquet"

    def curve_part(self, segment: str, first: int, last: int) -> Path:
        return self.curves / f"{segment}-{first:09d}-{last:09d}.parquet"
