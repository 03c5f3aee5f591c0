"""What a run writes about itself: curve parts, finished points, and its state for those who watch.

Curve rows are kept in memory between checkpoints and written as one immutable part file just before a
checkpoint. After a restart the parts beyond the checkpoint are removed, and the same rows are trained again.
Where several processes train one run, the first one writes.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from harness.engine import distributed
from harness.evaluate.loss import EvalResult
from harness.recipe import counting
from harness.recipe.schedule import Segment
from harness.recipe.spec import Job
from harness.records.columns import CURVE_COLUMNS, EVAL_COLUMNS, ITEM_COLUMNS, as_table
from harness.records.files import write_json, write_table
from harness.records.paths import RunFolder
from harness.runs.rows import point_row, unmeasured
from harness.runs.state import retries_after
from harness.train.stopwatch import Stopwatch

STATE_SECONDS = 1.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PointResult:
    """Evaluation at one end point; `n_unique_tokens` ≤ `n_tokens` counts text seen for the first time."""

    n_tokens: int
    n_unique_tokens: int
    result: EvalResult


class Journal:
    """Writes the files of one run."""

    def __init__(self, folder: RunFolder, job: Job, stopwatch: Stopwatch, n_lanes: int = 1):
        self._folder = folder
        self._job = job
        self._stopwatch = stopwatch
        self._writes = distributed.is_first()
        self._rows: list[dict[str, Any]] = []
        self._segment = "trunk"
        before = folder.read_state()
        self._progress: dict[str, Any] = {
            "status": "running",
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "retries": retries_after(before),
        }
        if n_lanes > 1:
            # Of the program that trains it: the last bits of its numbers depend on it.
            self._progress["n_lanes"] = n_lanes
        if "failures" in before:
            self._progress["failures"] = before["failures"]
        self._written_at = 0.0
        self._began = time.monotonic()
        self._point_began = time.monotonic()
        self._put(folder.spec, job.spec.to_dict())

    def _put(self, path: Path, value: Any) -> None:
        if self._writes:
            write_json(path, value)

    def warn(self, text: str) -> None:
        """Keep a warning for the user: in the run's log, and in its state for those who watch."""
        self._progress["warnings"] = [*self._progress.get("warnings", []), text]
        log.warning("%s", text)
        if self._writes:
            with open(self._folder.log, "a") as file:
                file.write(f"warning: {text}\n")

    def start(self, tokens_ahead: int) -> None:
        """Say how much work lies ahead."""
        self._progress |= {"tokens_ahead": tokens_ahead, "tokens_trained": 0}
        self._write_state()

    def log(
        self,
        segment: Segment,
        step: int,
        train_loss: float,
        eval_loss: float | None,
        hidden_lr: float,
        grad_norm: float,
        tokens_per_second: float,
    ) -> None:
        """Keep one row of the curve, and tell watchers now and then."""
        if segment.name != self._segment:
            self.flush()
            self._segment = segment.name
        spec = self._job.spec
        n_tokens = step * spec.batch_tokens
        self._rows.append(
            {
                "run_id": spec.run_id,
                "point_id": None if segment.n_tokens is None else spec.point_id(segment.n_tokens),
                "step": step,
                "n_tokens": n_tokens,
                "flops": counting.train_flops(spec.model, n_tokens),
                "train_loss": train_loss,
                "eval_loss": eval_loss,
                "hidden_lr": hidden_lr,
                "grad_norm": grad_norm,
                "tokens_per_second": tokens_per_second,
            }
        )
        self._progress["tokens_trained"] += spec.log_interval * spec.batch_tokens
        self._progress |= {"loss": train_loss, "tokens_per_second": tokens_per_second}
        if time.monotonic() - self._written_at > STATE_SECONDS:
            self._write_state()

    def flush(self) -> None:
        """Write the rows kept so far as one part."""
        if self._rows and self._writes:
            first, last = self._rows[0]["step"], self._rows[-1]["step"]
            path = self._folder.curve_part(self._segment, first, last)
            write_table(path, as_table(self._rows, CURVE_COLUMNS))
        self._rows = []

    def rewind(self, segment: str, step: int) -> None:
        """Forget the parts of a segment that lie beyond `step`; they will be trained again."""
        self.flush()
        for path in self._folder.curves.glob(f"{segment}-*.parquet"):
            if self._writes and int(path.stem.rsplit("-", 2)[1]) > step:
                path.unlink()

    def write_point(self, point: PointResult) -> None:
        """Record a finished end point."""
        row = point_row(self._job.spec, point.n_tokens) | self._where_and_how_long()
        row |= {
            "n_unique_tokens": point.n_unique_tokens,
            "loss": point.result.loss,
            "loss_sem": point.result.loss_sem,
            "bits_per_byte": point.result.bits_per_byte,
            "status": "done",
            "excluded_reason": None,
        }
        self._put(self._folder.point(row["point_id"]), row)
        self._point_began = time.monotonic()

    def write_step_evals(self, n_tokens: int, rows: list[dict[str, Any]]) -> None:
        """Record a task evaluation on the trunk; trained again, a step writes the same file."""
        self._put_evals(self._folder.step_evals(n_tokens), rows, EVAL_COLUMNS, n_tokens, None)

    def write_point_evals(
        self, n_tokens: int, rows: list[dict[str, Any]], items: list[dict[str, Any]]
    ) -> None:
        """Record the task evaluation of an end point, before the point itself says that it is finished."""
        point_id = self._job.spec.point_id(n_tokens)
        self._put_evals(self._folder.point_evals(point_id), rows, EVAL_COLUMNS, n_tokens, point_id)
        self._put_evals(self._folder.point_items(point_id), items, ITEM_COLUMNS, n_tokens, point_id)

    def _put_evals(
        self,
        path: Path,
        rows: list[dict[str, Any]],
        columns: dict[str, str],
        n_tokens: int,
        point_id: str | None,
    ) -> None:
        if self._writes:
            shared = {"run_id": self._job.spec.run_id, "point_id": point_id, "n_tokens": n_tokens}
            write_table(path, as_table([shared | row for row in rows], columns))

    def write_diverged(self, n_tokens: list[int], reason: str) -> None:
        """Record the points that a diverged run did not reach."""
        self.flush()
        for tokens in n_tokens:
            path = self._folder.point(self._job.spec.point_id(tokens))
            if not path.exists():
                row = unmeasured(self._job.spec, tokens, "diverged", reason)
                self._put(path, row | self._where_and_how_long())
        self.set_status("diverged", reason)

    def set_status(self, status: str, error: str | None = None) -> None:
        self._progress |= {"status": status, "error": error}
        self._write_state()

    def _write_state(self) -> None:
        seconds = time.monotonic() - self._began
        now = {"seconds": seconds, "spent": self._stopwatch.spent(), "updated": time.time()}
        self._put(self._folder.state, self._progress | now)
        self._written_at = time.monotonic()

    def _where_and_how_long(self) -> dict[str, Any]:
        return {"seconds": time.monotonic() - self._point_began, "device": jax.devices()[0].device_kind}
