"""The journal of a run: writes its curve, finished points, task results and status files.

Curve rows stay in memory between checkpoints. Just before a checkpoint they are written as one immutable part
file. A restart removes the parts after its checkpoint and trains the same rows again.
If several processes train one run, only the first one writes.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
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
from harness.records.run_files import RunStatus
from harness.runs.rows import point_row, unmeasured
from harness.runs.state import begun, write_state
from harness.train.stopwatch import Stopwatch

# Least seconds between two writes of the status file, which monitors poll.
STATE_SECONDS = 1.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PointResult:
    """Evaluation of one end point.

    Attributes:
        n_tokens: Training tokens, repeats counted.
        n_unique_tokens: Distinct training tokens, at most `n_tokens`.
        result: Loss on the evaluation set.
    """

    n_tokens: int
    n_unique_tokens: int
    result: EvalResult


class Journal:
    """Writer of the files of one run.

    Args:
        folder: Folder of the run.
        job: Recipe and token counts.
        stopwatch: Seconds of the run by kind.
        n_lanes: Lanes of the program that trains the run; 1 if it trains alone.
    """

    def __init__(self, folder: RunFolder, job: Job, stopwatch: Stopwatch, n_lanes: int = 1):
        self._folder = folder
        self._job = job
        self._stopwatch = stopwatch
        self._writes = distributed.is_first()
        self._rows: list[dict[str, Any]] = []
        self._segment = "trunk"
        self._state = begun(folder, n_lanes)
        self._written_at = 0.0
        self._began = time.monotonic()
        self._point_began = time.monotonic()
        self._put(folder.spec, job.spec.to_dict())

    def _put(self, path: Path, value: Any) -> None:
        """Write a JSON file, if this is the first process."""
        if self._writes:
            write_json(path, value)

    def warn(self, text: str) -> None:
        """Record a warning in the run's log file and in its status file."""
        self._state = replace(self._state, warnings=(*self._state.warnings, text))
        log.warning("%s", text)
        if self._writes:
            with open(self._folder.log, "a") as file:
                file.write(f"warning: {text}\n")

    def start(self, tokens_ahead: int) -> None:
        """Record the tokens to train, from which `harness.status` computes progress."""
        self._state = replace(self._state, tokens_ahead=tokens_ahead, tokens_trained=0)
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
        """Add one row to the curve, and update the status file about once per second.

        Args:
            segment: Trunk or branch.
            step: Steps trained so far.
            train_loss: Mean training loss of the interval, nats per token.
            eval_loss: Loss on the curve's evaluation set, nats per token; None if not evaluated.
            hidden_lr: Learning rate of the hidden matrices at the last step.
            grad_norm: Global norm of the gradient at the last step, before clipping.
            tokens_per_second: Speed of the interval, evaluation included.
        """
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
        self._state = replace(
            self._state,
            tokens_trained=(self._state.tokens_trained or 0) + spec.log_interval * spec.batch_tokens,
            loss=train_loss,
            tokens_per_second=tokens_per_second,
        )
        if time.monotonic() - self._written_at > STATE_SECONDS:
            self._write_state()

    def flush(self) -> None:
        """Write the rows in memory as one part file."""
        if self._rows and self._writes:
            first, last = self._rows[0]["step"], self._rows[-1]["step"]
            # Parts, because one growing parquet file would be rewritten whole at every checkpoint.
            path = self._folder.curve_part(self._segment, first, last)
            write_table(path, as_table(self._rows, CURVE_COLUMNS))
        self._rows = []

    def rewind(self, segment: str, step: int) -> None:
        """Delete the curve parts of a segment after `step`; their rows will be trained again."""
        self.flush()
        for path in self._folder.curves.glob(f"{segment}-*.parquet"):
            if self._writes and int(path.stem.rsplit("-", 2)[1]) > step:
                path.unlink()

    def write_point(self, point: PointResult) -> None:
        """Write a finished end point."""
        row = point_row(self._job.spec, point.n_tokens) | self._where_and_how_long()
        row |= {
            "n_unique_tokens": point.n_unique_tokens,
            "loss": point.result.loss,
            "loss_sem": point.result.loss_sem,
            "bits_per_byte": point.result.bits_per_byte,
            "status": RunStatus.DONE,
            "excluded_reason": None,
        }
        self._put(self._folder.point(row["point_id"]), row)
        self._point_began = time.monotonic()

    def write_step_evals(self, n_tokens: int, rows: list[dict[str, Any]]) -> None:
        """Write a task evaluation of the trunk; after a restart the same step writes the same file."""
        self._put_evals(self._folder.step_evals(n_tokens), rows, EVAL_COLUMNS, n_tokens, None)

    def write_point_evals(
        self, n_tokens: int, rows: list[dict[str, Any]], items: list[dict[str, Any]]
    ) -> None:
        """Write the task evaluation of an end point, before `write_point` marks the point finished."""
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
        """Write the points that a diverged run did not reach, with the reason, and the run's status."""
        self.flush()
        for tokens in n_tokens:
            path = self._folder.point(self._job.spec.point_id(tokens))
            # Branches that ended before the divergence keep their points.
            if not path.exists():
                row = unmeasured(self._job.spec, tokens, RunStatus.DIVERGED, reason)
                self._put(path, row | self._where_and_how_long())
        self.set_status(RunStatus.DIVERGED, reason)

    def set_status(self, status: RunStatus, error: str | None = None) -> None:
        """Write the status of the run: DONE, DIVERGED or INTERRUPTED."""
        self._state = replace(self._state, status=status, error=error)
        self._write_state()

    def _write_state(self) -> None:
        if self._writes:
            seconds = time.monotonic() - self._began
            write_state(self._folder, replace(self._state, seconds=seconds, spent=self._stopwatch.spent()))
        self._written_at = time.monotonic()

    def _where_and_how_long(self) -> dict[str, Any]:
        return {"seconds": time.monotonic() - self._point_began, "device": jax.devices()[0].device_kind}
