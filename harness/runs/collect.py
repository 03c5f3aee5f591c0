"""Tables of a sweep, collected from the folders of its runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.grid.cells import Cell
from harness.recipe import counting
from harness.recipe.schedule import TRUNK
from harness.records.columns import (
    ARM,
    CURVE_COLUMNS,
    EVAL_COLUMNS,
    ITEM_COLUMNS,
    as_table,
    each_step_once,
    point_columns,
)
from harness.records.derived import Stage, hash_of, is_current, record_made, was_made
from harness.records.errors import Damaged
from harness.records.files import read_table, remove, set_aside, table_bytes, write_atomic
from harness.records.paths import RunFolder, SweepFolder
from harness.records.run_files import RunStatus
from harness.runs.finished import Standing, read_point_file, standings
from harness.runs.parts import batches, joined, read_parts
from harness.runs.rows import SOURCES, source_rows, unmeasured


def has_point(folder: SweepFolder, cell: Cell) -> bool:
    """Return whether a cell was trained to its end point once, even if that point was damaged since."""
    return os.path.lexists(folder.run(cell.spec.run_id).point(cell.spec.point_id(cell.n_tokens)))


def all_standings(folder: SweepFolder, cells: Sequence[Cell]) -> list[Standing]:
    """Return for each cell whether its end point is finished."""
    runs: dict[str, list[Cell]] = {}
    for cell in cells:
        runs.setdefault(cell.spec.run_id, []).append(cell)
    found = {
        run_id: standings(folder.run(run_id), own[0].spec, [cell.n_tokens for cell in own])
        for run_id, own in runs.items()
    }
    result = [found[cell.spec.run_id][cell.n_tokens] for cell in cells]
    if Standing() not in result:
        return result
    before = _recorded_before(folder)
    for index, cell in enumerate(cells):
        point_id = cell.spec.point_id(cell.n_tokens)
        if result[index] == Standing() and point_id in before:
            result[index] = Standing(lost=f"{cell.spec.run_id}/points/{point_id}.json is missing")
    return result


def _recorded_before(folder: SweepFolder) -> set[str]:
    """Return the end points that points.parquet has as reached, if it was made from this folder's runs."""
    if not folder.runs.exists():
        return set()
    try:
        points = read_table(folder.points, ["point_id", "status"])
    except Damaged:
        return set()
    return set(points.point_id[points.status != RunStatus.FAILED])


def read_point(folder: SweepFolder, cell: Cell) -> dict[str, Any] | None:
    """Return the row of a cell: its recorded end point, or a row with the reason why its run failed.

    The result is None if the run has neither reached the point nor failed, or the point cannot be read.
    """
    run, point_id = folder.run(cell.spec.run_id), cell.spec.point_id(cell.n_tokens)
    try:
        return read_point_file(run.point(point_id), run.run_id, point_id)
    except Damaged:
        state = run.read_state()
    if state.status != RunStatus.FAILED:
        return None
    reason = state.error or "see its log.txt"
    return unmeasured(cell.spec, cell.n_tokens, RunStatus.FAILED, reason) | {"seconds": None, "device": None}


def read_points(folder: SweepFolder, cells: Sequence[Cell]) -> list[dict[str, Any] | None]:
    """Return the row of each cell as `read_point` does."""
    return [read_point(folder, cell) for cell in cells]


def collect_points(cells: list[Cell], rows: Sequence[dict[str, Any] | None], grid: str) -> pd.DataFrame:
    """Return points.parquet: one row per recorded cell, in the order of the plan.

    Args:
        cells: cells of the plan.
        rows: their rows, as `read_points` returns them.
        grid: name of the grid.
    """
    found = [
        row | {"grid": grid, "role": cell.role, ARM: cell.arm}
        for cell, row in zip(cells, rows, strict=True)
        if row is not None
    ]
    for row in found:
        # JSON has null for missing numbers, a column of floats has NaN.
        for column in ("loss", "loss_sem", "bits_per_byte", "seconds"):
            row[column] = np.nan if row[column] is None else row[column]
    return as_table(found, _columns(cells))


def _columns(cells: list[Cell]) -> dict[str, str]:
    """Return the columns of points.parquet."""
    return point_columns(any(cell.arm is not None for cell in cells))


def collect_curves(folder: SweepFolder, cells: list[Cell], damaged: list[Damaged]) -> pd.DataFrame:
    """Return curves.parquet: the curves of all runs, trunk first, then each branch, each step once.

    Args:
        folder: folder of the sweep.
        cells: cells of the plan.
        damaged: receives parts that cannot be read, which are left out.
    """
    runs = [folder.run(run_id) for run_id in dict.fromkeys(cell.spec.run_id for cell in cells)]
    wanted = {cell.spec.point_id(cell.n_tokens) for cell in cells}
    paths = ((run, path) for run in runs for path in sorted(run.curves.glob("*.parquet")))
    parts = batches(read_parts(paths, CURVE_COLUMNS, damaged))
    frames = [_in_order(joined(some, CURVE_COLUMNS, damaged), wanted) for some in parts]
    frames = [frame for frame in frames if len(frame)]
    return as_table(pd.concat(frames, ignore_index=True) if frames else [], CURVE_COLUMNS)


def _in_order(frame: pd.DataFrame, wanted: set[str]) -> pd.DataFrame:
    """Return the curves of several runs, run after run: trunks, and branches to `wanted` points."""
    # A run may hold branches of an earlier grid; trunks have no point_id.
    frame = frame[frame.point_id.isna() | frame.point_id.isin(wanted)]
    frame = each_step_once(frame)
    order = pd.factorize(frame.run_id)[0]
    frame = frame.assign(order=order).sort_values(
        ["order", "point_id", "step"], na_position="first", ignore_index=True
    )
    return frame.drop(columns="order")


def read_current(folder: SweepFolder, cells: list[Cell]) -> pd.DataFrame | None:
    """Return points.parquet if all cells are finished and the tables are up to date, else None.

    The tables are up to date if neither they nor a file of a run has changed since they were made.
    """
    # Times and sizes of the files of runs instead of their content, so that a finished sweep is recognised at
    # once.
    if not was_made(folder, Stage.TABLES) or not is_current(folder, Stage.TABLES, _made_from(folder, cells)):
        return None
    points = as_table(read_table(folder.points), _columns(cells))
    if [tuple(row) for row in points[["point_id", "role", *([ARM] if ARM in points else [])]].to_numpy()] != [
        _identity(cell) for cell in cells
    ]:
        return None
    return None if (points.status == RunStatus.FAILED).any() else points


def _identity(cell: Cell) -> tuple[str, ...]:
    """Return what tells the row of a cell from others: point, role, and the arm if the grid has arms."""
    return cell.spec.point_id(cell.n_tokens), cell.role, *([cell.arm] if cell.arm is not None else [])


def _made_from(folder: SweepFolder, cells: list[Cell]) -> str:
    """Return a hash of the cells, and of the names, sizes and times of all files that tables come from."""
    files = [
        (run_id, [_listing(part) for part in _sources(folder.run(run_id))])
        for run_id in dict.fromkeys(cell.spec.run_id for cell in cells)
    ]
    return hash_of([_identity(cell) for cell in cells], files)


def _sources(run: RunFolder) -> tuple[Path, ...]:
    """Return the folders of a run that tables are collected from."""
    return run.points, run.curves, run.evals, run.items


def _listing(folder: Path) -> list[tuple[str, int, int]]:
    """Return name, size and time of every file of a folder; nothing if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.stat()) for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted((name, status.st_size, status.st_mtime_ns) for name, status in found)


def collect_evals(
    folder: SweepFolder,
    cells: list[Cell],
    rows: Sequence[dict[str, Any] | None],
    damaged: list[Damaged],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return evals.parquet, rows of trunks first, and items.parquet; both are empty without tasks.

    Losses on the sources of a mixture are the last rows of evals.parquet, those on the way before others.

    Args:
        folder: folder of the sweep.
        cells: cells of the plan.
        rows: rows of their points, as `read_points` returns them.
        damaged: receives files that cannot be read, which are left out.
    """
    runs = [folder.run(run_id) for run_id in dict.fromkeys(cell.spec.run_id for cell in cells)]
    # A file that is damaged counts as there; whether it must be is for `standings` to say.
    points = [(folder.run(c.spec.run_id), c.spec.point_id(c.n_tokens)) for c in cells]
    points = [(run, point_id) for run, point_id in points if run.point(point_id).exists()]
    paths = [(run, path) for run in runs for path in sorted(run.evals.glob("trunk-*.parquet"))]
    paths += [(run, run.point_evals(point_id)) for run, point_id in points]
    evals = _existing(paths, EVAL_COLUMNS, damaged)
    items = _existing([(run, run.point_items(point_id)) for run, point_id in points], ITEM_COLUMNS, damaged)
    sources = [found for row in rows for found in source_rows(row)]
    if sources:
        before = [row for run in runs for row in _on_the_way(run)]
        frames = [evals, as_table([*before, *sources], EVAL_COLUMNS)]
        evals = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
    return evals, items


def _on_the_way(run: RunFolder) -> Iterator[dict[str, Any]]:
    """Yield the rows on the sources of a mixture at the steps of a trunk that were evaluated."""
    found: dict[int, Iterator[dict[str, Any]]] = {}
    paths = ((run, path) for path in run.curves.glob(f"{TRUNK}-*.parquet"))
    # `collect_curves` says which parts are damaged.
    for part in read_parts(paths, CURVE_COLUMNS, []):
        if SOURCES not in part.table.column_names:
            continue
        for row in part.table.select(["step", "n_tokens", SOURCES]).to_pylist():
            if row[SOURCES] is not None:
                point = {"run_id": run.run_id, "point_id": None, "n_tokens": row["n_tokens"]}
                found[row["step"]] = source_rows(point | {SOURCES: json.loads(row[SOURCES])})
    for step in sorted(found):
        yield from found[step]


def _existing(
    paths: list[tuple[RunFolder, Path]], columns: dict[str, str], damaged: list[Damaged]
) -> pd.DataFrame:
    """Return the existing files of `paths` as one table."""
    there = ((run, path) for run, path in paths if path.exists())
    parts = batches(read_parts(there, columns, damaged))
    frames = [joined(some, columns, damaged) for some in parts]
    return as_table(pd.concat(frames, ignore_index=True) if frames else [], columns)


def write_tables(folder: SweepFolder, cells: list[Cell], grid: str, damaged: list[Damaged]) -> pd.DataFrame:
    """Write all tables of a sweep and return its points.

    Tables of task evaluations are written if the sweep has any. Fits are removed if they were made from other
    points.

    Args:
        folder: folder of the sweep.
        cells: cells of the plan.
        grid: name of the grid.
        damaged: receives files of runs that cannot be read. They are set aside, so that the next plan trains
            again what they held.
    """
    lost: list[Damaged] = []
    made_from = _made_from(folder, cells)
    rows = read_points(folder, cells)
    points = collect_points(cells, rows, grid)
    tables = {folder.points: points, folder.curves: collect_curves(folder, cells, lost)}
    evals, items = collect_evals(folder, cells, rows, lost)
    if len(evals):
        tables |= {folder.evals: evals, folder.items: items}
    # First of all, so that no moment shows new points beside fits of old ones.
    if not _holds(folder.points, table_bytes(points)):
        remove(folder.fits)
    for path in (folder.evals, folder.items):
        if path not in tables:
            remove(path)
    for path, frame in tables.items():
        data = table_bytes(frame)
        if not _holds(path, data):
            write_atomic(path, data)
    if lost:
        for error in lost:
            set_aside(error.path)
        damaged += lost
    else:
        record_made(folder, Stage.TABLES, made_from, tables)
    return points


def _holds(path: Path, data: bytes) -> bool:
    """Return whether a file holds just these bytes."""
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data


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
