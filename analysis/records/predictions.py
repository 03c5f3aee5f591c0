"""Records of predictions, as `analysis.fit --predict` and `analysis.plan` write them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from analysis.arrays import Interval
from analysis.records.warning_codes import FitWarning
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


@dataclass(frozen=True)
class DemandedRun:
    """The run of one loss whose training and inference cost least together.

    Attributes:
        n: size, parameters.
        d: training tokens.
        training_flops: compute of the training, FLOPs.
        inference_flops: compute of all inference, FLOPs.
        saved: share of the total that this run saves against the best training run of the same loss.
    """

    n: Estimated
    d: float
    training_flops: float
    inference_flops: float
    saved: float


@dataclass(frozen=True)
class RunRecord:
    """The planned run in the recipe of a sweep.

    Attributes:
        rung: name of its size.
        d_model: width.
        n_layers: depth.
        n: parameters under the count of the fit.
        n_tokens: training tokens.
        flops: training compute, FLOPs.
        loss: predicted loss of the run, nats per token.
        lr: peak learning rate by parameter group.
        epochs: passes over the training text.
        overrides: settings that add the run to its sweep.
    """

    rung: str
    d_model: int
    n_layers: int
    n: int
    n_tokens: int
    flops: float
    loss: Estimated
    lr: Mapping[str, float]
    epochs: float
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class EffortRecord:
    """Time and money of a planned run.

    Attributes:
        flops_per_second: of all devices.
        hours: wall-clock.
        cost: price of all devices over that time; None without a price.
    """

    flops_per_second: float
    hours: float
    cost: float | None


@dataclass(frozen=True)
class PlacementRecord:
    """What a planned run asks of the devices that train it.

    Attributes:
        n_devices: devices that share a batch.
        n_bytes: counted memory of a step on each of them, bytes.
        capacity: bytes of a device that a run can use.
        seconds: of its training steps, one after the other.
        mfu: share of the peak that they reach.
        remedy: what to type so that it fits; None if it does.
    """

    n_devices: int
    n_bytes: float
    capacity: float
    seconds: float
    mfu: float
    remedy: str | None


@dataclass(frozen=True)
class PlanRecord:
    """A plan, as the JSON of `analysis.plan` holds it.

    Attributes:
        prediction: the best run.
        run: its shape in the recipe of a sweep; None for a table of other people.
        demand: the cheapest run of the same loss with inference; None if it was not asked for.
        effort: time and money; None without devices.
        placement: memory and time of the run on the devices; None without a run or named devices.
        warnings: what speaks against the plan.
    """

    prediction: PredictionRecord
    run: RunRecord | None = None
    demand: DemandedRun | None = None
    effort: EffortRecord | None = None
    placement: PlacementRecord | None = None
    warnings: tuple[FitWarning, ...] = ()
