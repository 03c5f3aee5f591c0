"""Rows of two arms: from two tables or sweeps, or from one table with a column that names the arm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from analysis.records.fit import COUNTS
from analysis.tables.columns import OWN_KEYS
from analysis.tables.frames import read_frame
from analysis.tables.names import with_plain_names
from analysis.tables.table import LossTable, load_table
from harness.records.columns import ARM, ARM_ROLE
from harness.records.errors import InputError, near
from harness.records.paths import SweepFolder

ArmSource: TypeAlias = LossTable | pd.DataFrame | str | Path
# Columns that say on what a run was trained or scored; losses compare only where they are equal.
DATA_COLUMNS = (
    "corpus_id", "tokenizer_id", "vocab_size", "unigram_nats", "data", "dataset", "corpus", "tokenizer",
    "vocab", "eval_set", "eval_tokens",
)  # fmt: skip


def read_arms(
    first: ArmSource,
    second: ArmSource,
    names: tuple[str, str],
    mapping: Mapping[str, str] | None = None,
    count: str = COUNTS[0],
    **reading: Any,
) -> tuple[LossTable, LossTable]:
    """Return the checked rows of two arms.

    Args:
        first: a LossTable, a frame, or the path of a table or of a sweep's folder.
        second: the other arm.
        names: of the arms, for errors.
        mapping: columns of foreign tables, as for `load_table`.
        count: column of N in our own tables.
        reading: further options of `load_table`.

    Raises:
        InputError: the arms differ in their data, or a table cannot be read.
    """
    found = [source if isinstance(source, LossTable) else read_source(source) for source in (first, second)]
    frames = [source for source in found if isinstance(source, pd.DataFrame)]
    if len(frames) == 2:
        check_same_data(frames[0], frames[1], names)
    one, two = (
        source
        if isinstance(source, LossTable)
        else load_table(source, mapping=mapping, count=count, **reading)
        for source in found
    )
    return one, two


def read_source(source: pd.DataFrame | str | Path) -> pd.DataFrame:
    """Return the rows of a table, or of the points of a sweep's folder."""
    if isinstance(source, pd.DataFrame):
        return with_plain_names(source)
    path = Path(source)
    points = SweepFolder(path).points
    if path.is_dir() and not points.exists():
        raise InputError(f"{points} is not there: give the folder of a sweep, or a table of losses")
    return read_frame(points if path.is_dir() else path)


def split_arms(frame: pd.DataFrame, column: str = ARM, base: str | None = None) -> dict[str, pd.DataFrame]:
    """Return the rows of each arm, the base arm first.

    Args:
        frame: a table with a column that names the arm of each row.
        column: that column.
        base: name of the base arm; by default that of the first row.

    Raises:
        InputError: the column is missing, names fewer than two arms, or not the base arm.
    """
    if column not in frame:
        raise InputError(
            f"the table has no column {column}, expected one that names the arm of each row; give "
            f"two tables, or map the arm to a column{near(column, list(map(str, frame.columns)))}",
            "mapping",
        )
    labels = frame[column].map(str).where(frame[column].notna())
    unnamed = np.flatnonzero(labels.isna())
    if len(unnamed) and not _is_of_sweep(frame):
        raise InputError(
            f"row {unnamed[0]} has no arm in column {column} ({len(unnamed)} of {len(frame)} rows): expected "
            "the name of its arm, fill it in or leave the row out"
        )
    names = list(dict.fromkeys(labels.dropna()))
    if len(names) < 2:
        raise InputError(
            f"column {column} names {'one arm, ' + names[0] if names else 'no arm'}, expected two or more; "
            "give a second table",
            "mapping",
        )
    if base is not None and base not in names:
        raise InputError(
            f"the base arm {base} is not in column {column}, which has {', '.join(names)}{near(base, names)}",
            "base",
        )
    first = names[0] if base is None else base
    ordered = [first, *(name for name in names if name != first)]
    return {name: _as_fitted(frame[labels == name]) for name in ordered}


def check_one_arm(frame: pd.DataFrame, column: str, name: str) -> None:
    """Raise InputError if a table that stands for one arm has a column that names several."""
    if column in frame and not _is_of_sweep(frame):
        arms = list(dict.fromkeys(frame[column].dropna().map(str)))
        if len(arms) > 1:
            raise InputError(
                f"{name} has several arms in column {column}, {', '.join(arms[:3])}, and a second table "
                "came: give it alone, or a table of one arm"
            )


def _is_of_sweep(frame: pd.DataFrame) -> bool:
    return set(OWN_KEYS) <= set(frame.columns)


def _as_fitted(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows of a sweep's arm as runs that a fit sees."""
    if not _is_of_sweep(rows) or "role" not in rows:
        return rows.reset_index(drop=True)
    return rows.assign(role=rows["role"].replace(ARM_ROLE, "fit")).reset_index(drop=True)


def check_same_data(first: pd.DataFrame, second: pd.DataFrame, names: tuple[str, str]) -> None:
    """Raise InputError if a column says that the arms were trained or scored on different data."""
    for column in DATA_COLUMNS:
        if column in first and column in second:
            one, two = (sorted(set(map(str, frame[column].dropna()))) for frame in (first, second))
            if one and two and one != two:
                raise InputError(
                    f"{names[0]} has {column}={', '.join(one[:3])} and {names[1]} has {', '.join(two[:3])}: "
                    "losses compare only on the same data; train both arms on one text and score them on one"
                )
