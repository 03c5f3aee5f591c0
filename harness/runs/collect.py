"""Tables of a sweep, collected from the folders of its runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.grid.cells import Cell
from harness.recipe import counting
from harness.records.columns import CURVE_COLUMNS, EVAL_COLUMNS, ITEM_COLUMNS, POINT_COLUMNS, as_table
from harness.records.files import write_table
from harness.records.paths import SweepFolder
from harness.records.run_files import RunStatus
from harness.runs.rows import unmeasured


def finished(folder: SweepFolder, cell: Cell) -> bool:
    """Return whether a cell has its end point, done or diverged."""
    return folder.run(cell.spec.run_id).point(cell.spec.point_id(cell.n_tokens)).exists()


def read_point(folder: SweepFolder, cell: Cell) -> dict[str, Any] | None:
    """Return the row of a cell: its recorded end point, or a row with the reason why its run failed.

    The result is None if the run has neither reached the point nor failed.
    """
    run = folder.run(cell.spec.run_id)
    path = run.point(cell.spec.point_id(cell.n_tokens))
    if path.exists():
        values: dict[str, Any] = json.loads(path.read_text())
        return values or None
    state = run.read_state()
    if state.status != RunStatus.FAILED:
        return None
    reason = state.error or "see its log.txt"
    return unmeasured(cell.spec, cell.n_tokens, RunStatus.FAILED, reason) | {"seconds": None, "device": None}


def collect_points(folder: SweepFolder, cells: list[Cell], grid: str) -> pd.DataFrame:
    """Return points.parquet: one row per recorded cell, in the order of the plan."""
    rows = []
    for cell in cells:
        row = read_point(folder, cell)
        if row is not None:
            rows.append(row | {"grid": grid, "role": cell.role})
    for row in rows:
        # JSON has null for missing numbers, a column of floats has NaN.
        for column in ("loss", "loss_sem", "bits_per_byte", "seconds"):
            row[column] = np.nan if row[column] is None else row[column]
    return as_table(rows, POINT_COLUMNS)


def collect_curves(folder: SweepFolder, cells: list[Cell]) -> pd.DataFrame:
    """Return curves.parquet: the curves of all runs, trunk first, then each branch, each step once."""
    run_ids = list(dict.fromkeys(cell.spec.run_id for cell in cells))
    wanted = {cell.spec.point_id(cell.n_tokens) for cell in cells}
    frames = [_run_curves(folder, run_id, wanted) for run_id in run_ids]
    frames = [frame for frame in frames if len(frame)]
    return as_table(pd.concat(frames, ignore_index=True) if frames else [], CURVE_COLUMNS)


def _run_curves(folder: SweepFolder, run_id: str, wanted: set[str]) -> pd.DataFrame:
    """Return the curves of one run: its trunk, and the branches to the points `wanted`."""
    parts = [pd.read_parquet(path) for path in sorted(folder.run(run_id).curves.glob("*.parquet"))]
    if not parts:
        return as_table([], CURVE_COLUMNS)
    frame = as_table(pd.concat(parts, ignore_index=True), CURVE_COLUMNS)
    # A run may hold branches of an earlier grid; trunks have no point_id.
    frame = frame[frame.point_id.isna() | frame.point_id.isin(wanted)]
    # Parts of two attempts could overlap; a step then counts once.
    frame = frame.drop_duplicates(["point_id", "step"], keep="last")
    return frame.sort_values(["point_id", "step"], na_position="first", ignore_index=True)


def read_current(folder: SweepFolder, cells: list[Cell]) -> pd.DataFrame | None:
    """Return points.parquet if it is up to date, else None.

    It is up to date if it holds exactly these cells, all of them are finished, and no point is newer.
    """
    if not folder.points.exists() or not folder.curves.exists():
        return None
    # A killed command may have written the points and not yet the task evaluations.
    if not folder.evals.exists() and any(
        folder.run(c.spec.run_id).point_evals(c.spec.point_id(c.n_tokens)).exists() for c in cells
    ):
        return None
    # Times of files instead of their content, so that a finished sweep is recognised at once.
    written = min(folder.points.stat().st_mtime_ns, folder.curves.stat().st_mtime_ns)
    points = as_table(pd.read_parquet(folder.points), POINT_COLUMNS)
    expected = [(cell.spec.point_id(cell.n_tokens), cell.role) for cell in cells]
    if list(zip(points.point_id, points.role, strict=True)) != expected:
        return None
    paths = (folder.run(c.spec.run_id).point(p) for c, (p, _) in zip(cells, expected, strict=True))
    return points if all(path.exists() and path.stat().st_mtime_ns <= written for path in paths) else None


def collect_evals(folder: SweepFolder, cells: list[Cell]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return evals.parquet, rows of trunks first, and items.parquet; both are empty without tasks."""
    runs = [folder.run(run_id) for run_id in dict.fromkeys(cell.spec.run_id for cell in cells)]
    points = [(folder.run(c.spec.run_id), c.spec.point_id(c.n_tokens)) for c in cells if finished(folder, c)]
    evals = [path for run in runs for path in sorted(run.evals.glob("trunk-*.parquet"))]
    evals += [run.point_evals(point_id) for run, point_id in points]
    items = [run.point_items(point_id) for run, point_id in points]
    return _read_parts(evals, EVAL_COLUMNS), _read_parts(items, ITEM_COLUMNS)


def _read_parts(paths: list[Path], columns: dict[str, str]) -> pd.DataFrame:
    """Return the existing files of `paths` as one table."""
    frames = [pd.read_parquet(path) for path in paths if path.exists()]
    return as_table(pd.concat(frames, ignore_index=True) if frames else [], columns)


def write_tables(folder: SweepFolder, cells: list[Cell], grid: str) -> pd.DataFrame:
    """Write all tables of a sweep and return its points.

    Tables of task evaluations are written if the sweep has any. Fits are removed if they were made from other
    points.
    """
    points = collect_points(folder, cells, grid)
    # First of all, so that no moment shows new points beside fits of old ones.
    if not folder.points.exists() or folder.points.read_bytes() != points.to_parquet(index=False):
        folder.fits.unlink(missing_ok=True)
    write_table(folder.points, points)
    write_table(folder.curves, collect_curves(folder, cells))
    evals, items = collect_evals(folder, cells)
    if len(evals):
        write_table(folder.evals, evals)
        write_table(folder.items, items)
    return points


def cell_table(cells: list[Cell]) -> pd.DataFrame:
    """Return sizes and compute of cells, for forecasts made before they are trained."""
    return pd.DataFrame(
        [
            {
                "rung": cell.spec.rung,
                "seed": cell.spec.seed,
                "n_params": counting.n_params(cell.spec.model),
                "n_params_matmul": counting.n_params_matmul(cell.spec.model),
                "n_params_body": counting.n_params_body(cell.spec.model),
                "n_tokens": cell.n_tokens,
                "flops": cell.flops,
                "flops_6nd": counting.train_flops_6nd(cell.spec.model, cell.n_tokens),
            }
            for cell in cells
        ]
    )
