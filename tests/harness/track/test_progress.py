"""What is shown while runs train."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.grid.cells import job_flops, jobs
from harness.recipe import counting
from harness.records.number_text import duration
from harness.records.paths import SweepFolder
from harness.records.run_files import RunState, RunStatus
from harness.runs.state import write_state
from harness.track.progress import FRAME_LINES, LINE_SECONDS, Ends, Progress
from tests.small_sweeps import small_cells

JOBS = jobs(small_cells("grid.seeds=[0,1]"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 1000.0
        monkeypatch.setattr("harness.track.progress.time.monotonic", lambda: self.now)


def shown(folder: SweepFolder, clock: Clock, running: list, finished: list, seconds: float) -> str:
    """The line after `seconds` of a sweep of two equal jobs."""
    stream = io.StringIO()
    total = sum(job_flops(job) for job in JOBS)
    with Progress(Console(file=stream, width=200), folder, total, job_flops) as progress:
        for job in finished:
            progress.finish(job)
        clock.now += seconds
        progress.watch(running)
        progress.watch(running)
    assert stream.getvalue().count("\n") == 1
    return stream.getvalue()


def test_share_and_time_left_follow_the_flops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, clock = SweepFolder(tmp_path), Clock(monkeypatch)
    none = shown(folder, clock, JOBS, [], 60)
    assert none.startswith("0% of the FLOPs in 1 min 00 s; d16 seed ")
    assert none.count(": starting") == 2
    half = shown(folder, clock, JOBS[1:], JOBS[:1], 60)
    assert half.startswith("50% of the FLOPs in 1 min 00 s, about 1 min 00 s left; d16 seed")


def test_a_running_job_counts_by_its_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, clock, job = SweepFolder(tmp_path), Clock(monkeypatch), JOBS[0]
    tokens = job_flops(job) / counting.train_flops_token(job.spec.model)
    state = RunState(
        status=RunStatus.RUNNING,
        tokens_ahead=round(tokens),
        tokens_trained=round(tokens / 2),
        loss=2.5,
        tokens_per_second=99.6,
    )
    write_state(folder.run(job.spec.run_id), state)
    line = shown(folder, clock, [job], [], 30)
    assert line.startswith("25% of the FLOPs in 30 s, about 1 min 30 s left")
    assert line.endswith("50% loss 2.500 at 100 tokens/s\n")
    write_state(folder.run(job.spec.run_id), replace(state, status=RunStatus.INTERRUPTED))
    assert shown(folder, clock, [job], [], 30).startswith("0%")


def test_lines_are_far_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    with Progress(Console(file=stream, width=200), SweepFolder(tmp_path), 1e9, job_flops) as progress:
        for _ in range(9):
            clock.now += LINE_SECONDS / 3 + 0.01
            progress.watch(JOBS[:1])
    assert stream.getvalue().count("\n") == 3


def test_a_terminal_gets_a_live_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI")
    console = Console(file=io.StringIO(), width=100, force_terminal=True, highlight=False)
    with Progress(console, SweepFolder(tmp_path), 1e9, job_flops) as progress:
        state = RunState(status=RunStatus.RUNNING, tokens_ahead=100, tokens_trained=40, tokens_per_second=2.0)
        write_state(SweepFolder(tmp_path).run(JOBS[0].spec.run_id), state)
        progress.watch(JOBS * 20)
        assert progress._live is not None
        console.print(progress._live.renderable)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert [word for word in ("tokens/s", "40%", "30 s", "━", "of the FLOPs") if word not in text] == []
    assert f"and {40 - (console.height - FRAME_LINES)} more runs" in text


def test_ends_and_alarms_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In lines and in the live table; an alarm once."""
    job, clock, stream = JOBS[0], Clock(monkeypatch), io.StringIO()
    ends = Ends({job.spec.run_id: "2.187 ± 0.038"}, {job.spec.run_id: "alarm: d16 left [its] band"})
    write_state(SweepFolder(tmp_path).run(job.spec.run_id), RunState(tokens_ahead=100, tokens_trained=40))
    console = Console(file=stream, width=200)
    with Progress(console, SweepFolder(tmp_path), 1e9, job_flops, lambda: ends) as progress:
        for _ in range(2):
            clock.now += LINE_SECONDS + 1
            progress.watch([job])
    assert stream.getvalue().count("alarm: d16 left [its] band\n") == 1
    assert stream.getvalue().count(": 40%, ends at 2.187 ± 0.038\n") == 2
    monkeypatch.delenv("CI", raising=False)
    terminal = Console(file=io.StringIO(), width=200, force_terminal=True, highlight=False)
    with Progress(terminal, SweepFolder(tmp_path), 1e9, job_flops, lambda: ends) as progress:
        progress.watch([job])
        assert progress._live is not None
        terminal.print(progress._live.renderable)
    text = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "ends at, 90 %" in text
    assert "2.187 ± 0.038" in text


def test_state_of_a_run_that_is_not_there(tmp_path: Path) -> None:
    assert SweepFolder(tmp_path).run("none").read_state() == RunState()
