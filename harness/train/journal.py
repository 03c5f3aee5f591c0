"""The journal of a run: writes its curve, finished points, task results and status files.

Curve rows stay in memory between checkpoints. Just before a checkpoint they are written as one immutable part
file. A restart removes the parts after its checkpoint and trains the same rows again. Rows of the trunk on
which a finished end point rests stay, whatever is trained again.
If several processes train one run, only the first one writes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax

from harness.engine import distributed
from harness.evaluate.loss import EvalResult
from harness.recipe import counting
from harness.recipe.schedule import TRUNK, Segment
from harness.recipe.spec import Job
from harness.records.columns import CURVE_COLUMNS, EVAL_COLUMNS, ITEM_COLUMNS, as_table
from harness.records.files import remove, write_table
from harness.records.json_files import write_checked
from harness.records.paths import RunFolder
from harness.records.run_files import RunStatus
from harness.runs.finished import RESTS_ON, Parts, RestsOn, kept_steps, rests_on_files, rests_on_recipe
from harness.runs.rows import SOURCES, point_row, unmeasured
from harness.runs.state import begun, write_state
from harness.train.stopwatch import Stopwatch
from harness.weights.kept import Card, Keep, Params, write_kept

# Least seconds between two writes of the status file, which monitors poll.
MFU_AFTER_SECONDS = 10.0
STATE_SECONDS = 1.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PointResult:
    """Evaluation of one end point.

    Attributes:
        n_tokens: Training tokens, repeats counted.
        n_unique_tokens: Distinct training tokens, at most `n_tokens`.
        result: Loss on the evaluation set.
        unique_by_source: Distinct training tokens of each source of a mixture.
    """

    n_tokens: int
    n_unique_tokens: int
    result: EvalResult
    unique_by_source: Mapping[str, int] = field(default_factory=dict)


class Journal:
    """Writer of the files of one run.

    Args:
        folder: Folder of the run.
        job: Recipe and token counts.
        stopwatch: Seconds of the run by kind.
        n_lanes: Lanes of the program that trains the run; 1 if it trains alone.
        task_steps: Steps after which the trunk is evaluated on tasks; None without tasks.
        peak: Returns the peak FLOP/s of the run's devices, or None; asked once a run has lasted a while.
    """

    def __init__(
        self,
        folder: RunFolder,
        job: Job,
        stopwatch: Stopwatch,
        n_lanes: int = 1,
        task_steps: Sequence[int] | None = None,
        peak: Callable[[], float | None] = lambda: None,
    ):
        self._folder = folder
        self._job = job
        self._stopwatch = stopwatch
        self._writes = distributed.is_first()
        self._rows: list[dict[str, Any]] = []
        self._segment = TRUNK
        self._task_steps = task_steps
        self._n_lanes = n_lanes
        self._peak = peak
        # Last step of the trunk that other end points rest on, and the parts that are there.
        self._kept = 0
        self._kept_spans: list[tuple[int, int]] = []
        # Token counts whose points this attempt has written.
        self._finished: set[int] = set()
        self._state = begun(folder, n_lanes)
        self._written_at = 0.0
        self._began = time.monotonic()
        self._point_began = time.monotonic()
        self._put(folder.spec, job.spec.to_dict())

    def _put(self, path: Path, value: Any) -> None:
        """Write a JSON file, if this is the first process."""
        if self._writes:
            write_checked(path, value)

    def warn(self, text: str) -> None:
        """Record a warning in the run's log file and in its status file."""
        self._state = replace(self._state, warnings=(*self._state.warnings, text))
        log.warning("%s", text)
        if self._writes:
            # A run goes on without its log.
            with contextlib.suppress(OSError), open(self._folder.log, "a") as file:
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
        scored: EvalResult | None,
        hidden_lr: float,
        grad_norm: float,
        tokens_per_second: float,
    ) -> None:
        """Add one row to the curve, and update the status file about once per second.

        Args:
            segment: Trunk or branch.
            step: Steps trained so far.
            train_loss: Mean training loss of the interval, nats per token.
            scored: Loss on the curve's evaluation set; None if not evaluated.
            hidden_lr: Learning rate of the hidden matrices at the last step.
            grad_norm: Global norm of the gradient at the last step, before clipping.
            tokens_per_second: Speed of the interval, evaluation included.
        """
        if segment.name != self._segment:
            self.flush()
            self._segment = segment.name
        spec = self._job.spec
        mfu = self._mfu(tokens_per_second)
        if not self._is_kept(segment, step):
            n_tokens = step * spec.batch_tokens
            row = {
                "run_id": spec.run_id,
                "point_id": None if segment.n_tokens is None else spec.point_id(segment.n_tokens),
                "step": step,
                "n_tokens": n_tokens,
                "flops": counting.train_flops(spec.model, n_tokens),
                "train_loss": train_loss,
                "eval_loss": None if scored is None else scored.loss,
                "hidden_lr": hidden_lr,
                "grad_norm": grad_norm,
                "tokens_per_second": tokens_per_second,
                "mfu": mfu,
            }
            if scored is not None and scored.sources:
                row[SOURCES] = json.dumps([asdict(own) for own in scored.sources])
            self._rows.append(row)
        self._state = replace(
            self._state,
            tokens_trained=(self._state.tokens_trained or 0) + spec.log_interval * spec.batch_tokens,
            loss=train_loss,
            tokens_per_second=tokens_per_second,
            mfu=mfu,
        )
        if time.monotonic() - self._written_at > STATE_SECONDS:
            self._write_state()

    def _mfu(self, tokens_per_second: float) -> float | None:
        """Return the share of the devices' peak that training reaches; None in a short run, or if unknown."""
        # To measure the peak of a CPU takes a moment, which a run of seconds has not.
        if time.monotonic() - self._began < MFU_AFTER_SECONDS:
            return None
        peak = self._peak()
        # Each run of a pack logs its own tokens in the time of all.
        flops = counting.train_flops_token(self._job.spec.model) * self._n_lanes * tokens_per_second
        return None if peak is None else flops / peak

    def flush(self) -> None:
        """Write the rows in memory as part files, one for each stretch of consecutive rows."""
        stretch: list[dict[str, Any]] = []
        for row in self._rows:
            if stretch and row["step"] != stretch[-1]["step"] + self._job.spec.log_interval:
                self._write_part(stretch)
                stretch = []
            stretch.append(row)
        if stretch:
            self._write_part(stretch)
        self._rows = []

    def _write_part(self, rows: list[dict[str, Any]]) -> None:
        if self._writes:
            # Parts, because one growing parquet file would be rewritten whole at every checkpoint.
            path = self._folder.curve_part(self._segment, rows[0]["step"], rows[-1]["step"])
            # Parts of other corpora lack the column, and so do those without an evaluation.
            more = {SOURCES: "string"} if any(SOURCES in row for row in rows) else {}
            write_table(path, as_table(rows, CURVE_COLUMNS | more))

    def keep_finished(self, retrained: Sequence[int]) -> None:
        """Keep the rows of the trunk on which end points rest that are not trained again.

        Args:
            retrained: Token counts that are trained now.
        """
        self._kept = kept_steps(self._folder, self._job.spec, retrained)

    def whole_until(self, segment: Segment) -> int:
        """Return the last step from which a segment can go on without a gap in what was written.

        Args:
            segment: The trunk from step 0, or a branch; its `last` is the largest step to return.
        """
        interval, files = self._job.spec.log_interval, Parts(self._folder)
        reached = files.reached(segment.name, segment.first, interval)
        for step in (self._task_steps or ()) if segment.n_tokens is None else ():
            if step <= reached and not files.has(self._step_evals(step)):
                reached = step - interval
        return min(reached, segment.last)

    def _step_evals(self, step: int) -> Path:
        return self._folder.step_evals(step * self._job.spec.batch_tokens)

    def rewind(self, segment: str, step: int) -> None:
        """Delete the curve parts of a segment after `step`; their rows will be trained again.

        Rows that are kept stay (see `keep_finished`), and are not written twice.
        """
        self.flush()
        after = max(step, self._kept) if segment == TRUNK else step
        for path in self._folder.curves.glob(f"{segment}-*.parquet"):
            if self._writes and int(path.stem.rsplit("-", 2)[1]) > after:
                remove(path)
        if segment == TRUNK:
            self._kept_spans = Parts(self._folder).spans(TRUNK)

    def _is_kept(self, segment: Segment, step: int) -> bool:
        """Return whether a row is on disk already and stays there."""
        if segment.n_tokens is not None or step > self._kept:
            return False
        return any(first <= step <= last for first, last in self._kept_spans)

    def write_point(self, point: PointResult) -> None:
        """Write a finished end point."""
        row = point_row(self._job.spec, point.n_tokens) | self._where_and_how_long()
        row |= {
            "n_unique_tokens": point.n_unique_tokens,
            "loss": point.result.loss,
            "loss_sem": point.result.loss_sem,
            "loss_blocks": list(point.result.loss_blocks),
            "bits_per_byte": point.result.bits_per_byte,
            "status": RunStatus.DONE,
            "excluded_reason": None,
        }
        if point.result.sources:
            row[SOURCES] = [
                asdict(own) | {"n_unique_tokens": point.unique_by_source.get(own.source, 0)}
                for own in point.result.sources
            ]
        spec, steps = self._job.spec, self._task_steps
        step_evals = None if steps is None else [step * spec.batch_tokens for step in steps]
        self._put_point(row, rests_on_recipe(spec, point.n_tokens, step_evals))
        self._finished.add(point.n_tokens)
        self._point_began = time.monotonic()

    def write_weights(self, point: PointResult, params: Params, keep: Keep) -> None:
        """Write the parameters of an end point, before `write_point` marks the point finished.

        Args:
            point: The end point.
            params: Host arrays with one subtree per block.
            keep: How parameters are kept.
        """
        if self._writes:
            spec, result = self._job.spec, point.result
            card = Card.of(spec, point.n_tokens, result.loss, result.bits_per_byte, keep)
            write_kept(self._folder.point_weights(card.point_id), card, params)

    def _put_point(self, row: dict[str, Any], rests_on: RestsOn) -> None:
        self._put(self._folder.point(row["point_id"]), row | {RESTS_ON: rests_on.to_dict()})

    def write_step_evals(self, n_tokens: int, rows: list[dict[str, Any]]) -> None:
        """Write a task evaluation of the trunk; after a restart the same step writes the same file."""
        path, kept = self._folder.step_evals(n_tokens), self._kept * self._job.spec.batch_tokens
        if n_tokens > kept or not Parts(self._folder).has(path):
            self._put_evals(path, rows, EVAL_COLUMNS, n_tokens, None)

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
            # Branches that ended before the divergence keep their points.
            if tokens not in self._finished:
                row = unmeasured(self._job.spec, tokens, RunStatus.DIVERGED, reason)
                rests_on = rests_on_files(self._folder, self._job.spec, tokens)
                self._put_point(row | self._where_and_how_long(), rests_on)
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
