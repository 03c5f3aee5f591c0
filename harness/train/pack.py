"""Runs of one shape trained side by side by one program.

Every member is an ordinary run of harness.train.loop, with the files it would have alone. States, windows and
rates are inputs of the program, so members need not stand at the same step: one that was resumed from an
earlier checkpoint just ends later.

A lane whose member has ended computes on, and nobody looks. The last bits of a run depend on the number of
lanes, so that number stays while the pack lasts, and each member's state keeps it for a restart.
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
from harness.train.loop import Interval, Trained, TrainInputs, train_job, training, unfinished_of
from harness.train.stopwatch import TRAINING, Stopwatch

Run = Generator[Interval, Trained, str]


def train_pack(
    jobs: Sequence[Job], folders: Sequence[RunFolder], inputs: TrainInputs, at_most: int
) -> list[str | Exception]:
    """Train what is unfinished of jobs of one shape; for each its status, or what it raised.

    A member that diverges or fails does not stop the others. `at_most` bounds the lanes of an earlier start:
    with 1 a job goes on by itself.
    """
    members = [i for i, job in enumerate(jobs) if unfinished_of(job, folders[i])]
    endings: dict[int, str | Exception] = {}
    n_lanes = _n_lanes([folders[i] for i in members], at_most)
    if n_lanes > 1:
        stopwatch = Stopwatch()
        runs = [training(jobs[i], folders[i], inputs, stopwatch, n_lanes) for i in members]
        endings = dict(zip(members, _Pack(runs, n_lanes).train(stopwatch), strict=True))
    elif members:
        (alone,) = members
        endings = {alone: _ending(lambda: train_job(jobs[alone], folders[alone], inputs))}
    return [endings.get(i, "done") for i in range(len(jobs))]


def _n_lanes(members: list[RunFolder], at_most: int) -> int:
    """One for each member, or as many as the program had that they were begun with."""
    before = max((folder.read_state().get("n_lanes", 1) for folder in members), default=1)
    return distributed.told_by_first(max(len(members), min(before, at_most)))


def _ending(train: Callable[[], str]) -> str | Exception:
    try:
        return train()
    except Exception as error:
        return error


@lru_cache(maxsize=16)
def _program(engine: Engine, n_lanes: int) -> Any:
    return engine.packed(n_lanes)


class _Pack:
    """Runs in the first lanes of a program, each of which asks for one interval after the other."""

    def __init__(self, runs: list[Run], n_lanes: int):
        self._runs = runs
        self._n_lanes = n_lanes
        self._asked: dict[int, Interval] = {}
        self._endings: dict[int, str | Exception] = {}
        # What lanes without a member compute on.
        self._idle: dict[int, State] = {}

    def train(self, stopwatch: Stopwatch) -> list[str | Exception]:
        """Answer all runs until each has ended; their endings."""
        with contextlib.ExitStack() as stack:
            for lane, run in enumerate(self._runs):
                stack.enter_context(contextlib.closing(run))
                self._resume(lane, partial(next, run))
            while self._asked:
                self._round(stopwatch)
        return [self._endings[lane] for lane in range(len(self._runs))]

    def _round(self, stopwatch: Stopwatch) -> None:
        asked, self._asked = self._asked, {}
        try:
            with stopwatch.time(TRAINING):
                answers = self._advance(asked)
        except Exception as error:
            for lane in asked:
                self._resume(lane, partial(self._runs[lane].throw, error))
        else:
            for lane, answer in answers.items():
                self._resume(lane, partial(self._runs[lane].send, answer))

    def _resume(self, lane: int, go_on: Callable[[], Interval]) -> None:
        """Let a run go on to its next question or its end."""
        try:
            self._asked[lane] = go_on()
        except StopIteration as end:
            self._endings[lane] = end.value
        except Exception as error:
            self._endings[lane] = error

    def _advance(self, asked: dict[int, Interval]) -> dict[int, Trained]:
        first = next(iter(asked.values()))
        lanes = [asked.get(lane, first) for lane in range(self._n_lanes)]
        states = [
            asked[lane].state if lane in asked else self._idle_state(lane, first)
            for lane in range(self._n_lanes)
        ]
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
        """What the lane left behind, or a copy: a state cannot be donated twice."""
        return self._idle.get(lane) or jax.tree.map(jax.numpy.copy, first.state)
