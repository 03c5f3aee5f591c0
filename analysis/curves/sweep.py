"""Runs of a sweep, finished or running, as their files show them."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import nlargest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.arrays import Array
from analysis.curves.curve import Curve
from analysis.curves.run import End, Run, smoothed, warm_up_end
from analysis.curves.schedule import KINDS, Plan
from analysis.laws.annealing import Schedule
from harness.records import sweep_file
from harness.records.columns import DONE, checked_curves, checked_points, each_step_once, with_current_names
from harness.records.errors import Damaged, InputError
from harness.records.files import read_table, version
from harness.records.json_files import read_checked
from harness.records.paths import RunFolder, SweepFolder
from harness.records.sweep_file import SweepCell, SweepRecord

COLUMNS = ["point_id", "step", "n_tokens", "train_loss", "eval_loss", "hidden_lr"]
# Finished runs of one size that others are compared with, and unfinished ones that are followed. More say
# little, and a driver of ten thousand runs would read and compare for minutes at every look.
MOST_OF_A_SIZE, MOST_FOLLOWED = 30, 100
REFERENCE, COSINE = "reference", "cosine"  # role of the runs that have this schedule in any sweep


class SweepCurves:
    """Runs of a sweep; what did not change since the last look is not read again.

    Args:
        root: folder of the sweep.
    """

    def __init__(self, root: Path):
        self._folder = SweepFolder(root)
        self._seen: dict[str, tuple[object, Run | None]] = {}
        self._tables: _Tables | None = None
        self._record: tuple[object, SweepRecord, dict[str, list[SweepCell]]] | None = None
        self._finished: set[str] = set()
        self._compared: dict[str, list[SweepCell]] = {}

    def read(self) -> list[Run]:
        """Return the runs of the plan that have a curve.

        Raises:
            InputError: the folder is none of a sweep, or its record cannot be read.
        """
        record, cells = self._planned()
        return self._runs(cells, record)

    def read_few(self) -> list[Run]:
        """Return at most MOST_FOLLOWED unfinished runs, and MOST_OF_A_SIZE finished ones of each size.

        Of more unfinished runs, those that wrote a state last are taken. A run that was finished once is not
        looked at again. Raises InputError as `read` does.
        """
        record, cells = self._planned()
        recorded = self._stored().recorded if not self._folder.runs.is_dir() else None
        open_runs = [run for run, own in cells.items() if not self._is_finished(run, own, recorded)]
        if len(open_runs) > MOST_FOLLOWED:
            open_runs = nlargest(MOST_FOLLOWED, open_runs, key=self._written)
        taken = Counter(map(_size, self._compared.values()))
        for run_id in [run for run in cells if run in self._finished and run not in self._compared]:
            size = _size(cells[run_id])
            if taken[size] < MOST_OF_A_SIZE:
                # Once chosen it stays, so that a forecast does not move with the choice.
                taken[size] += 1
                self._compared[run_id] = cells[run_id]
        chosen = {*open_runs, *self._compared}
        return self._runs({run: own for run, own in cells.items() if run in chosen}, record)

    @property
    def n_left_out(self) -> int:
        """Finished runs that `read_few` did not return."""
        return len(self._finished) - len(self._compared)

    def _written(self, run_id: str) -> tuple[int, int]:
        """Return when a run wrote its state last."""
        return version(self._folder.run(run_id).state) or (0, 0)

    def _planned(self) -> tuple[SweepRecord, dict[str, list[SweepCell]]]:
        """Return the record of the sweep and its cells by run, read again only if it was written anew."""
        if not self._folder.sweep.exists():
            raise InputError(
                f"{self._folder.root} is no sweep folder (sweep.json is missing); give results/NAME, or "
                "a table of curves"
            )
        state = version(self._folder.sweep)
        if self._record is None or self._record[0] != state:
            record = sweep_file.read_sweep(self._folder.sweep)
            self._record = (state, record, _by_run(record))
            # A plan that grew has new ends for runs that were finished.
            self._finished, self._compared = set(), {}
        return self._record[1:]

    def _is_finished(self, run_id: str, cells: Sequence[SweepCell], recorded: set[str] | None) -> bool:
        """Return whether every end point of a run is recorded: in its folder, or in `recorded` if given."""
        if run_id not in self._finished:
            names = set(_names(self._folder.run(run_id).points)) if recorded is None else set()
            there = recorded or {name.removesuffix(".json") for name in names}
            if not all(cell.point_id in there for cell in cells):
                return False
            self._finished.add(run_id)
        return True

    def _runs(self, cells: Mapping[str, list[SweepCell]], record: SweepRecord) -> list[Run]:
        tables = None if self._folder.runs.is_dir() else self._stored()
        found = [self._run(run_id, own, record, tables) for run_id, own in cells.items()]
        return [run for run in found if run is not None]

    def _stored(self) -> _Tables:
        """Return the tables of a sweep whose run folders are gone, read anew if they were written anew."""
        state = tuple(map(version, (self._folder.curves, self._folder.points)))
        if self._tables is None or self._tables.state != state:
            self._tables = _Tables.of(self._folder, state)
            self._finished, self._compared = set(), {}
        return self._tables

    def _run(
        self, run_id: str, cells: Sequence[SweepCell], record: SweepRecord, tables: _Tables | None
    ) -> Run | None:
        folder = self._folder.run(run_id)
        state = (tables.state if tables else (_names(folder.curves), _names(folder.points))), len(cells)
        if run_id in self._seen and self._seen[run_id][0] == state:
            return self._seen[run_id][1]
        if tables:
            rows, losses = tables.rows(run_id), tables.losses
        else:
            rows, losses = _rows(folder), _losses(folder, cells)
        run = sweep_run(cells, rows, losses, record.config) if len(rows) else None
        self._seen[run_id] = (state, run)
        return run


def finished_runs(record: SweepRecord, curves: pd.DataFrame, points: pd.DataFrame) -> list[Run]:
    """Return the runs of a sweep from its tables, with their columns of today."""
    tables = _Tables(curves, points)
    found = ((cells, tables.rows(run_id)) for run_id, cells in _by_run(record).items())
    return [sweep_run(cells, rows, tables.losses, record.config) for cells, rows in found if len(rows)]


def _by_run(record: SweepRecord) -> dict[str, list[SweepCell]]:
    cells: dict[str, list[SweepCell]] = {}
    for cell in record.cells:
        cells.setdefault(cell.run_id, []).append(cell)
    return cells


def _size(cells: Sequence[SweepCell]) -> tuple[str, float]:
    """Return the arm of a run, and the FLOPs of a token of its model."""
    return cells[0].arm or "", cells[0].flops / cells[0].n_tokens


class _Tables:
    """Curves and losses of a sweep whose run folders are gone."""

    def __init__(self, curves: pd.DataFrame, points: pd.DataFrame, state: object = None):
        self.state = state
        self._rows = dict(iter(curves.groupby("run_id")))
        self.recorded = set(points["point_id"]) if len(points) else set()
        done = points[points["status"] == DONE] if len(points) else points
        self.losses = dict(zip(done["point_id"], done["loss"], strict=True)) if len(done) else {}

    @classmethod
    def of(cls, folder: SweepFolder, state: object) -> _Tables:
        if not folder.curves.exists():
            raise InputError(
                f"{folder.root} has no curves (curves.parquet is missing): forecasts need them, and the "
                "sweep's command writes them"
            )
        points = pd.DataFrame()
        if folder.points.exists():
            points = checked_points(with_current_names(read_table(folder.points)), folder.points)
        curves = checked_curves(with_current_names(read_table(folder.curves)), folder.curves)
        return cls(curves, points, state)

    def rows(self, run_id: str) -> pd.DataFrame:
        return self._rows.get(run_id, pd.DataFrame(columns=COLUMNS))[COLUMNS]


def _names(folder: Path) -> tuple[str, ...]:
    """Return the names in a folder; a file of a run never changes once it has its name."""
    with contextlib.suppress(OSError):
        return tuple(sorted(os.listdir(folder)))
    return ()


def _rows(folder: RunFolder) -> pd.DataFrame:
    """Return the rows of a run's parts; parts that are damaged or vanish meanwhile are left out.

    A run whose rows are no losses of steps has none.
    """
    parts = []
    for path in sorted(folder.curves.glob("*.parquet")):
        with contextlib.suppress(OSError, InputError):
            parts.append(with_current_names(read_table(path)).reindex(columns=COLUMNS))
    with contextlib.suppress(InputError):
        if parts:
            rows = each_step_once(pd.concat(parts, ignore_index=True))
            return checked_curves(rows, folder.curves, COLUMNS)
    return pd.DataFrame(columns=COLUMNS)


def _losses(folder: RunFolder, cells: Sequence[SweepCell]) -> dict[str, float]:
    losses = {}
    for cell in cells:
        with contextlib.suppress(OSError, Damaged):
            point = read_checked(folder.point(cell.point_id))
            if isinstance(point, dict) and point.get("status") == DONE:
                losses[cell.point_id] = float(point["loss"])
    return losses


def sweep_run(
    cells: Sequence[SweepCell], rows: pd.DataFrame, losses: Mapping[str, float], config: Mapping[str, Any]
) -> Run:
    """Return a run of a sweep.

    Its rows are evaluations on the way if there are any, else smoothed training losses. Its size is the FLOPs
    of a token.

    Args:
        cells: cells of the run.
        rows: logged rows of trunk and branches, with COLUMNS.
        losses: losses of finished points by point.
        config: resolved configuration of the sweep.
    """
    rows = rows.sort_values("step")
    in_trunk = rows["point_id"].isna().to_numpy()
    trunk = rows[in_trunk]
    batch = float((rows["n_tokens"] / rows["step"]).iloc[0])
    steps, rates = rows["step"].to_numpy(float), rows["hidden_lr"].to_numpy(float)
    points = np.where(in_trunk, "", rows["point_id"].to_numpy(object))
    ends = []
    for cell in sorted(cells, key=lambda each: each.n_tokens):
        path = points == cell.point_id
        # The trunk up to where the branch leaves it.
        path = path | (in_trunk & (steps < steps[path].min())) if path.any() else in_trunk
        last = cell.n_tokens / batch
        path = path & (steps <= last)
        schedule = planned(steps[path], rates[path], last, cell, config)
        ends.append(End(cell.point_id, last, schedule, losses.get(cell.point_id)))
    longest = ends[-1].schedule
    order = f"seed {cells[0].seed}, batch {batch:g}"
    evaluated = trunk[np.isfinite(trunk["eval_loss"]) & (trunk["step"] >= warm_up_end(longest))]
    trained = float(rows["step"].max())
    first, size, arm = cells[0], cells[0].flops / cells[0].n_tokens, cells[0].arm or ""
    cost = max(cell.flops for cell in cells)
    if len(evaluated):
        curve = Curve.of(longest, evaluated["step"], evaluated["eval_loss"])
        return Run(first.run_id, curve, trained, tuple(ends), size, cost, arm=arm, order=order)
    behind = trunk[np.isfinite(trunk["train_loss"]) & (trunk["step"] > warm_up_end(longest))]
    few, noise = smoothed(Curve.of(longest, behind["step"], behind["train_loss"]))
    return Run(first.run_id, few, trained, tuple(ends), size, cost, max(noise, 0.004), arm, order)


def planned(steps: Array, rates: Array, last: float, cell: SweepCell, config: Mapping[str, Any]) -> Schedule:
    """Return the schedule of a cell: logged rates as far as they go, then the plan of the sweep."""
    if len(steps) and steps[-1] >= 0.999 * last:
        return Schedule.logged(steps, rates)
    optim = config.get("optim")
    settings = optim if isinstance(optim, dict) else {}
    kind = COSINE if cell.role == REFERENCE else str(settings.get("schedule", "wsd"))
    share, floor = settings.get("cooldown_frac"), settings.get("final_lr_frac")
    plan = Plan(
        kind if kind in KINDS else "constant",
        decay=float(share) if isinstance(share, int | float) else 0.2,
        final=float(floor) if isinstance(floor, int | float) else 0.0,
    )
    return plan.after(steps, rates, last) if len(steps) else plan.until(last)


def labels_of(root: Path) -> dict[str, str]:
    """Return rung and seed of every run of a sweep, such as `d96 seed 50 (3f2a…)`, by run."""
    record = sweep_file.read_sweep(SweepFolder(root).sweep)
    return {cell.run_id: f"{cell.rung} seed {cell.seed} {cell.run_id}" for cell in record.cells}
