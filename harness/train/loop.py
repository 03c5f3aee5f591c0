"""Train one trajectory to its finished points: along the trunk, down each cooldown branch, and evaluate.

Everything a run leaves behind is a file in its folder. A run that is killed at any moment and started again
continues from its last checkpoint and ends with the same curve and the same points, bit for bit on CPU.

A run asks for its training, one logging interval at a time, and whoever drives it answers: `train_job` trains
one run alone, `harness.train.pack` several side by side.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from harness.data.windows import Order
from harness.engine import distributed
from harness.engine.step import Engine, Metrics, State, advance, engine_for
from harness.evaluate.loss import EvalSet, evaluate
from harness.evaluate.tasks import TaskEvaluation
from harness.execution.execution import Execution
from harness.recipe.schedule import Segment, lr_factors, segments
from harness.recipe.spec import Job, OptimSpec, RunSpec
from harness.records.paths import RunFolder
from harness.train.checkpoint import CheckpointStore
from harness.train.journal import Journal, PointResult
from harness.train.stopwatch import CHECKPOINTS, EVALUATION, TASKS, TRAINING, Stopwatch

# A loss this far above that of uniform guessing will not come back.
EXPLODED_NATS = 3.0
CURVE_EVALS_PER_DOUBLING = 2


class Diverged(Exception):
    """Non-finite or exploding loss; the text names step, value and the last good loss."""


class Interrupted(Exception):
    """Asked to stop; the state is saved."""


@dataclass(frozen=True)
class TrainInputs:
    """What every run of a sweep shares: tokens, evaluation sets, mesh and the wish to stop."""

    tokens: np.ndarray
    eval_set: EvalSet
    curve_eval_set: EvalSet
    mesh: jax.sharding.Mesh
    execution: Execution
    checkpoint_seconds: float
    should_stop: Callable[[], bool]
    tasks: TaskEvaluation | None = None


def is_task_step(step: int, interval: int) -> bool:
    """Whether tasks are asked after this step of the trunk: at every doubling of the logging interval."""
    n_intervals = step // interval
    return n_intervals & (n_intervals - 1) == 0


@dataclass(frozen=True)
class Interval:
    """A logging interval that a run asks for: windows [steps, batch, seq+1] and rate factors [steps]."""

    engine: Engine
    state: State
    windows: np.ndarray
    factors: np.ndarray
    optim: OptimSpec


# The answer to an interval, and generators that ask for them.
Trained = tuple[State, Metrics]
Asking = Generator[Interval, Trained, State]


def run_key(seed: int, stream: str) -> np.random.SeedSequence:
    """Independent randomness of a run for one named use."""
    return np.random.SeedSequence([seed, *stream.encode()])


def data_order(spec: RunSpec, n_train_tokens: int) -> Order:
    """Order of training windows: a function of the seed alone, so the same for every size."""
    seed = int(run_key(spec.seed, "data").generate_state(1)[0])
    return Order(n_train_tokens, spec.model.seq_len, spec.optim.batch_size, seed)


def initial_state(engine: Engine, seed: int) -> Any:
    """Freshly initialised parameters and optimiser state."""
    return engine.init(jax.random.key(int(run_key(seed, "init").generate_state(1)[0])))


class Trajectory:
    """The state of one run while it trains."""

    def __init__(self, job: Job, folder: RunFolder, inputs: TrainInputs, stopwatch: Stopwatch, n_lanes: int):
        self.stopwatch = stopwatch
        self.spec = job.spec
        self.inputs = inputs
        self.engine = engine_for(job.spec, inputs.mesh, inputs.execution)
        self.order = data_order(job.spec, len(inputs.tokens))
        self.journal = Journal(folder, job, stopwatch, n_lanes)
        self.store = CheckpointStore(folder.checkpoints, job.spec.run_id, self.journal.warn)
        self._saved_at = time.monotonic()
        # Loss of the last step trained here.
        self._loss: float | None = None
        # Where the trunk waits while a branch is trained.
        self._trunk: tuple[int, Any] | None = None

    def train(self, unfinished: list[int]) -> Generator[Interval, Trained, None]:
        """Write the points of `unfinished` token counts; raises Diverged, or Interrupted after saving."""
        with contextlib.closing(self.store):
            yield from self._train(unfinished)
            with self.stopwatch.time(CHECKPOINTS):
                self.store.wait()

    def _train(self, unfinished: list[int]) -> Generator[Interval, Trained, None]:
        plan = segments(self.spec, unfinished)
        position, state = self._restore_trunk(plan)
        self.journal.start(self._tokens_ahead(plan, position))
        for index, segment in enumerate(plan):
            if segment.n_tokens is None:
                state = yield from self._advance_to(segment, max(position, segment.first), state)
                position = segment.last
                if not self.spec.schedule.has_trunk:
                    self._finish(unfinished[0], state)
            else:
                if index == len(plan) - 1:
                    self._save(Segment(0, segment.first), segment.first, state)
                yield from self._branch(segment, state)

    def _tokens_ahead(self, plan: list[Segment], position: int) -> int:
        steps = sum(max(0, s.last - max(s.first, 0 if s.n_tokens else position)) for s in plan)
        return steps * self.spec.batch_tokens

    def _restore_trunk(self, plan: list[Segment]) -> tuple[int, Any]:
        """Latest trunk checkpoint that no unfinished branch has already left behind, or a fresh start."""
        starts = [segment.first for segment in plan if segment.n_tokens is not None]
        found = self._restore("trunk", min(starts, default=plan[-1].last))
        position, state = found if found else (0, initial_state(self.engine, self.spec.seed))
        self.journal.rewind("trunk", position)
        return position, state

    def _restore(self, name: str, at_most: int) -> tuple[int, Any] | None:
        with self.stopwatch.time(CHECKPOINTS):
            found = self.store.restore(name, self.engine.abstract_checkpoint, at_most)
            return (found[0], self.engine.from_checkpoint(found[1])) if found else None

    def _branch(self, segment: Segment, trunk_state: Any) -> Generator[Interval, Trained, None]:
        self._trunk = (segment.first, trunk_state)
        found = self._restore(segment.name, segment.last)
        # The step donates its input, and the trunk goes on from this very state.
        position, state = found if found else (segment.first, jax.tree.map(jax.numpy.copy, trunk_state))
        self.journal.rewind(segment.name, position)
        before = self._loss
        state = yield from self._advance_to(segment, position, state)
        self._loss = before
        assert segment.n_tokens is not None
        self._finish(segment.n_tokens, state)
        with self.stopwatch.time(CHECKPOINTS):
            self.store.drop(segment.name)

    def _finish(self, n_tokens: int, state: Any) -> None:
        self.journal.flush()
        with self.stopwatch.time(EVALUATION):
            result = evaluate(self.engine, self.engine.eval_params(state), self.inputs.eval_set)
        if self.inputs.tasks is not None:
            with self.stopwatch.time(TASKS):
                answers = self.inputs.tasks.at_the_end(self.engine, self.engine.eval_params(state))
                self.journal.write_point_evals(n_tokens, *answers)
        unique = self.order.unique_tokens(n_tokens)
        self.journal.write_point(PointResult(n_tokens, unique, result))

    def _save(self, segment: Segment, step: int, state: Any) -> None:
        with self.stopwatch.time(CHECKPOINTS):
            self.journal.flush()
            if segment.n_tokens is not None and self._trunk is not None:
                self.store.save("trunk", self._trunk[0], self.engine.to_checkpoint(self._trunk[1]))
            self.store.save(segment.name, step, self.engine.to_checkpoint(state))
        self._saved_at = time.monotonic()

    def _advance_to(self, segment: Segment, step: int, state: Any) -> Asking:
        """Train from `step` to the end of the segment, one logging interval after the other."""
        interval = self.spec.log_interval
        while step < segment.last:
            due = time.monotonic() - self._saved_at > self.inputs.checkpoint_seconds
            stop, save = distributed.true_anywhere(self.inputs.should_stop(), due)
            if stop or save:
                self._save(segment, step, state)
            if stop:
                raise Interrupted(f"stopped at step {step}")
            state = yield from self._interval(segment, step, interval, state)
            step += interval
        return state

    def _interval(self, segment: Segment, step: int, n: int, state: Any) -> Asking:
        began = time.monotonic()
        windows = self.order.batches(self.inputs.tokens, step, n)
        factors = lr_factors(self.spec.schedule, segment, step, n)
        state, metrics = yield Interval(self.engine, state, windows, factors, self.spec.optim)
        loss = float(metrics.loss.astype(np.float64).mean())
        self._check_finite(step + n, metrics.loss)
        eval_loss = None
        if segment.n_tokens is None and self._is_eval_step(step + n, n):
            with self.stopwatch.time(EVALUATION):
                eval_loss = evaluate(
                    self.engine, self.engine.eval_params(state), self.inputs.curve_eval_set
                ).loss
        if self.inputs.tasks is not None and segment.n_tokens is None and is_task_step(step + n, n):
            with self.stopwatch.time(TASKS):
                rows = self.inputs.tasks.on_the_way(self.engine, self.engine.eval_params(state))
                self.journal.write_step_evals((step + n) * self.spec.batch_tokens, rows)
        speed = n * self.spec.batch_tokens / (time.monotonic() - began)
        hidden_lr = float(factors[-1]) * self.spec.optim.lr.hidden
        self.journal.log(segment, step + n, loss, eval_loss, hidden_lr, float(metrics.grad_norm[-1]), speed)
        return state

    def _check_finite(self, step: int, losses: np.ndarray) -> None:
        limit = np.log(self.spec.model.vocab_size) + EXPLODED_NATS
        bad = np.flatnonzero(~(losses <= limit))
        if len(bad):
            at = step - len(losses) + int(bad[0]) + 1
            good = float(losses[bad[0] - 1]) if bad[0] else self._loss
            before = "" if good is None else f", after {good:.4g} at step {at - 1}"
            raise Diverged(f"loss {losses[bad[0]]:.4g} at step {at}{before}")
        self._loss = float(losses[-1])

    def _is_eval_step(self, step: int, interval: int) -> bool:
        """CURVE_EVALS_PER_DOUBLING log-spaced evaluations after the warm-up, on the raster of intervals."""
        if step <= self.spec.schedule.warmup_steps:
            return False
        level = np.floor(
            np.log2([step / interval, max(1, step - interval) / interval]) * CURVE_EVALS_PER_DOUBLING
        )
        return bool(level[0] > level[1])


def training(
    job: Job, folder: RunFolder, inputs: TrainInputs, stopwatch: Stopwatch, n_lanes: int = 1
) -> Generator[Interval, Trained, str]:
    """Train what is unfinished of a job, asking for one interval after the other; its status is returned.

    Divergence is a result, not an error: the open points are recorded with their reason.
    Raises Interrupted when asked to stop, after saving; any other exception is for the caller to record.
    """
    unfinished = unfinished_of(job, folder)
    if not unfinished:
        return "done"
    trajectory = Trajectory(job, folder, inputs, stopwatch, n_lanes)
    try:
        yield from trajectory.train(unfinished)
    except Diverged as reason:
        trajectory.journal.write_diverged(unfinished, str(reason))
        return "diverged"
    except Interrupted:
        trajectory.journal.set_status("interrupted")
        raise
    trajectory.journal.set_status("done")
    return "done"


def unfinished_of(job: Job, folder: RunFolder) -> list[int]:
    """Token counts of a job that have no point yet."""
    return [
        n for n in job.n_tokens if not distributed.told_by_first(folder.point(job.spec.point_id(n)).exists())
    ]


def train_job(job: Job, folder: RunFolder, inputs: TrainInputs) -> str:
    """Train what is unfinished of a job by itself and return its status, `done` or `diverged`.

    Raises what `training` raises.
    """
    stopwatch = Stopwatch()
    with contextlib.closing(training(job, folder, inputs, stopwatch)) as run:
        try:
            asked = next(run)
            while True:
                with stopwatch.time(TRAINING):
                    trained = advance(asked.engine, asked.state, asked.windows, asked.factors, asked.optim)
                asked = run.send(trained)
        except StopIteration as end:
            return str(end.value)
