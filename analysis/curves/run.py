"""Runs as forecasts see them: a curve, and the ends that are planned or reached."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np

from analysis.arrays import Array
from analysis.curves.curve import Curve
from analysis.laws.annealing import Schedule

SHAPE_AT = np.linspace(0.15, 1.0, 18)  # shares of training at which schedules are compared, warm-up left out
# Largest mean difference of rates relative to their peaks: a decay over a sixth is further from none.
SAME_SHAPE = 0.03
PER_DOUBLING = 4  # rows that a smoothed curve has for each doubling of the step


@dataclass(frozen=True)
class End:
    """A planned or reached end of a run.

    Attributes:
        name: name of the end.
        step: its last step.
        schedule: learning rates up to it.
        loss: loss there, nats per token; None before it is reached.
    """

    name: str
    step: float
    schedule: Schedule
    loss: float | None = None

    @functools.cached_property
    def shape(self) -> Array:
        """Learning rates relative to their peak, at equal shares of training."""
        rates = np.interp(SHAPE_AT * self.step, self.schedule.steps, self.schedule.lr)
        return np.asarray(rates / self.peak)

    @functools.cached_property
    def peak(self) -> float:
        """Highest learning rate of the schedule."""
        return float(self.schedule.lr.max())

    def is_like(self, other: End) -> bool:
        """Return whether two ends have schedules of the same shape."""
        return float(np.mean(np.abs(self.shape - other.shape))) < SAME_SHAPE


@dataclass(frozen=True)
class Run:
    """A run with its curve.

    Attributes:
        name: name of the run.
        rows: losses on the way, smoothed if they are noisy; behind the warm-up.
        trained: last logged step.
        ends: ends by rising step.
        size: size of the model in any unit; None if unknown.
        cost: compute or steps of the whole run: runs of less are taken to have been trained before.
        noise: standard deviation of the log loss of a row.
        arm: recipe, if runs of several are compared.
        order: name of the order of its text: runs of one order have read the same up to a step; empty if it
            is unknown.
    """

    name: str
    rows: Curve
    trained: float
    ends: tuple[End, ...]
    size: float | None = None
    cost: float = 0.0
    noise: float = 0.004
    arm: str = ""
    order: str = ""

    def until(self, step: float) -> Run:
        """Return the run as it was known at a step."""
        ends = tuple(replace(end, loss=end.loss if end.step <= step else None) for end in self.ends)
        return replace(self, rows=self.rows.until(step), trained=min(self.trained, step), ends=ends)

    def log_loss_at(self, step: float) -> float | None:
        """Return the log loss at a step between two rows; None before the first row and behind the last."""
        steps = self.rows.steps
        if not len(steps) or not 0.999 * steps[0] <= step <= 1.001 * steps[-1]:
            return None
        return float(np.interp(np.log(step), np.log(steps), np.log(self.rows.loss)))

    def rate_at(self, step: float) -> float:
        """Return the learning rate at a step, relative to the peak."""
        schedule = self.rows.schedule
        return float(np.interp(step, schedule.steps, schedule.lr) / schedule.lr.max())


def warm_up_end(schedule: Schedule) -> float:
    """Return the first step with the highest learning rate, or nearly."""
    return float(schedule.steps[int(np.argmax(schedule.lr >= 0.999 * schedule.lr.max()))])


def smoothed(curve: Curve) -> tuple[Curve, float]:
    """Return means of noisy rows over steps that grow with the step, and the noise of such a row."""
    if len(curve.steps) < 2:
        return curve, 0.0
    doublings = np.log2(curve.steps[-1] / curve.steps[0])
    bins = max(4, int(np.ceil(PER_DOUBLING * doublings)))
    few = curve.binned(bins)
    return few, float(curve.noise() / np.sqrt(np.median(few.rows)))
