"""Replications as their folders hold them, with every forecast scored anew from its points."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.forecast.seal import table_sha256
from analysis.forecast.series import quoted, score_all
from analysis.records.fits import StudyRecord, read_study
from analysis.records.forecast import ForecastRecord, ScoredCell, ScoreRecord, read_own_forecasts
from analysis.records.replications import LeftOutReplication
from analysis.tables.table import load_table
from harness.records.columns import checked_points
from harness.records.errors import InputError
from harness.records.files import read_table
from harness.records.paths import SweepFolder
from harness.records.sweep_file import SweepRecord, find_sweep

NUMBERED = re.compile(r"r0*(\d+)")
LEAST = 2  # replications that can be compared
# Columns that say which experiment a row belongs to, besides its seed.
SAME = ("rung", "n_tokens", "role", "n_params", "batch_tokens", "hidden_lr", "corpus_id", "tokenizer_id")


@dataclass(frozen=True)
class Replication:
    """One finished replication.

    Attributes:
        name: name of its folder.
        points: points.parquet.
        forecast: the quoted sealed forecast; None if it holds nothing out.
        score: the forecast on its own cells, computed here.
        study: fits.json; None without it.
        sweep: sweep.json; None without it.
    """

    name: str
    points: pd.DataFrame
    forecast: ForecastRecord | None
    score: ScoreRecord | None
    study: StudyRecord | None
    sweep: SweepRecord | None

    @property
    def cells(self) -> tuple[ScoredCell, ...]:
        """Held-out cells with forecasts and losses, the least compute first."""
        return tuple(sorted(self.score.cells, key=lambda cell: (cell.flops, cell.key))) if self.score else ()

    @property
    def run_ids(self) -> set[str]:
        """Runs behind its points."""
        return set(self.points["run_id"])

    @property
    def table_matches(self) -> bool | None:
        """Whether the forecast was made from the fitted rows of the points; None without a forecast."""
        if self.forecast is None:
            return None
        fitted = load_table(self.points[self.points["role"] == "fit"], count=self.forecast.count)
        return table_sha256(fitted) == self.forecast.table_sha256


def read_replications(folder: Path) -> tuple[list[Replication], list[LeftOutReplication]]:
    """Read all replications in a folder, in the order of their numbers, and those that do not count.

    Raises:
        InputError: fewer than two are finished, they are of different experiments, or two share runs.
    """
    roots = replication_folders(folder)
    found: list[Replication] = []
    left_out: list[LeftOutReplication] = []
    for root in roots:
        made = _read(SweepFolder(root))
        if isinstance(made, Replication):
            found.append(made)
        else:
            left_out.append(LeftOutReplication(root.name, made))
    if any(each.forecast for each in found):
        left_out += [
            LeftOutReplication(each.name, "it has no sealed forecast") for each in found if not each.forecast
        ]
        found = [each for each in found if each.forecast]
    if len(found) < LEAST:
        reasons = "; ".join(f"{each.name}: {each.reason}" for each in left_out)
        several = "" if len(found) == 1 else "s"
        raise InputError(
            f"{folder} holds {len(found)} finished replication{several}, expected {LEAST} or more"
            f"{f' ({reasons})' if reasons else ''}; type python -m harness.replicate +grid=NAME n=20"
        )
    _check_same(found)
    return found, left_out


def replication_folders(folder: Path) -> list[Path]:
    """Return the folders r01, r02 … in order; without any, all folders that hold points.

    Raises:
        InputError: there is no such folder, or it is a sweep itself.
    """
    if not folder.is_dir():
        there = "is a file" if folder.exists() else "does not exist"
        raise InputError(
            f"expected a folder of replications, got {folder}, which {there}; type for example "
            "python -m analysis.replications results/replications/chinchilla"
        )
    if (folder / "points.parquet").exists():
        raise InputError(
            f"{folder} is one sweep, expected the folder that holds the replications r01, r02 …; type for "
            "example python -m analysis.replications results/replications/chinchilla"
        )
    inside = [path for path in folder.iterdir() if path.is_dir()]
    numbers = {path: match for path in inside if (match := NUMBERED.fullmatch(path.name))}
    if numbers:
        return sorted(numbers, key=lambda path: int(numbers[path][1]))
    return sorted(path for path in inside if SweepFolder(path).points.exists())


def _read(folder: SweepFolder) -> Replication | str:
    """Return a replication, or why it does not count."""
    if not folder.points.exists():
        return "points.parquet is missing"
    points = checked_points(read_table(folder.points), folder.points)
    record = find_sweep(folder.sweep)
    own = list(read_own_forecasts(folder, record).values())
    forecast, score = quoted(score_all(own, points)) or (None, None)
    if forecast and not forecast.seal_intact:
        return "the seal of its forecast is broken"
    if score and score.missing:
        return f"{len(score.missing)} of {len(forecast.cells) if forecast else 0} held-out cells are missing"
    study = read_study(folder.fits) if folder.fits.exists() else None
    return Replication(folder.root.name, points, forecast, score, study, record)


def _check_same(found: Sequence[Replication]) -> None:
    """Raise InputError unless all replications are of one experiment and share no run."""
    first = found[0]
    seen: dict[str, str] = {}
    for each in found:
        for run in each.run_ids:
            if run in seen:
                raise InputError(
                    f"{seen[run]} and {each.name} hold the same run {run}: expected other seeds in each; "
                    "take one of the two folders away"
                )
        seen |= dict.fromkeys(each.run_ids, each.name)
        what = _difference(first, each)
        if what:
            raise InputError(
                f"{first.name} and {each.name} are not of one experiment ({what}); give a folder of "
                "replications that one command made"
            )


def _difference(one: Replication, other: Replication) -> str | None:
    """Return in which setting two replications differ; None if in none."""
    recipes = [each.sweep.recipe if each.sweep else {} for each in (one, other)]
    if all(recipes):
        for key in sorted(recipes[0].keys() | recipes[1].keys()):
            if recipes[0].get(key) != recipes[1].get(key):
                return f"{key} is {recipes[0].get(key)} and {recipes[1].get(key)}"
    if _design(one.points) != _design(other.points):
        return "their cells differ"
    if {cell.key for cell in one.cells} != {cell.key for cell in other.cells}:
        return "their held-out cells differ"
    levels = {each.forecast.level for each in (one, other) if each.forecast}
    return f"their intervals have the levels {sorted(levels)}" if len(levels) > 1 else None


def _design(points: pd.DataFrame) -> list[tuple[object, ...]]:
    """Return what was trained, without seeds and without cosine references."""
    rows = points[points["role"].isin(["fit", "holdout", "lr"])]
    return sorted(rows[list(SAME)].itertuples(index=False, name=None))


def seeds_of(points: pd.DataFrame) -> tuple[int, ...]:
    """Return the seeds of a table of points."""
    return tuple(sorted({int(seed) for seed in points["seed"].tolist()}))
