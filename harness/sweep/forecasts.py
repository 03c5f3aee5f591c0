"""Sealed forecasts of a sweep: which cells need one, how it is sealed, and whether all are still there.

A held-out cell is forecast before it is trained. A sweep that grows later gets another forecast of its new
held-out cells, in a file of its own: forecast.json is the first, forecast-2.json the second. No forecast is
overwritten, and each stays scored on its own cells, even if the grid of today fits them.

Functions import the fits themselves, so that the command starts without SciPy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pandas as pd

from analysis.records.fits import read_study
from analysis.records.forecast import (
    Ahead,
    ForecastRecord,
    held_out,
    listed_numbers,
    own_forecasts,
    read_forecast,
)
from harness.grid.cells import Cell
from harness.records.errors import Damaged, InputError
from harness.records.exclusive import write_new
from harness.records.files import json_text, remove, set_aside
from harness.records.json_files import to_json, with_check
from harness.records.paths import SweepFolder, forecast_number
from harness.records.provenance import code_revision
from harness.records.sweep_file import SweepRecord, find_sweep
from harness.runs.collect import cell_table, has_point

WAY_OUT = "put it back from a copy, or delete it and go on without a forecast with grid.holdout_factor=1"
Place = tuple[str, int]  # rung and token count: a forecast holds for every seed of a cell


@dataclass(frozen=True)
class Seal:
    """A forecast that was just sealed.

    Attributes:
        path: its file.
        n_cells: cells that it forecasts.
        sha256: the seal.
    """

    path: Path
    n_cells: int
    sha256: str


def seal_forecast(
    folder: SweepFolder, points: pd.DataFrame, cells: Sequence[Cell], resamples: int, seed: int = 0
) -> Seal | None:
    """Fit the cells trained so far, and seal a forecast of the held-out cells that are not trained.

    Args:
        folder: folder of the sweep.
        points: points.parquet so far.
        cells: cells of the plan.
        resamples: redrawn estimates of each law behind the intervals.
        seed: of the redrawn estimates.

    Returns:
        The forecast, or None if every such cell is forecast already, by an earlier invocation or another
        driver.
    """
    from analysis.forecast.seal import seal_forecast, table_sha256
    from analysis.tables.table import load_table

    fitted = points[points.role == "fit"]
    table = table_sha256(load_table(fitted))
    ahead = unseen(folder, cells)
    if not unforecast(ahead, _own(folder, table)):
        return None
    sealed = seal_forecast(
        fitted, cell_table(ahead), code_revision=code_revision(), resamples=resamples, seed=seed
    )
    text = json_text(with_check(to_json(sealed)))
    # Sealing takes a while, and another driver of the sweep may have been faster: the first seal counts.
    while unforecast(ahead, _own(folder, table)):
        path = _next_file(folder, table)
        if write_new(path, text):
            return Seal(path, len(sealed.cells), sealed.sha256)
    return None


def _next_file(folder: SweepFolder, table: str) -> Path:
    """Return the first file that holds no forecast of this sweep; what stands in its place is set aside."""
    own = {forecast.sha256 for forecast in _own(folder, table)}
    for number in count(1):
        path = folder.numbered_forecast(number)
        if path not in folder.forecasts:
            return path
        if _seal(path) not in own:
            # `check_forecasts` has found that no trained cell rests on it.
            set_aside(path)
            return path
    raise AssertionError("numbers do not end")


def _own(folder: SweepFolder, table: str) -> list[ForecastRecord]:
    """Return the intact forecasts of this sweep: sweep.json has their seals, or they fit this very table."""
    record = find_sweep(folder.sweep)
    known = set(record.seals) if record else set()
    return [each for each in intact(folder).values() if each.sha256 in known or each.table_sha256 == table]


def intact(folder: SweepFolder) -> dict[Path, ForecastRecord]:
    """Return the forecasts of a folder whose seal is intact, by file, in the order of sealing."""
    found = {path: _sealed(path) for path in folder.forecasts}
    return {path: forecast for path, forecast in found.items() if forecast}


def own_intact(folder: SweepFolder) -> dict[Path, ForecastRecord]:
    """Return the intact forecasts that the sweep sealed by its sweep.json, by file."""
    record = find_sweep(folder.sweep)
    return own_forecasts(intact(folder), record.seals, held_out(record)) if record else {}


def seals_of(
    folder: SweepFolder, before: Sequence[str | None], known: Collection[str | None]
) -> tuple[str | None, ...]:
    """Return the seal of every forecast by number: that of its file if it is `known`, else that of before."""
    found = {path: forecast.sha256 for path, forecast in intact(folder).items()}
    seals = list(before)
    for number in range(1, _last_number(folder, before) + 1):
        seal = found.get(folder.numbered_forecast(number))
        if number > len(seals):
            seals.append(None)
        if seal in known:
            seals[number - 1] = seal
    while seals and seals[-1] is None:
        seals.pop()
    return tuple(seals)


def _last_number(folder: SweepFolder, seals: Sequence[str | None]) -> int:
    """Return the highest number that a seal or the file of a forecast has; 0 if there is none."""
    return max([len(seals), *map(forecast_number, folder.forecasts)], default=0)


def _sealed(path: Path) -> ForecastRecord | None:
    """Return the forecast in a file; None if there is none, or its seal is broken."""
    try:
        found = read_forecast(path)
    except InputError:
        return None
    return found if found.seal_intact else None


def _seal(path: Path) -> str | None:
    """Return the seal of a file; None if there is none, or a broken one."""
    found = _sealed(path)
    return found.sha256 if found else None


def unseen(folder: SweepFolder, cells: Iterable[Cell]) -> list[Cell]:
    """Return the held-out cells of which no seed has its end point: a forecast of others comes too late."""
    held = [cell for cell in cells if cell.role == "holdout"]
    seen = {place(cell) for cell in held if has_point(folder, cell)}
    return [cell for cell in held if place(cell) not in seen]


def unforecast(cells: Iterable[Cell], forecasts: Iterable[ForecastRecord]) -> list[Cell]:
    """Return the cells that no forecast holds."""
    left = unforecast_places(map(place, cells := list(cells)), forecasts)
    return [cell for cell in cells if place(cell) in left]


def unforecast_places(places: Iterable[Place], forecasts: Iterable[ForecastRecord]) -> set[Place]:
    """Return the places that no forecast holds."""
    return set(places) - {(cell.rung, cell.n_tokens) for each in forecasts for cell in each.cells}


def place(cell: Cell) -> Place:
    """Return the rung and the token count of a cell."""
    return cell.spec.rung, cell.n_tokens


def discard_foreign(folder: SweepFolder) -> None:
    """Remove forecasts from a folder whose runs begin anew: they are of other runs, as in a fresh clone."""
    for path in folder.forecasts:
        remove(path)


def check_fit_cells(cells: list[Cell]) -> None:
    """Raise InputError if the hold-out leaves too few cells to fit the competing laws."""
    from analysis.contest.adequacy import LARGEST
    from analysis.laws import find_law

    if not any(cell.role == "holdout" for cell in cells):
        return
    need = len(find_law(LARGEST).params)
    fitted = {(cell.spec.rung, cell.n_tokens, cell.spec.seed) for cell in cells if cell.role == "fit"}
    sizes, tokens = ({key[index] for key in fitted} for index in (0, 1))
    if len(fitted) < need or min(len(sizes), len(tokens)) < 2:
        raise InputError(
            f"grid.holdout_factor leaves {len(fitted)} cells to fit (sizes: {len(sizes)}, token counts: "
            f"{len(tokens)}), the forecast needs {need} (2, 2); lower it (1 holds nothing out) or add cells"
        )


def forecastable(cells: list[Cell]) -> bool:
    """Return whether the fitted cells of a plan suffice for a forecast of the others."""
    try:
        check_fit_cells(cells)
    except InputError:
        return False
    return True


def check_forecasts(
    folder: SweepFolder, cells: list[Cell], before: SweepRecord | None
) -> tuple[str | None, ...]:
    """Check that the forecasts are the sweep's own if they can no longer be sealed anew.

    Args:
        folder: folder of the sweep.
        cells: cells of the plan.
        before: record of earlier invocations, which has the seals; None if there was none.

    Returns:
        The seals of the sweep's forecasts, in the order of sealing.

    Raises:
        InputError: held-out cells are trained, and their forecast is gone, damaged or another sweep's.
    """
    seals = before.seals if before else ()
    own = _own_files(folder, cells, before)
    if not any(cell.role == "holdout" for cell in cells):
        for number, seal in enumerate(seals, 1):
            if seal and folder.numbered_forecast(number) in folder.forecasts:
                _check_one(folder, number, seal, cells)
        return seals_of(folder, seals, {forecast.sha256 for forecast in own.values()})
    trained = _trained_places(folder, cells, before)
    for number in range(1, max(_last_number(folder, seals), 1) + 1):
        others = [forecast for path, forecast in own.items() if path != folder.numbered_forecast(number)]
        # Each but the last was followed by another. The last can be sealed anew until its cells are trained.
        if number < len(seals) or unforecast_places(trained, others):
            _check_one(folder, number, seals[number - 1] if number <= len(seals) else None, cells)
    return seals_of(folder, seals, {each.sha256 for each in own.values()}) if trained else seals


def _own_files(
    folder: SweepFolder, cells: Iterable[Cell], before: SweepRecord | None
) -> dict[Path, ForecastRecord]:
    """Return the intact forecasts of a folder that the sweep sealed, by file."""
    planned = {(cell.spec.rung, cell.n_tokens, cell.flops) for cell in cells if cell.role == "holdout"}
    ahead: set[Ahead] = held_out(before) if before else planned
    return own_forecasts(intact(folder), before.seals if before else (), ahead)


def foreign_forecasts(folder: SweepFolder, cells: Iterable[Cell], before: SweepRecord | None) -> list[Path]:
    """Return the files of forecasts that the sweep did not seal and that are not in place of one."""
    own, seals = _own_files(folder, cells, before), before.seals if before else ()
    listed = listed_numbers(seals)
    return [path for path in folder.forecasts if path not in own and forecast_number(path) not in listed]


def _trained_places(folder: SweepFolder, cells: Iterable[Cell], before: SweepRecord | None) -> set[Place]:
    """Return the places of the trained cells that are held out, or were in the plan before."""
    now = {place(cell) for cell in cells if cell.role == "holdout" and has_point(folder, cell)}
    earlier = [cell for cell in before.cells if cell.role == "holdout"] if before else []
    return now | {
        (cell.rung, cell.n_tokens)
        for cell in earlier
        if folder.run(cell.run_id).point(cell.point_id).exists()
    }


def _check_one(folder: SweepFolder, number: int, seal: str | None, cells: Iterable[Cell]) -> None:
    """Raise InputError if a forecast on which trained cells rest is gone, damaged or another sweep's.

    Args:
        folder: folder of the sweep.
        number: place of the forecast in the order of sealing.
        seal: its seal by sweep.json; None in records of earlier versions.
        cells: cells of the plan.
    """
    path = folder.numbered_forecast(number)
    if not path.exists():
        if seal is None and not (number == 1 and _was_scored(folder)):
            return
        raise InputError(f"{path} is gone, and held-out cells are trained, so none can be sealed; {WAY_OUT}")
    try:
        found = read_forecast(path)
    except Damaged as error:
        raise Damaged(path, error.reason, WAY_OUT) from error
    except InputError as error:
        raise InputError(f"{error}; or {WAY_OUT}") from error
    if not found.seal_intact:
        raise Damaged(path, "its seal is broken", WAY_OUT)
    own = {(cell.spec.rung, cell.n_tokens, cell.flops) for cell in cells}
    its = {(cell.rung, cell.n_tokens, cell.flops) for cell in found.cells}
    if found.sha256 != seal if seal else not own & its:
        raise InputError(f"{path} is not the forecast that this sweep sealed; {WAY_OUT}")


def _was_scored(folder: SweepFolder) -> bool:
    """Return whether fits.json has the score of a forecast."""
    try:
        return read_study(folder.fits).forecast is not None
    except InputError:
        return False
