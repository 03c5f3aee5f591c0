"""State of a sweep as a whole, and the time left."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.records.paths import SweepFolder
from harness.records.status.progress import SweepState, has_ended, overall, sweep_state
from harness.records.status.rows import run_rows
from tests.fakes.runs import finish, hold, planned_sweep, state


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return planned_sweep(tmp_path)


def test_time_left_counts_what_has_not_begun(folder: SweepFolder) -> None:
    """A run of 2 tokens whose trunk serves the point at 1: 2·0.8 + 0.2·(1 + 2) = 2.2 tokens."""
    state(folder, "running", tokens_ahead=10, tokens_trained=4, tokens_per_second=2.0)
    assert overall(run_rows(folder), 0.2) == "2 tokens/s in all, about 4 s left"
    state(folder, "failed")
    assert overall(run_rows(folder), 0.2) == ""


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (None, None, SweepState.PLANNED),
        ("running", "failed", SweepState.RUNNING),
        ("waiting", "failed", SweepState.WAITING),
        ("failed", None, SweepState.FAILED),
        ("interrupted", None, SweepState.STOPPED),
        ("done", None, SweepState.STOPPED),
    ],
)
def test_state_of_a_sweep(
    folder: SweepFolder, first: str | None, second: str | None, expected: SweepState
) -> None:
    for run, said in (("aa", first), ("bb", second)):
        if said:
            state(folder, said, run=run)
    assert sweep_state(run_rows(folder)) == expected
    assert not has_ended(run_rows(folder))


def test_a_sweep_is_finished_although_a_run_diverged(folder: SweepFolder) -> None:
    finish(folder, "aa1", "aa2")
    finish(folder, "bb1", "bb2", run="bb")
    state(folder, "diverged", run="bb")
    assert sweep_state(run_rows(folder)) == SweepState.FINISHED
    assert has_ended(run_rows(folder))
    state(folder, "running")
    hold(folder)
    assert sweep_state(run_rows(folder)) == SweepState.FINISHED
