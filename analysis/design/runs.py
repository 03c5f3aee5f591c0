"""Runs to design from, of a sweep or of others: their sizes, token counts and trunks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.arrays import Array, groups
from analysis.design.price import Size, Trunk
from analysis.frontier import table_cost
from analysis.records.fits import read_study
from analysis.tables.table import LossTable, load_table
from harness.config.schema import Shape, SweepSettings
from harness.config.settings import load
from harness.grid.cells import chosen_cells
from harness.grid.ladder import width_unit
from harness.grid.rules import Rung, model_spec
from harness.recipe import counting
from harness.recipe.schedule import nearest_reachable
from harness.recipe.spec import TRUNK_SCHEDULES
from harness.records.columns import checked_points
from harness.records.errors import InputError
from harness.records.files import read_table
from harness.records.paths import SweepFolder
from harness.records.sweep_file import SweepRecord, read_sweep

STEP = math.sqrt(2)  # between neighbouring sizes and token counts that can be chosen
COOLDOWN = 0.2  # of a branch, in a table of others whose runs share trunks
MOST_SIZES = 16


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Runs that are there, and what can be trained beside them.

    Attributes:
        table: the runs.
        law: the law of a sweep's study; None if there is none.
        name: folder or file, as typed.
    """

    table: LossTable
    law: str | None
    name: str

    def sizes(self, largest: float) -> list[Size]:
        """Return the sizes up to about `largest` parameters, those of the runs among them."""
        raise NotImplementedError

    def ends(self, largest: float) -> list[float]:
        """Return the token counts up to about `largest`, those of the runs among them."""
        raise NotImplementedError

    def trunks(self) -> list[Trunk]:
        """Return the trunks that are there."""
        raise NotImplementedError

    @property
    def first_seed(self) -> int | None:
        """A seed above those of all runs; None if the table does not tell seeds."""
        return None if self.table.seed is None else int(self.table.seed.max()) + 1

    def with_new(self, sizes: Sequence[Size], number: int) -> list[Trunk]:
        """Return the trunks that are there, and `number` new ones of each size."""
        there = self.trunks()
        cooldown, first = self.new_cooldown, self.first_seed
        code = 1 + max([int(self.table.cluster.max()), *(trunk.code for trunk in there)])
        return there + [
            Trunk(code + i * number + k, size, None if first is None else first + k, cooldown=cooldown)
            for i, size in enumerate(sizes)
            for k in range(number)
        ]

    @property
    def new_cooldown(self) -> float:
        """Share of a branch that is its own; 1 for separate runs."""
        raise NotImplementedError

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say about the prices."""
        return ()


@dataclass(frozen=True, kw_only=True)
class ForeignRuns(Runs):
    """A table of other people's runs.

    Attributes:
        given_sizes, given_ends: what can be trained; None for a range around the runs.
        cooldown: share of a branch that is its own.
    """

    given_sizes: tuple[float, ...] | None = None
    given_ends: tuple[float, ...] | None = None
    cooldown: float = COOLDOWN

    def sizes(self, largest: float) -> list[Size]:
        n = np.array(self.given_sizes or _range(self.table.n, largest, 2.0))
        return [Size(*pair) for pair in zip(n.tolist(), self._cost(n).tolist(), strict=True)]

    def ends(self, largest: float) -> list[float]:
        return list(self.given_ends or _range(self.table.d, largest, 2.0))

    def trunks(self) -> list[Trunk]:
        if not self._has_trunks:
            return []
        found = []
        for rows in groups(self.table.cluster):
            n, ends = float(self.table.n[rows[0]]), tuple(sorted(set(self.table.d[rows].tolist())))
            size = Size(n, float(self._cost(np.array([n]))[0]))
            saved = (1 - self.cooldown) * ends[-1]
            found.append(
                Trunk(int(self.table.cluster[rows[0]]), size, None, ends, saved, cooldown=self.cooldown)
            )
        return found

    @property
    def _has_trunks(self) -> bool:
        return len(np.unique(self.table.cluster)) < len(self.table)

    def _cost(self, n: Array) -> Array:
        return np.asarray(table_cost(self.table)(n))

    @property
    def new_cooldown(self) -> float:
        return self.cooldown if self._has_trunks else 1.0

    @property
    def notes(self) -> tuple[str, ...]:
        if not self._has_trunks:
            return ()
        return (
            f"a branch is taken to cool down over {self.cooldown:.0%} of its tokens, and trunks to be saved "
            "at the start of their last branch",
        )


@dataclass(frozen=True, kw_only=True)
class SweepRuns(Runs):
    """A folder results/<sweep>/.

    Attributes:
        folder: the folder.  record: its sweep.json.  points: rows of its table, as `table` has them.
    """

    folder: SweepFolder
    record: SweepRecord
    points: pd.DataFrame

    @cached_property
    def settings(self) -> SweepSettings:
        """Configuration of the sweep."""
        return load([], self.record.config)

    def sizes(self, largest: float) -> list[Size]:
        shapes = self.points[["d_model", "n_layers"]].drop_duplicates().to_numpy(int).tolist()
        there = [(width, depth) for width, depth in shapes]
        if len({depth for _, depth in there}) == 1:
            depth, unit = there[0][1], width_unit(self.settings.model)
            width = float(min(width for width, _ in there))
            while len(there) < MOST_SIZES:
                width *= STEP
                shape = (max(unit, round(width / unit) * unit), depth)
                there.append(shape)
                if self._size(*shape).n >= largest:
                    break
        return sorted({self._size(*shape) for shape in there}, key=lambda size: size.n)

    def _size(self, d_model: int, n_layers: int) -> Size:
        settings = self.settings
        ladder, usual = chosen_cells(settings.grid, settings.budget).ladder, settings.model.n_layers
        shapes = ladder.shapes if ladder else []
        own = (each for each in shapes if (each.d_model, each.n_layers or usual) == (d_model, n_layers))
        rung = Rung.of(next(own, Shape(d_model, n_layers)), settings.model)
        model = model_spec(rung, settings.model, self.record.corpus.vocab_size, settings.optim.transfer)
        per_token = float(counting.train_flops_token(model))
        return Size(
            float(counting.COUNTERS[self.table.count](model)), per_token, rung.name, d_model, n_layers
        )

    def ends(self, largest: float) -> list[float]:
        raster = int(self.points["batch_tokens"].max()) * self.settings.grid.log_interval
        ends = {float(nearest_reachable(round(end), raster)) for end in _range(self.table.d, largest, STEP)}
        return sorted(end for end in ends if end <= self.record.corpus.n_train_tokens)

    def trunks(self) -> list[Trunk]:
        if not self._is_trunked:
            return []
        found = []
        for rows in groups(self.table.cluster):
            row = self.points.iloc[int(rows[0])]
            ends = tuple(sorted(set(self.table.d[rows].tolist())))
            saved = (1 - self.new_cooldown) * ends[-1] if self._has_state(str(row["run_id"])) else 0.0
            size = self._size(int(row["d_model"]), int(row["n_layers"]))
            found.append(
                Trunk(
                    int(self.table.cluster[rows[0]]), size, int(row["seed"]), ends, saved, self.new_cooldown
                )
            )
        return found

    def _has_state(self, run_id: str) -> bool:
        return self.folder.run(run_id).checkpoints.is_dir()

    @property
    def _is_trunked(self) -> bool:
        return self.settings.optim.schedule in TRUNK_SCHEDULES

    @property
    def new_cooldown(self) -> float:
        optim = self.settings.optim
        if not self._is_trunked:
            return 1.0
        return 0.0 if optim.schedule == "constant" else optim.cooldown_frac

    @property
    def notes(self) -> tuple[str, ...]:
        found = [self.record.note_on_arms] if self.record.note_on_arms else []
        if self._is_trunked and not any(self._has_state(str(run)) for run in self.points["run_id"].unique()):
            found.append(
                f"{self.folder.root} holds no checkpoints, so a further branch is priced with its whole "
                "trunk, and training there repeats the runs that the tables have"
            )
        return tuple(found)


def _range(values: Array, largest: float, step: float) -> list[float]:
    """Return the values, and further ones by a factor up to about `largest`."""
    found, low = set(values.tolist()), float(values.min())
    top = max(largest, float(values.max()))
    for k in range(math.ceil(math.log(top / low) / math.log(step)) + 1):
        # A range that is dense already needs no neighbours.
        if min(abs(math.log(low * step**k / value)) for value in found) > math.log(step) / 4:
            found.add(low * step**k)
    return sorted(found)


def read_folder(path: Path, count: str) -> SweepRuns:
    """Return the runs of a sweep.

    Raises:
        InputError: the folder holds no finished sweep.
    """
    folder = SweepFolder(path)
    if not folder.points.exists():
        raise InputError(f"{folder.points} is not there: give the folder of a finished sweep, or a table")
    frame = checked_points(read_table(folder.points), folder.points)
    table = load_table(frame, axes="nd", count=count)
    study = read_study(folder.fits) if folder.fits.exists() else None
    record = read_sweep(folder.sweep)
    return SweepRuns(
        table=table,
        law=None if study is None else study.planning_law,
        name=str(path),
        folder=folder,
        record=record,
        points=frame.iloc[table.row].reset_index(drop=True),
    )
