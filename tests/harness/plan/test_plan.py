"""The plan: what is open, what it costs, whether it fits into memory, and how it is printed."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import pytest
from rich.console import Console

from harness.execution.execution import Execution
from harness.grid.cells import Cell, job_flops, job_tokens, jobs
from harness.plan import plan, speed
from harness.plan import table as plan_table
from harness.plan.speed import WORKER_START_SECONDS, makespan, matmul_rate, step_rate
from harness.recipe import counting
from harness.records.errors import InputError
from harness.records.paths import SweepFolder
from tests.fakes.points import write_point
from tests.small_sweeps import grid_cells, small_cells

TOKENS = "grid.n_tokens=[4096,8192,16384]"
N_EVAL = 8192


def finish(folder: SweepFolder, cells: list[Cell]) -> None:
    for cell in cells:
        write_point(folder, cell.spec, cell.n_tokens)


def cells_of_two_sizes() -> list[Cell]:
    return small_cells("grid.rungs=[16,32]", TOKENS, "grid.holdout_factor=2")


def test_finished_cells_are_not_open(tmp_path: Path) -> None:
    folder, cells = SweepFolder(tmp_path), cells_of_two_sizes()
    assert plan.make_plan(folder, cells, N_EVAL).open_cells == cells
    finish(folder, cells[:2])
    made = plan.make_plan(folder, cells, N_EVAL)
    assert made.open_cells == cells[2:]
    finish(folder, cells)
    made = plan.make_plan(folder, cells, N_EVAL)
    assert (made.open_cells, made.phases, made.open_flops) == ([], [], 0.0)


def test_the_hold_out_is_a_phase_of_its_own(tmp_path: Path) -> None:
    made = plan.make_plan(SweepFolder(tmp_path), cells_of_two_sizes(), N_EVAL)
    first, second = made.phases
    assert {cell.role for cell in first} == {"fit"}
    assert {cell.role for cell in second} == {"holdout"}
    assert len(first) + len(second) == len(made.cells)


def test_references_wait_with_the_hold_out(tmp_path: Path) -> None:
    """No fit sees them, so the forecast need not wait for them."""
    cells = grid_cells("chinchilla")
    made = plan.make_plan(SweepFolder(tmp_path), cells, N_EVAL)
    first, second = made.phases
    assert {cell.role for cell in first} == {"fit"}
    assert {cell.role for cell in second} == {"holdout", "reference"}
    references = [cell for cell in second if cell.role == "reference"]
    assert len(references) == 9
    assert made.spare_jobs == jobs(references)
    unheld = grid_cells("chinchilla", "grid.holdout_factor=1")
    made = plan.make_plan(SweepFolder(tmp_path), unheld, N_EVAL)
    (only,) = made.phases
    assert {cell.role for cell in only} == {"fit", "reference"}
    assert made.spare_jobs == []


def test_cost_counts_what_is_left_and_the_evaluations(tmp_path: Path) -> None:
    folder, cells = SweepFolder(tmp_path), small_cells(TOKENS)
    evaluation = counting.forward_flops_token(cells[0].spec.model) * N_EVAL
    (job,) = jobs(cells)
    assert plan.make_plan(folder, cells, N_EVAL).open_flops == job_flops(job) + 3 * evaluation
    finish(folder, cells[:2])
    made = plan.make_plan(folder, cells, N_EVAL)
    (rest,) = jobs(made.open_cells)
    (trained,) = jobs(cells[1:2])
    assert made.job_flops(rest) == job_flops(rest) - job_flops(trained) + evaluation
    assert 0 < made.open_flops < job_flops(job)


def test_tokens_saved_compares_trunks_with_separate_runs() -> None:
    cells = small_cells(TOKENS)
    (job,) = jobs(cells)
    assert plan_table.tokens_saved(cells) == (job_tokens(job), 4096 + 8192 + 16384)
    cosine = small_cells("optim.schedule=cosine", TOKENS)
    assert plan_table.tokens_saved(cosine) == (28672, 28672)


def test_the_estimate_divides_work_over_workers(tmp_path: Path) -> None:
    made = plan.make_plan(SweepFolder(tmp_path), small_cells("grid.seeds=[0,1]"), N_EVAL)
    slow, fast = plan.estimate_seconds(made, 1e9, 1), plan.estimate_seconds(made, 2e9, 1)
    assert slow - WORKER_START_SECONDS == pytest.approx(2 * (fast - WORKER_START_SECONDS))
    assert plan.estimate_seconds(made, 1e9, 2) == pytest.approx(fast)


def test_makespan_starts_the_longest_first() -> None:
    assert makespan([1, 1, 1, 3], 2) == 3
    assert makespan([5, 4, 3, 3, 3], 2) == 10
    assert makespan([2, 3], 1) == 5


def test_step_rate_grows_with_width_and_stays_below_the_peak() -> None:
    rates = [step_rate(1e9, width) for width in (8, 16, 40, 64, 192, 1024)]
    assert rates == sorted(rates)
    assert rates[0] > 0
    assert rates[-1] < 1e9


def test_calibration_measures_this_machine() -> None:
    rate = matmul_rate(0.05)
    assert rate is not None
    assert 1e7 < rate < 1e13


@pytest.mark.parametrize(
    "child",
    [
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "print('no number')",
        "import time; time.sleep(60)",
    ],
)
def test_a_calibration_that_is_killed_measures_nothing(child: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_PROBE", child)
    monkeypatch.setattr(speed, "PATIENCE_SECONDS", 1.0)
    assert matmul_rate() is None


def test_a_plan_without_a_measurement_says_so(tmp_path: Path) -> None:
    stream = io.StringIO()
    made = plan.make_plan(SweepFolder(tmp_path), small_cells(), N_EVAL)
    plan_table.print_plan(
        Console(file=stream, width=120), made, lambda: math.nan, 1, notes=["one more thing"]
    )
    assert "for a time unknown, as this machine was not measured, on 1 worker(s)" in stream.getvalue()
    assert "note: one more thing" in stream.getvalue()


def test_a_plan_of_many_layers_says_how_long_they_compile(tmp_path: Path) -> None:
    deep = plan.make_plan(SweepFolder(tmp_path), small_cells("model.n_layers=1000"), N_EVAL)
    (note,) = plan_table.compile_notes(deep, Execution(), "cpu")
    assert "compiling 1,000 layers takes about 20 min" in note
    assert "execution.scan_layers=true" in note
    assert plan_table.compile_notes(deep, Execution(scan_layers=True), "cpu") == []
    assert plan_table.compile_notes(deep, Execution(), "gpu") == []
    flat = plan.make_plan(SweepFolder(tmp_path), small_cells(), N_EVAL)
    assert plan_table.compile_notes(flat, Execution(), "cpu") == []


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (5.0, "extrapolates in N and D: of 4 cells 3 lie beyond the largest fitted N, 2 beyond the largest"),
        (5.0, "fitted D, 1 beyond both; they reach 6.67 times the largest fitted compute, 0 of them 10"),
        (3.5, "extrapolates in D alone: of 3 cells 0 lie"),
        (3.5, "; to go beyond both type grid.holdout_factor=5"),
        (1.5, "extrapolates neither in N nor in D: of 1 cells"),
    ],
)
def test_the_plan_says_whether_the_hold_out_extrapolates(factor: float, said: str) -> None:
    cells = small_cells("grid.rungs=[16,32]", TOKENS, f"grid.holdout_factor={factor}")
    (line,) = plan_table.holdout_line(cells, lambda _: True)
    assert said in line
    (line,) = plan_table.holdout_line(small_cells(TOKENS, "grid.holdout_factor=2"), lambda _: True)
    assert line.endswith("add a larger size to grid.rungs and a larger count to grid.n_tokens")
    assert plan_table.holdout_line(small_cells(TOKENS), lambda _: True) == []


def test_a_rung_without_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = cells_of_two_sizes()
    largest = max(cells, key=lambda cell: counting.n_params(cell.spec.model)).spec
    need = plan.workers_bytes([cell for cell in cells if cell.spec == largest], 1, 1)
    assert need > plan.PROCESS_BYTES + 3 * 4 * counting.n_params(largest.model)
    monkeypatch.setattr(plan, "available_bytes", lambda: 2 * need + 1)
    plan.check_memory(cells, n_workers=2, n_shards=1)
    with pytest.raises(
        InputError, match=r"3 workers need about .* GB .* are free; lower launcher\.n_workers"
    ):
        plan.check_memory(cells, n_workers=3, n_shards=1)
    monkeypatch.setattr(plan, "available_bytes", lambda: None)
    plan.check_memory(cells, n_workers=3, n_shards=1)


def test_free_memory_is_read_from_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    free = plan.available_bytes()
    assert free is not None
    assert 1e6 < free < 1e15

    def unreadable() -> None:
        raise OSError

    monkeypatch.setattr(plan.psutil, "virtual_memory", unreadable)
    assert plan.available_bytes() is None


@pytest.mark.parametrize(
    ("value", "text"), [(16, "16"), (25_700, "25.7k"), (1_048_576, "1.05M"), (2e9, "2B"), (3e13, "30T")]
)
def test_si(value: float, text: str) -> None:
    assert plan_table.si(value) == text


def test_the_printed_plan_has_a_row_a_cell_and_the_totals(tmp_path: Path) -> None:
    folder, cells = SweepFolder(tmp_path), cells_of_two_sizes()
    finish(folder, cells[:1])
    stream = io.StringIO()
    made = plan.make_plan(folder, cells, N_EVAL)
    plan_table.print_plan(Console(file=stream, width=120), made, lambda: 90.0, 2)
    text = stream.getvalue()
    rows = [line.split() for line in text.splitlines() if re.match(r" *d\d+ ", line)]
    assert [row[-1] for row in rows] == ["done"] + ["open"] * 5
    assert [row[0] for row in rows] == ["d16"] * 3 + ["d32"] * 3
    assert rows[0][1] == plan_table.si(counting.n_params(cells[0].spec.model))
    assert f"{made.open_flops:.2e} FLOPs" in text
    assert "about 1 min 30 s on 2 worker(s)" in text
    assert "6 of 6 cells have fewer than 500 steps (d16, d32)" in text
    assert f"{len(cells)} cells, {len(made.open_cells)} to train" in text


def test_a_large_plan_has_one_row_for_all_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_table, "MAX_ROWS", 3)
    folder, cells = SweepFolder(tmp_path), small_cells("grid.seeds=[0,1,2]")
    finish(folder, cells[:1])
    stream = io.StringIO()
    plan_table.print_plan(
        Console(file=stream, width=120), plan.make_plan(folder, cells, N_EVAL), lambda: 0.0, 1
    )
    rows = [line for line in stream.getvalue().splitlines() if line.lstrip().startswith("d16")]
    assert len(rows) == len({cell.n_tokens for cell in cells}) == 2
    assert all("3 seeds" in row for row in rows)
    assert "2 open" in rows[0]
    assert "3 open" in rows[1]
    stream = io.StringIO()
    console = Console(file=stream, width=120)
    alone = small_cells("grid.seeds=[7]", TOKENS, "grid.rungs=[16,32]")
    plan_table.print_plan(console, plan.make_plan(folder, alone, N_EVAL), lambda: 0.0, 1)
    rows = [line.split() for line in stream.getvalue().splitlines() if " fit " in line]
    assert [(row[-4], row[-3]) for row in rows] == [("7", "fit")] * 6
