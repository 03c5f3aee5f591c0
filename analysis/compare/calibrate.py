"""A recipe against itself: how often disjoint groups of its seeds are said to differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy import stats

from analysis.arrays import Interval
from analysis.compare.read import read_arms
from analysis.compare.study import RESAMPLES, compare_arms
from analysis.intervals import LEVEL
from analysis.records.comparison import ComparisonRecord
from analysis.records.fit import COUNTS
from harness.records.errors import InputError

FEWEST = 2  # comparisons


@dataclass(frozen=True)
class Calibration:
    """Comparisons of a recipe with itself, by disjoint groups of seeds.

    Attributes:
        rows: the comparisons, independent of each other.
        level: of their intervals.
    """

    rows: tuple[ComparisonRecord, ...]
    level: float

    @property
    def differ(self) -> int:
        """Comparisons whose interval leaves 1 out."""
        return sum(row.top.differs for row in self.rows)

    @property
    def share(self) -> float:
        """Share of them."""
        return self.differ / len(self.rows)

    @property
    def interval(self) -> Interval:
        """Exact binomial interval of the share."""
        found = stats.binomtest(self.differ, len(self.rows)).proportion_ci(self.level)
        return float(found.low), float(found.high)


def compare_with_itself(
    frame: pd.DataFrame,
    seeds: int,
    *,
    mapping: Mapping[str, str] | None = None,
    count: str = COUNTS[0],
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
    **reading: Any,
) -> Calibration:
    """Compare disjoint groups of `seeds` seeds of one recipe with each other, each group once.

    Args:
        frame: runs of one recipe with many seeds.
        seeds: seeds of a group.
        mapping: columns of a foreign table, as for `load_table`; `seed` is that of the seeds.
        count: column of N in our own tables.
        level: share of the intervals.
        resamples: redrawn estimates of each law.
        seed: of everything random.
        reading: further options of `load_table`.

    Raises:
        InputError: the table has no seeds, or too few for two comparisons.
    """
    column = (mapping or {}).get("seed", "seed")
    if column not in frame:
        raise InputError(
            f"the table has no column {column}, expected the seed of each run; map seed to its column",
            "mapping",
        )
    found = sorted(set(frame[column].dropna().tolist()))
    if seeds < 1 or len(found) < 2 * FEWEST * seeds:
        raise InputError(
            f"groups of {seeds} seeds were asked for and the table has {len(found)} seeds: expected {FEWEST} "
            f"pairs of groups or more, so groups of 1 to {max(len(found) // (2 * FEWEST), 1)}"
        )
    groups = [found[start : start + seeds] for start in range(0, len(found) - seeds + 1, seeds)]
    rows = []
    for pair in zip(groups[::2], groups[1::2], strict=False):
        one, two = (frame[frame[column].isin(group)].reset_index(drop=True) for group in pair)
        names = _name(pair[0]), _name(pair[1])
        arms = read_arms(one, two, names, mapping, count, **reading)
        rows.append(compare_arms(*arms, names=names, level=level, resamples=resamples, seed=seed))
    return Calibration(tuple(rows), level)


def _name(seeds: list[float]) -> str:
    """Return the seeds of a group, such as `seeds 50, 51`."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(f'{seed:g}' for seed in seeds)}"
