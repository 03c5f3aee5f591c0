"""Forecasts of where runs end, with intervals, and alarms for runs that leave their band."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.curves.analogue import fall_to, step_band
from analysis.curves.extrapolation import fall_by_law, has_same_size, row_bands
from analysis.curves.run import End, Run
from analysis.intervals import LEVEL, normal_interval
from analysis.records.curves import Alarm, Basis, CurvesRecord, EndForecast

FEWEST_ROWS = 4  # behind the warm-up
LEAST_SHARE = 0.05  # of the planned steps
ALARM_DEVIATIONS = 5.0  # beyond which a row is no chance, however many rows there are
LAW_FROM = (0.125, 0.25, 0.5)  # shares of the curve up to which the law is fitted for a band
NARROW = 0.015  # deviation in log loss of a forecast that needs no second opinion


def needed_step(run: Run, end: End) -> float:
    """Return the step from which on an end can be forecast: so many rows, and a share of the plan."""
    steps = run.rows.steps
    rows = steps[FEWEST_ROWS - 1] if len(steps) >= FEWEST_ROWS else 0.0
    return float(max(rows, LEAST_SHARE * end.step))


def forecast_end(run: Run, end: End, others: Sequence[Run], level: float = LEVEL) -> EndForecast:
    """Return where a run ends.

    Args:
        run: the run, as far as it is known.
        end: one of its ends.
        others: other runs, as far as they are known.
        level: confidence of the interval.
    """
    steps = run.rows.steps
    step = run.trained
    now = float(run.rows.loss[-1]) if len(steps) else None
    if end.loss is not None:
        return EndForecast(run.name, end.name, end.step, step, now, end.loss, None, Basis.MEASURED)
    if now is None or len(steps) < FEWEST_ROWS or step < needed_step(run, end):
        note = f"too short: {len(steps)} rows up to step {step:g}, {FEWEST_ROWS} rows and "
        note += f"step {needed_step(run, end):g} are needed"
        return EndForecast(run.name, end.name, end.step, step, now, None, None, None, note)
    fall, deviation, basis = _fall(run, end, others)
    log_loss = np.log(now) + fall
    low, high = normal_interval(log_loss, deviation, level) or (log_loss, log_loss)
    interval = (float(np.exp(low)), float(np.exp(high)))
    return EndForecast(run.name, end.name, end.step, step, now, float(np.exp(log_loss)), interval, basis)


def _fall(run: Run, end: End, others: Sequence[Run]) -> tuple[float, float, Basis]:
    """Return the fall of the log loss to an end, its deviation, and what it rests on: the narrower of two."""
    found = fall_to(run, end, others)
    # The law takes a hundred times as long, and is narrower only if runs of the same size were finished.
    if found and (found[1] < NARROW or not has_same_size(run, others)):
        return *found, Basis.RUNS
    by_law = fall_by_law(run, end, others)
    return (*found, Basis.RUNS) if found and found[1] <= by_law[1] else (*by_law, Basis.LAW)


def find_alarm(run: Run, others: Sequence[Run]) -> Alarm | None:
    """Return the first row of a run that is far from what the rows before promised; None without one.

    Runs that have been at the same steps say what they promise. Without any, the law does, each time
    up to twice the steps that it was fitted to.
    """
    steps, compared = run.rows.steps, 0
    for row in range(1, len(steps)):
        band = step_band(run, others, row)
        compared += band is not None
        if band and (alarm := _alarm(run, row, *band)):
            return alarm
    for share in () if compared or not len(steps) else LAW_FROM:
        first = int(np.searchsorted(steps, share * steps[-1]))
        for row, band in enumerate(
            row_bands(run, first, 2 * share * steps[-1]) if first >= FEWEST_ROWS else ()
        ):
            if alarm := _alarm(run, first + row, *band):
                return alarm
    return None


def _alarm(run: Run, row: int, expected: float, deviation: float) -> Alarm | None:
    """Return an alarm if a row lies outside the band."""
    loss = float(run.rows.loss[row])
    distance = float((np.log(loss) - expected) / deviation)
    if abs(distance) <= ALARM_DEVIATIONS:
        return None
    return Alarm(run.name, float(run.rows.steps[row]), loss, float(np.exp(expected)), distance)


def forecast_runs(runs: Sequence[Run], level: float = LEVEL) -> CurvesRecord:
    """Return forecasts of all ends that are not reached, and alarms of all runs."""
    ends, alarms = [], []
    for run in runs:
        others = [other for other in runs if other is not run]
        ends += [forecast_end(run, end, others, level) for end in run.ends]
        alarm = find_alarm(run, others)
        alarms += [alarm] if alarm else []
    return CurvesRecord(level, tuple(ends), tuple(alarms))
