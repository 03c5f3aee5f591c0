"""The training loop of one run: train the trunk and each cooldown branch, checkpoint, and evaluate.

A run leaves nothing behind but files in its folder. A run that was killed resumes from its last checkpoint.
It then ends with the same curve and points, bit for bit on CPU.

The loop is a generator: it yields the logging interval to train next and receives the new state and metrics.
`train_job` drives one run alone, `harness.train.pack` several runs in one program.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from harness.data.tokens.mixture import Mixture, MixtureOrder
from harness.data.tokens.reader import AnyOrder, Reader, order_of
from harness.data.tokens.windows import Stream
from harness.engine import distributed
from harness.engine.peak import peak_flops
from harness.engine.step import Engine, Metrics, State, advance, engine_for
from harness.evaluate.eval_set import EvalSet
from harness.evaluate.loss import evaluate
from harness.evaluate.tasks import TaskEvaluation
from harness.execution.execution import Execution
from harness.recipe.schedule import TRUNK, Segment, is_task_step, lr_factors, segments, task_steps
from harness.recipe.spec import Job, OptimSpec, RunSpec
from harness.records.paths import RunFolder
from harness.records.run_files import RunStatus
from harness.runs.finished import unfinished
from harness.train.checkpoint import CheckpointStore
from harness.train.journal import Journal, PointResult
from harness.train.stopwatch import CHECKPOINTS, EVALUATION, TASKS, TRAINING, Stopwatch
from harness.weights.kept import Keep

# A run counts as diverged at a loss this many nats above ln(vocab_size), the loss of uniform guessing.
EXPLODED_NATS = 3.0
# Evaluations of the trunk per doubling of its steps.
CURVE_EVALS_PER_DOUBLING = 2


class Diverged(Exception):
    """The loss is not finite or has exploded; the text names step, loss and the last good loss."""


class Interrupted(Exception):
    """The run was asked to stop and has saved a checkpoint."""


@dataclass(frozen=True)
class TrainInputs:
    """Inputs that all runs of a worker share.

    Attributes:
        tokens: Training tokens of the corpus.
        eval_set: Evaluation set of finished points.
        curve_eval_set: Smaller evaluation set of the trunk on the way.
        mesh: Device mesh.
        execution: Execution options.
        checkpoint_seconds: Seconds between checkpoints.
        should_stop: Whether the worker was asked to stop, for example by SIGTERM.
        tasks: Task evaluation, if the sweep has tasks.
        keep: End points whose parameters are kept; None keeps none.
    """

    tokens: Stream | Mixture
    eval_set: EvalSet
    curve_eval_set: EvalSet
    mesh: jax.sharding.Mesh
    execution: Execution
    checkpoint_seconds: float
    should_stop: Callable[[], bool]
    tasks: TaskEvaluation | None = None
    keep: Keep | None = None


@dataclass(frozen=True)
class Interval:
    """A logging interval to train.

    Attributes:
        engine: Compiled programs of the run's shape.
        state: Training state, to be donated.
        windows: Token windows, int32 [steps, batch, seq+1].
        factors: Schedule factors, fp32 [steps].
        optim: Optimiser, for its peak learning rates.
    """

    engine: Engine
    state: State
    windows: np.ndarray
    factors: np.ndarray
    optim: OptimSpec


# The result of an interval, and a generator that yields intervals and returns the last state.
Trained = tuple[State, Metrics]
Asking = Generator[Interval, Trained, State]


def run_key(seed: int, stream: str) -> np.random.SeedSequence:
    """Return the seed sequence of one named use; different names give independent random streams."""
    return np.random.SeedSequence([seed, *stream.encode()])


def data_order(spec: RunSpec, tokens: Stream | Mixture) -> AnyOrder:
    """Return the order of training windows: a function of corpus and seed, the same for every model size."""
    seed = int(run_key(spec.seed, "data").generate_state(1)[0])
    return order_of(tokens, spec.model.seq_len, spec.optim.batch_size, seed)


def initial_state(engine: Engine, seed: int) -> Any:
    """Return the training state before the first step."""
    return engine.init(jax.random.key(int(run_key(seed, "init").generate_state(1)[0])))


class Trajectory:
    """One run while it trains: position, loss, checkpoints and journal."""

    def __init__(self, job: Job, folder: RunFolder, inputs: TrainInputs, stopwatch: Stopwatch, n_lanes: int):
        self.stopwatch = stopwatch
        self.spec = job.spec
        self.inputs = inputs
        self.engine = engine_for(job.spec, inputs.mesh, inputs.execution)
        self.order = data_order(job.spec, inputs.tokens)
        self.reader = Reader(self.order, inputs.tokens)
        last = max(map(job.spec.n_steps, job.n_tokens))
        steps = None if inputs.tasks is None else task_steps(job.spec, last)
        peak = partial(peak_flops, inputs.mesh, job.spec.model.precision)
        self.journal = Journal(folder, job, stopwatch, n_lanes, steps, peak)
        self.store = CheckpointStore(folder.checkpoints, job.spec.run_id, self.journal.warn)
        self._saved_at = time.monotonic()
        # Loss of the last trained step, for the message of a divergence.
        self._loss: float | None = None
        # Step and state of the trunk while a branch trains.
        self._trunk: tuple[int, Any] | None = None

    def train(self, unfinished: list[int]) -> Generator[Interval, Trained, None]:
        """Train and evaluate the points at the `unfinished` token counts.

        Raises:
            Diverged: If the loss is not finite or has exploded.
            Interrupted: If the run was asked to stop, after it has saved a checkpoint.
        """
        with contextlib.closing(self.store):
            self.journal.keep_finished(unfinished)
            yield from self._train(unfinished)
            # Checkpoints are written in the background: an error of the last one must surface before `done`.
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
                # Before its last branch the trunk is saved at the branch's start, for token counts that a
                # later sweep may add.
                if index == len(plan) - 1:
                    self._save(Segment(0, segment.first), segment.first, state)
                yield from self._branch(segment, state)

    def _tokens_ahead(self, plan: list[Segment], position: int) -> int:
        """Return the tokens still to be trained, with the trunk at step `position`."""
        steps = sum(max(0, s.last - max(s.first, 0 if s.n_tokens else position)) for s in plan)
        return steps * self.spec.batch_tokens

    def _restore_trunk(self, plan: list[Segment]) -> tuple[int, Any]:
        """Return step and state from which the trunk continues.

        They come from the latest checkpoint before the start of every unfinished branch and before every gap
        of the curve. Without such a checkpoint the trunk is initialised at step 0.
        """
        starts = [segment.first for segment in plan if segment.n_tokens is not None]
        trunk = Segment(0, min(starts, default=plan[-1].last))
        found = self._restore(TRUNK, self.journal.whole_until(trunk))
        position, state = found if found else (0, initial_state(self.engine, self.spec.seed))
        self.journal.rewind(TRUNK, position)
        return position, state

    def _restore(self, name: str, at_most: int) -> tuple[int, Any] | None:
        """Return step and state of the segment's latest checkpoint up to step `at_most`, or None."""
        with self.stopwatch.time(CHECKPOINTS):
            found = self.store.restore(name, self.engine.abstract_checkpoint, at_most)
            return (found[0], self.engine.from_checkpoint(found[1])) if found else None

    def _branch(self, segment: Segment, trunk_state: Any) -> Generator[Interval, Trained, None]:
        """Train a branch from the trunk's state to its end, and evaluate it."""
        self._trunk = (segment.first, trunk_state)
        found = self._restore(segment.name, self.journal.whole_until(segment))
        # A copy, because the step donates its input and the trunk continues from this very state.
        position, state = found if found else (segment.first, jax.tree.map(jax.numpy.copy, trunk_state))
        self.journal.rewind(segment.name, position)
        # The trunk continues with its own last loss, not the branch's.
        before = self._loss
        state = yield from self._advance_to(segment, position, state)
        self._loss = before
        assert segment.n_tokens is not None
        self._finish(segment.n_tokens, state)
        # The point is on disk now, so the branch's checkpoints have no use.
        with self.stopwatch.time(CHECKPOINTS):
            self.store.drop(segment.name)

    def _finish(self, n_tokens: int, state: Any) -> None:
        """Evaluate the state at an end point and write the point."""
        # The point comes last: its file marks curve and task results as complete.
        self.journal.flush()
        with self.stopwatch.time(EVALUATION):
            params = self.engine.eval_params(state)
            result = evaluate(self.engine, params, self.inputs.eval_set)
        if self.inputs.tasks is not None:
            with self.stopwatch.time(TASKS):
                answers = self.inputs.tasks.at_the_end(self.engine, params)
                self.journal.write_point_evals(n_tokens, *answers)
        unique = self.order.unique_by_source(n_tokens) if isinstance(self.order, MixtureOrder) else {}
        point = PointResult(n_tokens, self.order.unique_tokens(n_tokens), result, unique)
        keep = self.inputs.keep
        if keep is not None and self.spec.point_id(n_tokens) in keep.point_ids:
            with self.stopwatch.time(CHECKPOINTS):
                self.journal.write_weights(point, self.engine.on_host(params), keep)
        self.journal.write_point(point)

    def _save(self, segment: Segment, step: int, state: Any) -> None:
        """Begin to write a checkpoint of the segment, and of the trunk if the segment is a branch."""
        with self.stopwatch.time(CHECKPOINTS):
            # Curve rows first: a restart discards rows after the checkpoint, but could not restore rows
            # before.
            self.journal.flush()
            if segment.n_tokens is not None and self._trunk is not None:
                self.store.save("trunk", self._trunk[0], self.engine.to_checkpoint(self._trunk[1]))
            self.store.save(segment.name, step, self.engine.to_checkpoint(state))
        self._saved_at = time.monotonic()

    def _advance_to(self, segment: Segment, step: int, state: Any) -> Asking:
        """Train from `step` to the end of the segment, interval by interval; return the last state."""
        interval = self.spec.log_interval
        while step < segment.last:
            # By time and not by step, so that saves take the same share of the time at any speed. All
            # processes must agree, because a save is a collective operation and their clocks differ.
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
        """Train `n` steps from `step` on, evaluate if it is time, and log one row of the curve."""
        began = time.monotonic()
        windows = self.reader.batches(step, n)
        factors = lr_factors(self.spec.schedule, segment, step, n)
        state, metrics = yield Interval(self.engine, state, windows, factors, self.spec.optim)
        # The row's loss is the mean over the interval, which is less noisy than its last step.
        loss = float(metrics.loss.astype(np.float64).mean())
        self._check_finite(step + n, metrics.loss)
        scored = None
        if segment.n_tokens is None and self._is_eval_step(step + n, n):
            with self.stopwatch.time(EVALUATION):
                scored = evaluate(self.engine, self.engine.eval_params(state), self.inputs.curve_eval_set)
        if self.inputs.tasks is not None and segment.n_tokens is None and is_task_step(step + n, n):
            with self.stopwatch.time(TASKS):
                rows = self.inputs.tasks.on_the_way(self.engine, self.engine.eval_params(state))
                self.journal.write_step_evals((step + n) * self.spec.batch_tokens, rows)
        speed = n * self.spec.batch_tokens / (time.monotonic() - began)
        hidden_lr = float(factors[-1]) * self.spec.optim.lr.hidden
        self.journal.log(segment, step + n, loss, scored, hidden_lr, float(metrics.grad_norm[-1]), speed)
        return state

    def _check_finite(self, step: int, losses: np.ndarray) -> None:
        """Raise Diverged if one of the `losses` up to `step` is not finite or too large."""
        limit = np.log(self.spec.model.vocab_size) + EXPLODED_NATS
        # Written as "not ≤", because every comparison with NaN is false.
        bad = np.flatnonzero(~(losses <= limit))
        if len(bad):
            at = step - len(losses) + int(bad[0]) + 1
            good = float(losses[bad[0] - 1]) if bad[0] else self._loss
            before = "" if good is None else f", after {good:.4g} at step {at - 1}"
            raise Diverged(f"loss {losses[bad[0]]:.4g} at step {at}{before}")
        self._loss = float(losses[-1])

    def _is_eval_step(self, step: int, interval: int) -> bool:
        """Return whether the trunk is evaluated after `step`: log-spaced, after the warm-up.

        There are CURVE_EVALS_PER_DOUBLING evaluations per doubling, each after a whole logging interval.
        """
        if step <= self.spec.schedule.warmup_steps:
            return False
        level = np.floor(
            np.log2([step / interval, max(1, step - interval) / interval]) * CURVE_EVALS_PER_DOUBLING
        )
        return bool(level[0] > level[1])


def training(
    job: Job, folder: RunFolder, inputs: TrainInputs, stopwatch: Stopwatch, n_lanes: int = 1
) -> Generator[Interval, Trained, RunStatus]:
    """Train the unfinished points of a job, as a generator of intervals.

    Divergence is a result, not an error: the open points are written as diverged, with the reason.

    Args:
        job: Recipe and token counts.
        folder: Folder of the run.
        inputs: Data, mesh and options.
        stopwatch: Counts the seconds of the run by kind.
        n_lanes: Lanes of the program that trains the run; 1 if it trains alone.

    Yields:
        The interval to train next; the driver sends the new state and metrics.

    Returns:
        DONE or DIVERGED.

    Raises:
        Interrupted: If the run was asked to stop, after it has saved a checkpoint.
        Exception: Any other error, which the caller records.
    """
    unfinished = unfinished_of(job, folder)
    if not unfinished:
        return RunStatus.DONE
    trajectory = Trajectory(job, folder, inputs, stopwatch, n_lanes)
    try:
        yield from trajectory.train(unfinished)
    except Diverged as reason:
        trajectory.journal.write_diverged(unfinished, str(reason))
        return RunStatus.DIVERGED
    except Interrupted:
        trajectory.journal.set_status(RunStatus.INTERRUPTED)
        raise
    trajectory.journal.set_status(RunStatus.DONE)
    return RunStatus.DONE


def unfinished_of(job: Job, folder: RunFolder) -> list[int]:
    """Return the token counts of a job whose end points are not finished."""
    # The first process looks: on a shared file system another one might not see a new file yet.
    here = unfinished(folder, job.spec, job.n_tokens) if distributed.is_first() else []
    return [n for n in job.n_tokens if distributed.told_by_first(n in here)]


def train_job(job: Job, folder: RunFolder, inputs: TrainInputs) -> RunStatus:
    """Train the unfinished points of one job alone and return `done` or `diverged`.

    Raises:
        Interrupted: If the run was asked to stop, after it has saved a checkpoint.
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
            return RunStatus(end.value)
