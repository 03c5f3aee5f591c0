"""Records of predictions, as `analysis.fit --predict` and `analysis.plan` write them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from analysis.arrays import Interval
from analysis.records.fit import FitWarning
from harness.records.json_files import ABSENT_IF_NONE


@dataclass(frozen=True)
class Estimated:
    """A number and its interval.

    Attributes:
        value: the number.
        interval: its ends, the upper one infinite if some laws never get there; None if the number was asked
            for, or nothing was redrawn.
    """

    value: float
    interval: Interval | None = None


@dataclass(frozen=True)
class PredictionRecord:
    """The answer to one question: what a budget buys, or where one run ends.

    Attributes:
        asked: the quantities that were given, out of C, N, D and L.
        n: size, parameters.
        d: training tokens.
        flops: training compute, FLOPs.
        loss: nats per token; its interval is that of one new run.
        optimal: whether N and D divide the compute best; if not, both were given.
        flat: range of sizes whose loss at this compute is within 0.1 % of the best; None unless optimal.
        factor: compute over the largest fitted compute.
        level: share of the intervals.
        laws: weight of each law behind the numbers.
        warnings: what speaks against using them.
        accuracy: of one new run at this loss; absent unless the table has accuracies.
    """

    asked: Mapping[str, float]
    n: Estimated
    d: Estimated
    flops: Estimated
    loss: Estimated
    optimal: bool
    flat: Interval | None
    factor: float
    level: float
    laws: Mapping[str, float]
    warnings: tuple[FitWarning, ...] = ()
    accuracy: Estimated | None = field(default=None, metadata=ABSENT_IF_NONE)

    @property
    def tokens_per_parameter(self) -> float:
        """D over N."""
        return self.d.value / self.n.value


@dataclass(frozen=True)
class AccuracyRecord:
    """Accuracy as a function of the loss: floor + (top − floor)/(1 + exp(steepness·(loss − middle))).

    Attributes:
        floor: accuracy at high loss.
        top: accuracy at low loss.
        steepness: per nat.
        middle: loss at which half of the rise is reached, nats per token.
        sd: standard deviation of the accuracy of one run around the curve.
        rows: number of runs behind the curve.
    """

    floor: float
    top: float
    steepness: float
    middle: float
    sd: float
    rows: int
