"""Tables from run folders: schema, order, roles, nulls."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.grid.cells import Cell
from harness.recipe import counting
from harness.records.columns import CURVE_COLUMNS, EVAL_COLUMNS, ITEM_COLUMNS, POINT_COLUMNS, as_table
from harness.records.files import read_table, write_table
from harness.records.paths import SweepFolder
from harness.records.run_files import RunStatus
from harness.runs import parts
from harness.runs.collect import (
    all_standings,
    cell_table,
    collect_curves,
    collect_evals,
    collect_points,
    read_current,
    read_point,
    read_points,
    write_tables,
)
from harness.runs.state import set_state
from tests.fakes.points import write_point
from tests.small_sweeps import small_cells


def record(folder: SweepFolder, cell: Cell, **changes: object) -> None:
    write_point(folder, cell.spec, cell.n_tokens, **changes)


def record_curve(folder: SweepFolder, cell: Cell, segment: str, steps: range, loss: float) -> None:
    point = None if segment == "trunk" else cell.spec.point_id(cell.n_tokens)
    rows = [
        {"run_id": cell.spec.run_id, "point_id": point, "step": step, "n_tokens": step, "flops": 1.0,
         "train_loss": loss, "eval_loss": None, "lr": 0.1, "grad_norm": 1.0, "tokens_per_second": 9.0}
        for step in steps
    ]  # fmt: skip
    part = folder.run(cell.spec.run_id).curve_part(segment, steps[0], steps[-1])
    write_table(part, as_table(rows, CURVE_COLUMNS))


def test_points_come_in_the_order_of_the_plan_with_its_roles(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    cells = small_cells("grid.rungs=[16,32]", "grid.holdout_factor=2")
    for cell in reversed(cells[1:]):
        assert not all_standings(folder, [cell])[0].is_finished
        record(folder, cell)
        assert all_standings(folder, [cell])[0].is_finished
    frame = collect_points(cells, read_points(folder, cells), "smoke")
    assert list(zip(frame.run_id, frame.n_tokens, strict=True)) == [cell.key for cell in cells[1:]]
    assert list(frame.role) == [cell.role for cell in cells[1:]]
    assert set(frame.grid) == {"smoke"}
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == POINT_COLUMNS


def test_missing_values_are_null_and_never_zero(tmp_path: Path) -> None:
    folder, (cell, other) = SweepFolder(tmp_path), small_cells()
    record(
        folder, cell, loss=None, loss_sem=None, bits_per_byte=None, status="diverged", excluded_reason="why"
    )
    record(folder, other)
    frame = collect_points([cell, other], read_points(folder, [cell, other]), "g")
    assert np.isnan(frame.loss[0])
    assert frame[["loss_sem", "bits_per_byte"]].isna().all(axis=1).tolist() == [True, False]
    assert frame.excluded_reason.isna().tolist() == [False, True]


def test_a_failed_run_has_rows_that_say_why_and_stays_open(tmp_path: Path) -> None:
    folder, (cell, other) = SweepFolder(tmp_path), small_cells()
    record(folder, other)
    set_state(folder.run(cell.spec.run_id), RunStatus.FAILED, "OSError: no")
    frame = collect_points([cell, other], read_points(folder, [cell, other]), "g")
    assert frame.status.tolist() == ["failed", "done"]
    assert frame.excluded_reason[0] == "failed: OSError: no"
    assert frame[["loss", "seconds"]].isna().all(axis=1).tolist() == [True, False]
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == POINT_COLUMNS
    assert not all_standings(folder, [cell])[0].is_finished


def test_nothing_recorded_gives_empty_tables(tmp_path: Path) -> None:
    folder, cells = SweepFolder(tmp_path), small_cells()
    assert read_point(folder, cells[0]) is None
    assert len(write_tables(folder, cells, "g", [])) == 0
    assert list(pd.read_parquet(folder.points)) == list(POINT_COLUMNS)
    assert list(pd.read_parquet(folder.curves)) == list(CURVE_COLUMNS)


def test_curves_hold_each_step_once_trunk_first(tmp_path: Path) -> None:
    folder, (cell, other) = SweepFolder(tmp_path), small_cells()
    record_curve(folder, cell, f"branch-{cell.n_tokens}", range(24, 33, 8), 1.0)
    record_curve(folder, cell, "trunk", range(8, 33, 8), 2.0)
    record_curve(folder, cell, "trunk", range(32, 49, 8), 3.0)
    record_curve(folder, other, f"branch-{other.n_tokens}", range(48, 65, 8), 4.0)
    frame = collect_curves(folder, [cell, other], [])
    trunk = frame[frame.point_id.isna()]
    assert list(trunk.step) == [8, 16, 24, 32, 40, 48]
    assert list(frame.index[frame.point_id.isna()]) == list(range(6))
    assert not frame.duplicated(["run_id", "point_id", "step"]).any()
    narrowed = collect_curves(folder, [cell], [])
    assert set(narrowed.point_id.dropna()) == {cell.spec.point_id(cell.n_tokens)}
    assert narrowed.eval_loss.isna().all()


@pytest.mark.parametrize("at_once", [1, 5, 10**6])
def test_curves_of_many_runs_follow_the_plan_however_they_are_read(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs that are sorted together keep their order, and equal steps of two runs both stay."""
    monkeypatch.setattr(parts, "ROWS_AT_ONCE", at_once)
    folder, cells = SweepFolder(tmp_path), small_cells("grid.seeds=[3,1,2]")
    runs = list(dict.fromkeys(cell.spec.run_id for cell in cells))
    for loss, run_id in enumerate(runs):
        own = [cell for cell in cells if cell.spec.run_id == run_id]
        record_curve(folder, own[0], f"branch-{own[0].n_tokens}", range(24, 33, 8), 1.0 + loss)
        record_curve(folder, own[0], "trunk", range(8, 33, 8), 2.0 + loss)
    frame = collect_curves(folder, cells, [])
    assert list(dict.fromkeys(frame.run_id)) == runs
    for loss, run_id in enumerate(runs):
        part = frame[frame.run_id == run_id]
        assert part.step.tolist() == [8, 16, 24, 32, 24, 32]
        assert part.train_loss.tolist() == [2.0 + loss] * 4 + [1.0 + loss] * 2


def test_a_damaged_point_file_is_not_finished_and_its_plan_names_it(tmp_path: Path) -> None:
    folder, (cell, other) = SweepFolder(tmp_path), small_cells()
    record(folder, cell)
    record(folder, other)
    path = folder.run(cell.spec.run_id).point(cell.spec.point_id(cell.n_tokens))
    path.write_text(path.read_text()[:30])
    assert list(collect_points([cell, other], read_points(folder, [cell, other]), "g").point_id) == [
        other.spec.point_id(other.n_tokens)
    ]
    (lost, whole) = all_standings(folder, [cell, other])
    assert (lost.is_finished, whole.is_finished) == (False, True)
    assert lost.lost is not None
    assert path.name in lost.lost


def test_cells_to_forecast_carry_their_exact_sizes() -> None:
    cells = small_cells("grid.rungs=[16,32]")
    frame = cell_table(cells)
    assert list(frame.flops) == [cell.flops for cell in cells]
    assert list(frame.n_params) == [counting.n_params(cell.spec.model) for cell in cells]
    assert (frame.n_params > frame.n_params_matmul).all()
    assert (frame.n_params_matmul > frame.n_params_body).all()
    assert list(frame.rung) == [cell.spec.rung for cell in cells]
    np.testing.assert_allclose(frame.flops_6nd, 6.0 * frame.n_params_matmul * frame.n_tokens)


def test_a_table_is_taken_as_it_is_while_nothing_is_newer(tmp_path: Path) -> None:
    folder, cells = SweepFolder(tmp_path), small_cells()
    assert read_current(folder, cells) is None
    for cell in cells:
        record(folder, cell)
    written = write_tables(folder, cells, "smoke", [])
    current = read_current(folder, cells)
    assert current is not None
    pd.testing.assert_frame_equal(current, written)
    assert read_current(folder, cells[1:]) is None
    path = folder.run(cells[0].spec.run_id).point(cells[0].spec.point_id(cells[0].n_tokens))
    os.utime(path, (time.time() + 10, time.time() + 10))
    assert read_current(folder, cells) is None
    path.unlink()
    assert read_current(folder, cells) is None


def record_evals(folder: SweepFolder, cell: Cell, point: bool) -> None:
    run, point_id = folder.run(cell.spec.run_id), cell.spec.point_id(cell.n_tokens)
    row = {
        "run_id": cell.spec.run_id, "point_id": point_id if point else None, "n_tokens": cell.n_tokens,
        "task": "copy", "length": 4, "n_shot": 0, "split": "test", "metric": "exact_match", "value": 0.5,
        "sem": None, "n_items": 9, "chance": None, "item": 0, "n_positions": 4, "hits": 3,
        "exact_match": False, "log_p_answer": -1.0, "nll_per_token": 0.25, "margin": -0.5,
    }  # fmt: skip
    path = run.point_evals(point_id) if point else run.step_evals(cell.n_tokens)
    write_table(path, as_table([row], EVAL_COLUMNS))
    if point:
        write_table(run.point_items(point_id), as_table([row], ITEM_COLUMNS))


def test_task_tables_hold_finished_points_and_trunks_of_the_plan(tmp_path: Path) -> None:
    folder, (cell, other) = SweepFolder(tmp_path), small_cells()
    for each in (cell, other):
        record_evals(folder, each, point=True)
    record_evals(folder, cell, point=False)
    record(folder, cell)
    evals, items = collect_evals(folder, [cell, other], read_points(folder, [cell, other]), [])
    assert evals.point_id.isna().tolist() == [True, False]
    assert list(items.point_id) == [cell.spec.point_id(cell.n_tokens)]
    assert evals[["sem", "chance"]].isna().all(axis=None)
    assert {name: str(kind) for name, kind in evals.dtypes.items()} == EVAL_COLUMNS
    assert {name: str(kind) for name, kind in items.dtypes.items()} == ITEM_COLUMNS


def test_a_sweep_without_tasks_has_no_task_tables(tmp_path: Path) -> None:
    folder, (cell, *_) = SweepFolder(tmp_path), small_cells()
    record(folder, cell)
    write_tables(folder, [cell], "smoke", [])
    assert not folder.evals.exists()
    assert not folder.items.exists()


def test_tables_of_the_former_schema_are_read_under_the_names_of_today(tmp_path: Path) -> None:
    path = tmp_path / "points.parquet"
    for key, former, now in (
        ("run_id", "peak_lr", "hidden_lr"),
        ("run_id", "lr", "hidden_lr"),
        ("n", "lr", "lr"),
    ):
        pd.DataFrame({key: ["a"], former: [0.5]}).to_parquet(path)
        assert list(read_table(path)) == [key, now]  # A foreign table keeps its own names.
