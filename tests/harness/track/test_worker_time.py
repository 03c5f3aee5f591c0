"""Where the time goes: nothing is counted twice and nothing is left out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import jax
import pytest

from harness.track.worker_time import WorkerTime, added, shares
from harness.train.stopwatch import COMPILATION, EVALUATION, OTHER, TRAINING, Stopwatch

NAP = 0.05


def test_a_stopwatch_divides_all_of_the_time() -> None:
    began = time.monotonic()
    watch = Stopwatch()
    with watch.time(TRAINING):
        time.sleep(NAP)
    time.sleep(NAP)
    with contextlib.suppress(ValueError), watch.time(EVALUATION):
        time.sleep(NAP)
        raise ValueError
    spent, elapsed = watch.spent(), time.monotonic() - began
    assert sum(spent.values()) == pytest.approx(elapsed, abs=0.01)
    assert all(spent[kind] >= NAP for kind in (TRAINING, EVALUATION, OTHER))
    assert spent[COMPILATION] == 0.0


def test_compilation_is_no_training_and_counts_once() -> None:
    inner = jax.jit(lambda x: [time.sleep(NAP), x * 2.0][1])

    @jax.jit
    def outer(x: jax.Array) -> jax.Array:
        with jax.ensure_compile_time_eval():
            constant = inner(jax.numpy.ones(3))
        return constant + x

    x = jax.block_until_ready(jax.numpy.ones(3))
    watch = Stopwatch()
    began = time.monotonic()
    with watch.time(TRAINING):
        outer(x).block_until_ready()
    elapsed = time.monotonic() - began
    spent = watch.spent()
    assert NAP < spent[COMPILATION] <= elapsed
    assert spent[TRAINING] == pytest.approx(elapsed - spent[COMPILATION], abs=0.01)
    before = watch.spent()[COMPILATION]
    with watch.time(TRAINING):
        outer(x).block_until_ready()
    assert watch.spent()[COMPILATION] == before


@pytest.fixture
def worker_time() -> Iterator[WorkerTime]:
    return WorkerTime()


def test_all_seconds_of_all_workers_are_told(worker_time: WorkerTime) -> None:
    worker_time.finished(10.0, {"training steps": 6.0, "evaluation": 1.0}, first=True)
    worker_time.finished(5.0, {"training steps": 4.5}, first=False)
    worker_time.lost(2.0)
    total = worker_time.total(n_workers=2, seconds=12.0)
    assert total == {
        "training steps": 10.5,
        "evaluation": 1.0,
        "start": 3.0,
        "other": 0.5,
        "lost with workers that died": 2.0,
        "idle": 7.0,
    }
    assert shares(total).startswith("43.8% training steps, 29.2% idle, 12.5% start, 8.3% lost")


def test_a_report_that_cannot_be_this_jobs_is_not_believed(worker_time: WorkerTime) -> None:
    worker_time.finished(3.0, {"training steps": 60.0}, first=False)
    worker_time.finished(1.0, {}, first=True)
    assert worker_time.total(1, 5.0) == {"other": 3.0, "start": 1.0, "idle": 1.0}


def test_seconds_add_up_over_invocations() -> None:
    assert added({"start": 1.0, "idle": 2.0}, {"start": 3.0, "other": 4.0}) == {
        "start": 4.0,
        "idle": 2.0,
        "other": 4.0,
    }
