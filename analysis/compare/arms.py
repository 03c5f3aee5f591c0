"""Every arm of a sweep against its base arm."""

from __future__ import annotations

import pandas as pd

from analysis.compare.read import split_arms
from analysis.compare.study import compare_arms
from analysis.records.comparison import ComparisonRecord
from analysis.records.warning_codes import FitWarning, WarningCode
from harness.records.errors import InputError


def compare_all(
    points: pd.DataFrame, *, resamples: int, level: float, seed: int
) -> tuple[tuple[ComparisonRecord, ...], tuple[FitWarning, ...]]:
    """Return the comparison of each other arm of a sweep, and a warning for one that is impossible.

    Args:
        points: points.parquet of a grid with arms.
        resamples: redrawn estimates of each law.
        level: share of the intervals.
        seed: of everything random.
    """
    found, doubts = [], []
    base, *others = (arms := split_arms(points))
    for name in others:
        try:
            compared = compare_arms(
                arms[base], arms[name], names=(base, name), resamples=resamples, level=level, seed=seed
            )
        except InputError as error:
            text = f"{name} cannot be compared with {base}: {error}"
            doubts.append(FitWarning(WarningCode.UNPAIRED, text))
        else:
            found.append(compared)
    return tuple(found), tuple(doubts)
