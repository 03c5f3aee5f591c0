"""Records of forecasts of running curves, as `analysis.curves` writes them and the report shows them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import nan

from analysis.arrays import Interval


class Basis(StrEnum):
    """What the forecast of an end rests on."""

    MEASURED = "measured"
    """The end was reached: its loss is no forecast."""
    RUNS = "runs"
    """How far other runs, or earlier ends of the same run, still fell from the same share of training."""
    LAW = "law"
    """A whole-curve law fitted to the run, and to runs of its size."""


@dataclass(frozen=True)
class EndForecast:
    """Where a run ends.

    Attributes:
        run: name of the run.
        end: name of the end: the point, or the run of a foreign table.
        last_step: planned last step.
        step: step up to which the curve is known.
        now: loss there, nats per token.
        loss: loss at the end, nats per token; None if nothing can be said.
        interval: ends of its interval; None if the loss was measured, or nothing can be said.
        basis: what it rests on; None if nothing can be said.
        note: why nothing can be said; empty otherwise.
    """

    run: str
    end: str
    last_step: float
    step: float
    now: float | None
    loss: float | None
    interval: Interval | None
    basis: Basis | None
    note: str = ""


@dataclass(frozen=True)
class Alarm:
    """A run that left its band.

    Attributes:
        run: name of the run.
        step: first step outside.
        loss: loss there, nats per token.
        expected: loss expected there from the rows before, nats per token.
        distance: how far outside, in standard deviations; positive above the band.
    """

    run: str
    step: float
    loss: float
    expected: float
    distance: float


@dataclass(frozen=True)
class Tried:
    """A forecast that could have been made at a share of training, and the loss that came true.

    Attributes:
        share: share of the end's steps that had been trained.
        forecast: the forecast.
        loss: loss at the end, nats per token.
    """

    share: float
    forecast: EndForecast
    loss: float

    @property
    def error(self) -> float:
        """Relative error of the forecast."""
        return (self.forecast.loss or nan) / self.loss - 1

    @property
    def inside(self) -> bool:
        """Whether the loss lies inside the interval."""
        low, high = self.forecast.interval or (nan, nan)
        return low <= self.loss <= high


@dataclass(frozen=True)
class ShareScore:
    """Forecasts made at one share of training, against the ends.

    Attributes:
        share: share of the end's steps that had been trained.
        n_ends: forecasts that were made.
        rms_percent: root mean square of their relative errors, in percent.
        rms_percent_now: the same of the loss at that moment, taken for the end.
        inside_share: share of ends inside their intervals.
        half_width_percent: median half width of the intervals, in percent of the loss.
        level: confidence of the intervals.
    """

    share: float
    n_ends: int
    rms_percent: float
    rms_percent_now: float
    inside_share: float
    half_width_percent: float
    level: float


@dataclass(frozen=True)
class CurvesRecord:
    """All that is said of running curves.

    Attributes:
        level: confidence of the intervals.
        ends: forecasts, by run and end.
        alarms: runs that left their band.
        scores: forecasts that could have been made earlier, against the ends.
    """

    level: float
    ends: tuple[EndForecast, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    scores: tuple[ShareScore, ...] = ()
