"""Curves of losses with their schedules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.arrays import Array
from analysis.laws.annealing import Schedule


@dataclass(frozen=True)
class Curve:
    """Losses along a schedule.

    Attributes:
        schedule: learning rates from the first step of training to the last one planned.
        steps: steps of the rows, rising [rows].
        loss: losses, nats per token [rows].
    """

    schedule: Schedule
    steps: Array
    loss: Array

    @classmethod
    def of(cls, schedule: Schedule, steps: ArrayLike, loss: ArrayLike) -> Curve:
        """Return a curve from logged rows."""
        return cls(schedule, np.asarray(steps, float), np.asarray(loss, float))
