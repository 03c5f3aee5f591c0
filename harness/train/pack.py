"""Packs: several runs of one model shape trained by one vmapped program.

Every member of a pack is an ordinary run of harness.train.loop and writes the files that it would write
alone. States, windows and learning rates are inputs of the program. So members may stand at different steps:
a member that resumed from an earlier checkpoint ends later.

A lane is one index of the vmapped axis and holds one member. XLA's rounding depends on the number of lanes,
so this number stays the same until the pack ends. A lane whose member has ended computes on, and its results
are discarded. Each member's state file records the number of lanes, so that a restart uses it again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np

from harness.engine import distributed
from harness.engine.mesh import batch_sharding
from harness.engine.optim import group_rates
from harness.engine.step import Engine, Metrics, State, micro_batches
from harness.recipe.spec import Job
from harness.records.paths import RunFolder
from harness.records.run_files import RunStatus
from harness.train.loop import Interval, Trained, TrainInputs, train_job, training, unfinished_of
from harness.train.stopwatch import TRAINING, Stopwatch

# A run as a coroutine: it yields the interval to train, receives the result, and returns its status.
Run = Generator[Interval, Trained, RunStatus]


def train_pack(
    jobs: Sequence[Job], folders: Sequence[RunFolder], inputs: TrainInputs, at_most: int
) -> list[RunStatus | Exception]:
    """Train the unfinished points of several jobs of one model shape.

    A member that diverges or fails does not stop the others. One unfinished job with one lane trains without
    vmap.

    Args:
        jobs: Jobs whose recipes compile to the same program.
        folders: Folder of each job's run.
        inputs: Data, mesh and options that all runs share.
        at_most: Largest number of lanes to take over from an earlier start; 1 lets a job resume alone.

    Returns:
        For each job DONE or DIVERGED, or the exception that its run raised.
    """
    members = [i for i, job in enumerate(jobs) if unfinished_of(job, folders[i])]
    endings: dict[int, RunStatus | Exception] = {}
    n_lanes = _n_lanes([folders[i] for i in members], at_most)
    if n_lanes > 1:
        stopwatch = Stopwatch()
        runs = [training(jobs[i], folders[i], inputs, stopwatch, n_lanes) for i in members]
        endings = dict(zip(members, _Pack(runs, n_lanes).train(stopwatch), strict=True))
    elif members:
        (alone,) = members
        endings = {alone: _ending(lambda: train_job(jobs[alone], folders[alone], inputs))}
    return [endings.get(i, RunStatus.DONE) for i in range(len(jobs))]


def _n_lanes(members: list[RunFolder], at_most: int) -> int:
    """Return the number of lanes: one per member, or more if the pack began with more (up to `at_most`)."""
    before = max((folder.read_state().n_lanes for folder in members), default=1)
    return distributed.told_by_first(max(len(members), min(before, at_most)))


def _ending(train: Callable[[], RunStatus]) -> RunStatus | Exception:
    """Return the status of a run, or the exception that it raised."""
    try:
        return train()
    except Exception as error:
        return error


# Cached, because jit compiles anew for every new function object.
@lru_cache(maxsize=16)
def _program(engine: Engine, n_lanes: int) -> Any:
    return engine.packed(n_lanes)


class _Pack:
    """Drives the runs of a pack: collects one interval from each, trains them together, sends results back.

    Run i has lane i; further lanes, if any, have no member.
    """

    def __init__(self, runs: list[Run], n_lanes: int):
        self._runs = runs
        self._n_lanes = n_lanes
        self._asked: dict[int, Interval] = {}
        self._endings: dict[int, RunStatus | Exception] = {}
        # States of the lanes without a member.
        self._idle: dict[int, State] = {}

    def train(self, stopwatch: Stopwatch) -> list[RunStatus | Exception]:
        """Train all runs to their end; return the status or the exception of each."""
        # Closing a generator runs its cleanup: each run closes its checkpoints even after an error elsewhere.
        with contextlib.ExitStack() as stack:
            for lane, run in enumerate(self._runs):
                stack.enter_context(contextlib.closing(run))
                self._resume(lane, partial(next, run))
            while self._asked:
                self._round(stopwatch)
        return [self._endings[lane] for lane in range(len(self._runs))]

    def _round(self, stopwatch: Stopwatch) -> None:
        """Train one interval of every run that has not ended."""
        asked, self._asked = self._asked, {}
        try:
            with stopwatch.time(TRAINING):
                answers = self._advance(asked)
        except Exception as error:
            # The program failed, for example for lack of memory: every run in it sees the error as its own.
            for lane in asked:
                self._resume(lane, partial(self._runs[lane].throw, error))
        else:
            for lane, answer in answers.items():
                self._resume(lane, partial(self._runs[lane].send, answer))

    def _resume(self, lane: int, go_on: Callable[[], Interval]) -> None:
        """Let a run continue to its next interval or its end, and record which."""
        try:
            self._asked[lane] = go_on()
        except StopIteration as end:
            self._endings[lane] = end.value
        except Exception as error:
            self._endings[lane] = error

    def _advance(self, asked: dict[int, Interval]) -> dict[int, Trained]:
        """Train the intervals by lane in one call; return new states and metrics by lane."""
        # Lanes without a member get the first member's windows and rates: the program needs some.
        first = next(iter(asked.values()))
        lanes = [asked.get(lane, first) for lane in range(self._n_lanes)]
        states = [
            asked[lane].state if lane in asked else self._idle_state(lane, first)
            for lane in range(self._n_lanes)
        ]
        # Inputs are stacked on the host into one transfer; states stay separate device arrays.
        windows = np.stack([micro_batches(first.engine, lane.windows) for lane in lanes])
        rates = [group_rates(lane.optim) for lane in lanes]
        states, metrics = _program(first.engine, self._n_lanes)(
            states,
            distributed.place(windows, batch_sharding(first.engine.mesh, 3, 5)),
            np.stack([lane.factors for lane in lanes]),
            {group: np.array([rate[group] for rate in rates], np.float32) for group in rates[0]},
        )
        host = jax.device_get(metrics)
        self._idle = {lane: state for lane, state in enumerate(states) if lane not in asked}
        return {lane: (states[lane], Metrics(host["loss"][lane], host["grad_norm"][lane])) for lane in asked}

    def _idle_state(self, lane: int, first: Interval) -> State:
        """Return the lane's own last state, or a copy of a member's: one state cannot be donated twice."""
        return self._idle.get(lane) or jax.tree.map(jax.numpy.copy, first.state)
