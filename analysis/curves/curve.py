"""Curves of losses with their schedules, and how many of their rows a fit needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.arrays import Array
from analysis.laws.annealing import Schedule

BINS = 96  # of a curve in a fit, spaced evenly in the logarithm of the step
# Noise of a single row in rows with the same trend: second differences of white noise have variance 6.
SECOND_DIFFERENCE, MAD = 6**0.5, 0.6745


@dataclass(frozen=True)
class Curve:
    """Losses along a schedule.

    Attributes:
        schedule: learning rates from the first step of training to the last one planned.
        steps: steps of the rows, rising [rows].
        loss: losses, nats per token [rows].
        rows: logged rows that each row is the mean of [rows].
    """

    schedule: Schedule
    steps: Array
    loss: Array
    rows: Array

    @classmethod
    def of(cls, schedule: Schedule, steps: ArrayLike, loss: ArrayLike) -> Curve:
        """Return a curve from logged rows."""
        at = np.asarray(steps, float)
        return cls(schedule, at, np.asarray(loss, float), np.ones_like(at))

    def until(self, step: float) -> Curve:
        """Return the rows up to a step."""
        kept = self.steps <= step
        return Curve(self.schedule, self.steps[kept], self.loss[kept], self.rows[kept])

    def since(self, step: float) -> Curve:
        """Return the rows after a step."""
        kept = self.steps > step
        return Curve(self.schedule, self.steps[kept], self.loss[kept], self.rows[kept])

    def binned(self, bins: int = BINS) -> Curve:
        """Return means over neighbouring rows, so that early and late rows weigh alike and fits are quick."""
        if len(self.steps) <= bins:
            return self
        edges = np.geomspace(self.steps[0], self.steps[-1] * (1 + 1e-9), bins + 1)[:-1]
        first = np.unique(np.searchsorted(self.steps, edges))
        count = np.diff(np.append(first, len(self.steps))).astype(float)
        steps, logs = (np.add.reduceat(v, first) / count for v in (self.steps, np.log(self.loss)))
        return Curve(self.schedule, steps, np.exp(logs), count)

    def noise(self) -> float:
        """Return the standard deviation of the log loss of one row around its trend; 0 below four rows."""
        second = np.diff(np.log(self.loss), 2)
        return float(np.median(np.abs(second)) / MAD / SECOND_DIFFERENCE) if len(second) > 1 else 0.0
