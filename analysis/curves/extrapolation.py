"""Forecast of an end by a whole-curve law, if no other run has been there.

The law is fitted to the rows of the run, to its earlier ends, and to finished runs of the same size, under
whatever schedules. Wide priors from published fits say what these do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from analysis.arrays import Array
from analysis.curves.curve import Curve
from analysis.curves.fit import OWN, CurveFit, Prior, fit_curves
from analysis.curves.run import End, Run
from analysis.laws.annealing import CURVE_LAWS, Schedule

LAW = CURVE_LAWS["stretched"]
# Prior of E, reducible loss and B as shares of the last loss, of alpha, C times the last step, and beta.
# Means lie between the published fits and ours; the deviations of their logarithms cover both.
MEAN = {"E": 0.7, "reducible": 0.3, "alpha": 0.5, "B": 0.04, "C": 140.0, "beta": 0.44}
SD = {"E": 0.3, "reducible": 0.7, "alpha": 0.3, "B": 0.5, "C": 1.0, "beta": 0.3}
GAMMA = 0.25
ROW_ERROR, END_ERROR = 0.004, 0.004  # lack of fit of the law, in log loss, beside the noise of a row
WIDTH = 3.0  # errors from which on a residual counts linearly
SAME_SIZE = 1e-3
# Error of the law as a share of the fall that it predicts, when training has just begun. It shrinks with the
# share that is left. The second holds if runs of the same size have been finished.
LACK_ALONE, LACK_WITH_OTHERS = 0.65, 0.1


def fall_by_law(run: Run, end: End, others: Sequence[Run]) -> tuple[float, float]:
    """Return the fall of the log loss from the last row of a run to its end, and its standard deviation."""
    same = [other for other in others if has_same_size(run, [other])]
    fit, unit, misfit = _fit(run, same)
    last = run.rows.steps[-1]
    here = _log_loss(fit, _scaled(run.rows.schedule, unit), float(last))
    there = _log_loss(fit, _scaled(end.schedule, unit), end.step)
    fall = there[0] - here[0]
    slope = there[1] - here[1]
    variance = slope @ fit.covariance @ slope + run.noise**2 + END_ERROR**2
    lack = (LACK_WITH_OTHERS if same else LACK_ALONE) * (1 - last / end.step)
    return fall, float(misfit * np.sqrt(variance + (lack * fall) ** 2))


def row_bands(run: Run, row: int, last: float) -> Iterator[tuple[float, float]]:
    """Yield the log loss expected at every row from `row` up to step `last`, with its standard deviation.

    The law is fitted to the rows before `row`.
    """
    known = run.until(float(run.rows.steps[row - 1]))
    fit, unit, _ = _fit(known, ())
    schedule, cut = _scaled(run.rows.schedule, unit), float(known.rows.steps[-1])
    here = _log_loss(fit, schedule, cut)
    for step in run.rows.steps[row:][run.rows.steps[row:] <= last]:
        there = _log_loss(fit, schedule, float(step))
        fall, slope = there[0] - here[0], there[1] - here[1]
        lack = LACK_ALONE * (1 - cut / step) * fall
        variance = slope @ fit.covariance @ slope + 2 * run.noise**2 + ROW_ERROR**2 + lack**2
        yield float(np.log(known.rows.loss[-1]) + fall), float(np.sqrt(variance))


def has_same_size(run: Run, others: Sequence[Run]) -> bool:
    """Return whether a finished run of the same size is among others."""
    return any(_same_size(run, other) and other.ends[-1].loss is not None for other in others)


def _same_size(run: Run, other: Run) -> bool:
    return bool(run.size and other.size and abs(np.log(other.size / run.size)) < SAME_SIZE)


def _scaled(schedule: Schedule, unit: float) -> Schedule:
    return Schedule(schedule.steps, schedule.lr / unit, schedule.lr_sum / unit)


def _log_loss(fit: CurveFit, schedule: Schedule, step: float) -> tuple[float, Array]:
    """Return the log loss at a step and its derivatives by the coordinates."""
    loss, slope = fit.loss_and_slope(schedule.at([step]))
    return float(np.log(loss[0])), np.asarray(slope[0] / loss[0])


def _fit(run: Run, others: Sequence[Run]) -> tuple[CurveFit, float, float]:
    """Return the fit, the learning rate that is 1 in it, and its residuals over their errors if above 1."""
    unit = float(run.ends[-1].schedule.lr.max())
    curves, errors = [], []
    for each in (run, *others):
        rows = each.rows
        curves.append(Curve(_scaled(rows.schedule, unit), rows.steps, rows.loss, rows.rows))
        errors.append(np.full(len(rows.steps), np.hypot(ROW_ERROR, each.noise)))
        for end in each.ends:
            if end.loss is not None:
                curves.append(Curve.of(_scaled(end.schedule, unit), [end.step], [end.loss]))
                errors.append(np.array([END_ERROR]))
    last = np.log(run.rows.loss[-1])
    names = ("E", "reducible", "alpha", "B", "C", "beta")
    mean = np.log([MEAN[name] for name in names]) + last * np.isin(names, ("E", "reducible", "B"))
    mean[OWN] -= np.log(run.ends[-1].step)
    prior = Prior(np.append(mean, GAMMA), np.append([SD[name] for name in names], 0.0))
    groups = [0] * len(curves)
    fit = fit_curves(LAW, curves, groups, [prior.mean], prior=prior, errors=errors, width=WIDTH)
    off = [
        np.log(fit.loss(curve.schedule.at(curve.steps)) / curve.loss) / error
        for curve, error in zip(curves, errors, strict=True)
    ]
    return fit, unit, max(1.0, float(np.sqrt(np.mean(np.concatenate(off) ** 2))))
