"""Tables of trackers: charts and runs tables of W&B, lists of runs of MLflow, histories with a row a step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.arrays import Array
from analysis.tables.frames import read_frame
from analysis.tables.names import WIDE, listed
from analysis.tables.numbers import Kind, mark_of, read_numbers
from analysis.trackers.tracked import RunBuilder, TrackedRun
from harness.records.errors import InputError

# W&B counts calls in `_step` unless told otherwise, so a step that the script logged goes before.
STEPS = (
    "step", "Step", "steps", "global_step", "trainer/global_step", "train/global_step", "train/step",
    "iteration", "iter", "iterations", "_step",
)  # fmt: skip
TOKENS = re.compile(r"(^|[/_ .])(total|consumed|seen|train|num|n)?[_ ]*(train[_ ])?tokens([_ ]seen)?$", re.I)
RUNS = ("tags.mlflow.runName", "run", "run_name", "Name", "name", "run_id", "Run ID", "ID", "id", "model")
STATES = ("State", "state", "Status", "status")
LEGEND = " - "  # between the name of a run and that of a metric
OWN_STEP = "_step"
# A scalar as TensorBoard's page saves it, and the name of that file.
SCALAR = {"Wall time", "Step", "Value"}
SCALAR_FILE = re.compile(r"run-(?P<run>.+)-tag-(?P<tag>.+)")
PREFIX = re.compile(r"^(metrics|params)\.")


def read_table_of_runs(path: Path) -> list[TrackedRun]:
    """Return the runs of a table.

    Args:
        path: the exported chart of a metric, a table with a row a step, or one with a row a run.

    Raises:
        InputError: no table, steps that are missing, or names that do not tell runs apart.
    """
    frame = read_frame(path)
    if frame.empty:
        raise InputError(f"{path} has no rows: expected logged steps or finished runs")
    _check_names(frame, path)
    if set(frame.columns) >= SCALAR:
        return [_scalar(frame, path)]
    if _is_chart(frame):
        return list(_chart(frame, path))
    step = next((name for name in STEPS if name in frame.columns), None)
    by_run = next((name for name in RUNS if name in frame.columns), None)
    if by_run is not None:
        _check_named(frame[by_run], by_run, path)
    if step is None or (by_run is not None and frame[by_run].is_unique and len(frame) > 1):
        return list(_finished(frame, path, by_run))
    return list(_histories(frame, path, step, by_run))


def is_token_count(name: str) -> bool:
    """Return whether the name of a metric or axis says that it counts training tokens.

    >>> [is_token_count(name) for name in ("throughput/total_tokens", "tokens_seen", "tokens_per_second")]
    [True, True, False]
    """
    return TOKENS.search(name) is not None


def _is_chart(frame: pd.DataFrame) -> bool:
    axis, *others = frame.columns
    by_axis = bool(others) and (axis in STEPS or is_token_count(axis))
    return any(name.endswith(WIDE) for name in others) or (by_axis and all(LEGEND in n for n in others))


def _numbers(frame: pd.DataFrame, name: str) -> Array:
    return read_numbers(frame[name], Kind.COUNT, mark_of(frame[[name]])).values


def _check_names(frame: pd.DataFrame, path: Path) -> None:
    names = list(frame.columns)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path} has two columns called {twice[0]!r}: give each run a name of its own")


def _check_named(names: pd.Series[Any], by_run: str, path: Path) -> None:
    unnamed = np.flatnonzero(names.isna())
    if len(unnamed):
        raise InputError(
            f"row {unnamed[0]} of {path} ({len(unnamed)} rows in all) has no name in the column {by_run!r}: "
            "expected the name of its run, fill it in or leave the row out"
        )


def _chart(frame: pd.DataFrame, path: Path) -> Iterator[TrackedRun]:
    """Yield the runs of an exported chart: a column a run and metric, with __MIN and __MAX beside it."""
    axis, *others = frame.columns
    curves = [name for name in others if not name.endswith(WIDE) and LEGEND in name]
    if not curves:
        raise InputError(f"{path} has no column such as 'run - loss': it has {listed(frame.columns)}")
    builders: dict[str, RunBuilder] = {}
    averaged: set[str] = set()
    counts_tokens = is_token_count(axis)
    for name in curves:
        run, _, metric = name.rpartition(LEGEND)
        if metric == OWN_STEP:
            continue
        own = f"{run}{LEGEND}{OWN_STEP}"
        if axis not in STEPS and not counts_tokens and own not in frame:
            raise InputError(
                f"the axis of {path} is {axis!r}: export the chart with steps or tokens on its axis"
            )
        at = _numbers(frame, axis if axis in STEPS or counts_tokens else own)
        values = _numbers(frame, name)
        builder = builders.setdefault(run, RunBuilder(run))
        builder.extend(metric, at, values)
        low, high = (f"{name}{end}" for end in WIDE)
        if low in frame and high in frame and np.any(_numbers(frame, low) < _numbers(frame, high)):
            averaged.add(run)
    unit = "tokens" if counts_tokens else "step"
    for run, builder in builders.items():
        yield builder.build("W&B chart", axis=unit, averaged=run in averaged)


def _scalar(frame: pd.DataFrame, path: Path) -> TrackedRun:
    found = SCALAR_FILE.fullmatch(path.stem)
    builder = RunBuilder(found["run"] if found else path.stem)
    builder.extend(found["tag"] if found else "loss", _numbers(frame, "Step"), _numbers(frame, "Value"))
    return builder.build("TensorBoard scalar")


def _histories(frame: pd.DataFrame, path: Path, step: str, by_run: str | None) -> Iterator[TrackedRun]:
    """Yield the runs of a table with a row for each logged step."""
    steps = _numbers(frame, step)
    if not np.isfinite(steps).any():
        raise InputError(f"column {step!r} of {path} holds no steps: rename the column that does to step")
    if by_run is None:
        _check_one_run(frame, path, step, steps)
    labels = frame[by_run].astype(str) if by_run else pd.Series(path.stem, index=frame.index)
    names = [name for name in frame.columns if name not in (step, by_run, *STATES)]
    values = {name: _numbers(frame, name) for name in names}
    texts = {name for name in names if not np.isfinite(values[name]).any()}
    state = next((name for name in STATES if name in frame.columns), None)
    for run in dict.fromkeys(labels):
        chosen = np.flatnonzero((labels == run).to_numpy() & np.isfinite(steps))
        builder = RunBuilder(run)
        for name in names:
            if name in texts:
                known = frame[name].iloc[chosen].dropna()
                builder.settings |= {name: known.iloc[-1]} if len(known) else {}
                continue
            builder.extend(name, steps[chosen], values[name][chosen])
        ended = str(frame[state].iloc[chosen[-1]]) if state and len(chosen) else ""
        yield builder.build("table of steps", state=ended)


def _check_one_run(frame: pd.DataFrame, path: Path, step: str, steps: Array) -> None:
    """Raise InputError if the steps begin anew wherever another column changes its words: several runs."""
    falls = np.flatnonzero(np.diff(steps[np.isfinite(steps)]) < 0)
    texts = [
        name
        for name in frame.columns
        if name != step and not pd.api.types.is_numeric_dtype(frame[name]) and frame[name].nunique() > 1
    ]
    if len(falls) and texts:
        raise InputError(
            f"column {step!r} of {path} falls {len(falls)} times and no column is called run: rename the one "
            f"that names the runs, such as {texts[0]!r}"
        )


def _finished(frame: pd.DataFrame, path: Path, by_run: str | None) -> Iterator[TrackedRun]:
    """Yield the runs of a table with a row a run: all that it says of a run is a setting."""
    if by_run is None:
        raise InputError(
            f"{path} has neither steps ({', '.join(STEPS[:3])} …) nor names of runs ({', '.join(RUNS[1:4])} "
            f"…): it has {listed(frame.columns)}; give a chart, a history or a table of runs"
        )
    state = next((name for name in STATES if name in frame.columns), None)
    names = frame[by_run].astype(str)
    twice = names[names.duplicated()]
    if len(twice):
        raise InputError(
            f"{path} has several rows of {twice.iloc[0]!r} and no steps: give each a name of its own"
        )
    # A word in one row, such as `diverged`, makes texts of the numbers in the others.
    numbers = {name: _numbers(frame, name) for name in frame.columns}
    for at, name in enumerate(names):
        cells: dict[str, Any] = {}
        for column in frame.columns:
            number, cell = numbers[column][at], frame[column].iloc[at]
            if not np.isnan(number):
                cells[PREFIX.sub("", column)] = float(number)
            elif isinstance(cell, str):
                cells[PREFIX.sub("", column)] = cell
        ended = str(cells.get(state, "")) if state else ""
        yield TrackedRun(name, {}, cells, ended, "table of runs")
