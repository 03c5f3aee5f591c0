"""Curves of other people: a table with a row for each logged step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.arrays import Array
from analysis.curves.curve import Curve
from analysis.curves.forecast import forecast_runs
from analysis.curves.run import End, Run, smoothed, warm_up_end
from analysis.curves.schedule import EXAMPLE, Plan, parse_plan
from analysis.intervals import LEVEL
from analysis.laws.annealing import Schedule
from analysis.records.curves import CurvesRecord
from analysis.tables.frames import read_frame
from analysis.tables.names import listed
from analysis.tables.numbers import Kind, mark_of, read_numbers, refuse_unread
from harness.records.errors import InputError

# Columns by quantity, in the order in which they are taken.
NAMES: dict[str, tuple[str, ...]] = {
    "run": ("run", "run_id", "run_name", "name"),
    "step": ("step", "steps", "global_step", "iteration", "iter", "_step", "n_tokens", "tokens", "D"),
    "loss": ("loss", "val_loss", "eval_loss", "valid_loss", "train_loss"),
    "lr": ("lr", "learning_rate", "hidden_lr"),
    "N": ("N", "params", "n_params", "parameters", "size"),
}
NEEDED = ("step", "loss")
LAST_ROWS = 3  # of a finished run, whose mean is its last loss if rows are noisy
NOISY = 0.002
LEAST_NOISE = 0.002


def read_curves(
    table: pd.DataFrame | Path | str,
    *,
    mapping: Mapping[str, str] | None = None,
    schedule: str | None = None,
    at: Mapping[str, float] | float | None = None,
) -> list[Run]:
    """Return the runs of a table of curves.

    Args:
        table: a table or its path; a row for each logged step, rows of a run in order.
        mapping: columns of `run`, `step` (or tokens), `loss`, `lr` and, if sizes differ, `N`.
        schedule: plan of the learning rate, such as `cosine` or `wsd,decay=0.2`; needed if the table has no
            learning rates, or if they end before the planned last step.
        at: planned last step, of all runs that ended before it or by run; other runs have ended.

    Raises:
        InputError: a column is missing, steps do not rise, rates are negative or all zero, or losses are not
            positive. Also a planned last step before the last row, and a schedule that is not known.
    """
    frame = table if isinstance(table, pd.DataFrame) else read_frame(Path(table))
    columns = _columns(frame, mapping or {})
    plan = parse_plan(schedule) if schedule else None
    numbers = {key: _numbers(frame, name) for key, name in columns.items() if key != "run"}
    default = "run" if isinstance(table, pd.DataFrame) else Path(table).stem
    labels = frame[columns["run"]].astype(str) if "run" in columns else pd.Series(default, index=frame.index)
    names = list(dict.fromkeys(labels))
    ends = _ends(at, names)
    runs = []
    for name in names:
        chosen = (labels == name).to_numpy()
        own = {key: values[chosen] for key, values in numbers.items()}
        last = ends.get(name, at if isinstance(at, int | float) else None)
        runs.append(_run(name, own, plan, last, explicit=name in ends))
    return runs


def forecast_curve(
    table: pd.DataFrame | Path | str,
    *,
    at: Mapping[str, float] | float | None = None,
    schedule: str | None = None,
    mapping: Mapping[str, str] | None = None,
    level: float = LEVEL,
) -> CurvesRecord:
    """Forecast where unfinished runs of a table of curves end.

    Args:
        table: a table or its path; a row for each logged step, rows of a run in order.
        at: planned last step, of all runs that ended before it or by run.
        schedule: plan of the learning rate, such as `cosine` or `wsd,decay=0.2`, if the table lacks it.
        mapping: columns of `run`, `step` (or tokens), `loss`, `lr` and, if sizes differ, `N`.
        level: confidence of the intervals.

    Returns:
        Forecasts in nats per token with their intervals, and alarms of runs that left their band.

    Raises:
        InputError: as `read_curves` does.

    References:
        Luo et al. 2025, arXiv:2503.12811; Tissue et al. 2024, arXiv:2408.11029.

    Examples:
        >>> steps = np.arange(100, 5001, 100)
        >>> runs = pd.DataFrame({"step": steps, "loss": 2.5 + 20 * steps**-0.5})
        >>> (end,) = forecast_curve(runs, at=10_000, schedule="constant").ends
        >>> print(f"{end.loss:.2f}, from step {end.step:.0f} of {end.last_step:.0f} by the {end.basis}")
        2.70, from step 5000 of 10000 by the law
    """
    return forecast_runs(read_curves(table, mapping=mapping, schedule=schedule, at=at), level)


def _columns(frame: pd.DataFrame, mapping: Mapping[str, str]) -> dict[str, str]:
    unknown = sorted(set(mapping) - set(NAMES))
    if unknown:
        raise InputError(
            f"the mapping has {unknown[0]!r}: expected {', '.join(NAMES)}, as in step=iteration,loss=val",
            "mapping",
        )
    for key, name in mapping.items():
        if name not in frame:
            raise InputError(
                f"the table has no column {name!r} for {key}: it has {listed(frame.columns)}", "mapping"
            )
    found = dict(mapping)
    for key, names in NAMES.items():
        first = next((name for name in names if name in frame), None)
        if key not in found and first is not None:
            found[key] = first
    missing = [key for key in NEEDED if key not in found]
    if missing:
        raise InputError(
            f"the table has no column for {missing[0]}: it has {listed(frame.columns)}, map one as in "
            f"{missing[0]}=COLUMN",
            "mapping",
        )
    return found


def _numbers(frame: pd.DataFrame, name: str) -> Array:
    column = read_numbers(frame[name], Kind.COUNT, mark_of(frame))
    if column.unread:
        row, text = next(iter(column.unread.items()))
        raise refuse_unread(name, row, text, len(column.unread) - 1)
    return column.values


def _ends(at: Mapping[str, float] | float | None, names: list[str]) -> dict[str, float]:
    ends = dict(at) if isinstance(at, Mapping) else {}
    for name in ends:
        if name not in names:
            raise InputError(f"there is no run {name!r}: the table has {listed(names)}", "at")
    return ends


def _run(name: str, own: Mapping[str, Array], plan: Plan | None, at: float | None, *, explicit: bool) -> Run:
    """Return one run; `at` is its planned last step if it has not ended before."""
    steps, loss = own["step"], own["loss"]
    _check_rising(name, steps)
    known = np.isfinite(loss)
    if not known.any():
        raise InputError(
            f"run {name} has no losses: leave it out, or map the column that has them", "mapping"
        )
    if (loss[known] <= 0).any():
        raise InputError(
            f"run {name} has a loss of {loss[known].min():g}: expected nats per token, above 0", "mapping"
        )
    last_row = float(steps[known][-1])
    if explicit and at is not None and at < last_row:
        raise InputError(
            f"run {name} is planned to end at step {at:g}, before its last row at step {last_row:g}: give "
            "a later step",
            "at",
        )
    with_rate = float(steps[-1]) if "lr" in own else last_row
    last = max(with_rate, at or 0.0)
    schedule = _schedule(name, own, plan, last)
    size = None
    if "N" in own:
        sizes = own["N"][np.isfinite(own["N"])]
        size = float(sizes[0]) if len(sizes) and sizes[0] > 0 else None
    warm = warm_up_end(schedule)
    behind = known & (steps > warm) if (known & (steps > warm)).any() else known
    curve = Curve.of(schedule, steps[behind], loss[behind])
    few, noise = smoothed(curve)
    ended = last_row >= 0.999 * last
    tail = curve.loss[-LAST_ROWS:] if curve.noise() > NOISY else curve.loss[-1:]
    end = End(name, last, schedule, float(np.exp(np.mean(np.log(tail)))) if ended else None)
    cost = last * (size or 1.0)
    return Run(name, few, last_row, (end,), size, cost, max(noise, LEAST_NOISE))


def _check_rising(name: str, steps: Array) -> None:
    if not np.isfinite(steps).all() or (steps < 0).any():
        raise InputError(f"run {name} has a step that is no number from 0 on: leave such rows out", "mapping")
    falls = np.flatnonzero(np.diff(steps) <= 0)
    if len(falls):
        at = int(falls[0])
        raise InputError(
            f"steps of run {name} do not rise: {steps[at + 1]:g} follows {steps[at]:g}; sort the rows, and "
            "give every run a name of its own (column run)",
            "mapping",
        )


def _schedule(name: str, own: Mapping[str, Array], plan: Plan | None, last: float) -> Schedule:
    if "lr" not in own:
        if plan is None:
            raise InputError(
                f"the schedule of run {name} is unknown: map a column to lr, or describe it as in {EXAMPLE}",
                "mapping",
                "schedule",
            )
        return plan.until(last)
    logged = np.isfinite(own["lr"])
    steps, lr = own["step"][logged], own["lr"][logged]
    if not len(lr) or (lr < 0).any() or not (lr > 0).any():
        what = "a negative learning rate" if len(lr) and (lr < 0).any() else "no learning rate above 0"
        raise InputError(f"run {name} has {what}: map another column to lr, or leave it out", "mapping")
    if steps[-1] >= 0.999 * last:
        return Schedule.logged(steps, lr)
    if plan is None:
        raise InputError(
            f"learning rates of run {name} end at step {steps[-1]:g} of {last:g}: describe what follows, as "
            f"in {EXAMPLE}, or add rows with rates and without losses",
            "schedule",
        )
    return plan.after(steps, lr, last)


def text_at(text: str | None) -> dict[str, float] | float | None:
    """Return `72000` as a number and `a=72000,b=24000` by run; raises InputError for any other text."""
    if text is None:
        return None
    pairs = [part.rpartition("=") for part in text.split(",")]
    values: dict[str, Any] = {}
    for name, _, value in pairs:
        try:
            values[name.strip()] = float(value)
        except ValueError:
            values[name.strip()] = np.nan
    if not all(0 < value < np.inf for value in values.values()) or ("" in values and len(values) > 1):
        raise InputError(f"the last step is {text!r}: expected 72000, or RUN=72000,RUN=24000", "at")
    return float(values[""]) if "" in values else values
