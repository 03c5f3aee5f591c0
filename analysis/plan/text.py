"""A plan in words."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.plan.shape import PlannedRun
from analysis.prediction.text import answer_names, answer_row, counted, laws_text
from analysis.records.predictions import DemandedRun, Estimated, PlacementRecord, PredictionRecord
from analysis.records.warning_codes import FitWarning, WarningCode
from harness.execution.devices import Devices
from harness.plan.machine import gib
from harness.records.number_text import duration, estimate, percent, power_of_ten, si


@dataclass(frozen=True)
class Effort:
    """What trains.

    Attributes:
        words: on what, or at which speed.
        rate: FLOP/s of all of them.
        count: devices.
        price_per_hour: of one device; None if it is not known.
        devices: the devices, if they were named.
        mfu: share of their peak, as the user measured it; None if it is assumed.
    """

    words: str
    rate: float
    count: int
    price_per_hour: float | None
    devices: Devices | None = None
    mfu: float | None = None

    def hours(self, flops: float) -> float:
        """Return the wall-clock hours of a compute."""
        return flops / self.rate / 3600

    def cost(self, hours: float) -> float | None:
        """Return the price of hours on all devices; None without a price."""
        return None if self.price_per_hour is None else hours * self.count * self.price_per_hour


@dataclass(frozen=True)
class Answer:
    """A plan.

    Attributes:
        prediction: the best run.
        effort: what trains, if it is known.
        scored_to: factor of compute up to which predictions of the sweep were held against runs.
        demand: the cheapest run of the same loss with inference, if it was asked for.
        run: the run that the sweep's recipe can train; None for a table of other people.
        run_loss: its predicted loss.
        placement: what it asks of the devices; None if none were named.
    """

    prediction: PredictionRecord
    effort: Effort | None = None
    scored_to: float | None = None
    demand: DemandedRun | None = None
    run: PlannedRun | None = None
    run_loss: Estimated | None = None
    placement: PlacementRecord | None = None

    @property
    def warnings(self) -> tuple[FitWarning, ...]:
        """What speaks against the plan: the doubts of the prediction, or how far predictions were tested."""
        found = self.prediction
        factor = max(found.factor, self.demand_factor or 0)
        if found.warnings or self.scored_to is None or factor <= self.scored_to:
            return found.warnings
        message = (
            f"predictions of this sweep were held against runs of up to {self.scored_to:.3g} times the "
            f"fitted compute, and this is {factor:.3g} times"
        )
        return (FitWarning(WarningCode.EXTRAPOLATION, message),)

    @property
    def demand_factor(self) -> float | None:
        """Training compute of the run with inference over the largest fitted one; None if it is not asked."""
        if self.demand is None:
            return None
        return self.prediction.factor * self.demand.training_flops / self.prediction.flops.value

    @property
    def demand_epochs(self) -> float | None:
        """Passes over the text that the run with inference takes; None without a text or such a run."""
        if self.demand is None or self.run is None:
            return None
        return self.run.epochs * self.demand.d / self.run.cell.n_tokens


def answer_text(answer: Answer) -> str:
    """Return the plan, a line a matter."""
    found = answer.prediction
    names, row = answer_names([found]), answer_row(found)
    lines = [f"plan for {row[0]}, by {laws_text(found.laws)}, {100 * found.level:g} % intervals"]
    lines += [f"  {name}: {cell}" for name, cell in zip(names[1:], row[1:], strict=True)]
    if found.flat:
        low, high = found.flat
        lines.append(
            f"  flat range: sizes from {si(low)} to {si(high)} cost 0.1 % of the loss at most; the smallest "
            "is the cheapest to use"
        )
    if answer.effort:
        hours = answer.effort.hours(found.flops.value)
        cost = answer.effort.cost(hours)
        price = "" if cost is None else f", cost {cost:,.2f}"
        time = duration(3600 * hours) if 3600 * hours >= 1 else "under 1 s"
        lines.append(f"  time: {time} {answer.effort.words}{price}")
    if answer.run and answer.run_loss:
        lines += _run_lines(answer.run, answer.run_loss)
    if answer.placement:
        lines += _placement_lines(answer.placement)
    if answer.demand:
        lines.append(_demand_line(answer, answer.demand))
    lines += [warning.line for warning in answer.warnings]
    return "\n".join(lines)


def _demand_line(answer: Answer, need: DemandedRun) -> str:
    epochs = answer.demand_epochs
    if epochs is None:
        passes = ""
    elif epochs <= 1:
        passes = f" ({epochs:.2g} epochs)"
    else:
        passes = f" ({epochs:.2g} epochs; the laws count every token as new)"
    return (
        f"  with inference: {counted(need.n)} parameters on {si(need.d)} tokens{passes} reach the same loss; "
        f"{power_of_ten(need.training_flops)} FLOPs to train ({answer.demand_factor:.3g} × max C) and "
        f"{power_of_ten(need.inference_flops)} to use, {percent(need.saved, 0)} less than the run above"
    )


def _run_lines(run: PlannedRun, loss: Estimated) -> list[str]:
    spec, rates = run.cell.spec, run.cell.spec.optim.lr
    return [
        f"  run: {spec.rung}, d_model {spec.model.d_model} of {spec.model.n_layers} layers, {run.n:,} "
        f"parameters on {run.cell.n_tokens:,} tokens, {power_of_ten(run.cell.flops, 3)} FLOPs, "
        f"{run.epochs:.2g} epochs",
        f"  its loss: {estimate(loss.value, loss.interval)} nats per token",
        f"  its learning rates: hidden {rates.hidden:.2g}, embed {rates.embed:.2g}, head {rates.head:.2g}, "
        f"gain {rates.gain:.2g}; batch {spec.batch_tokens:,} tokens",
    ]


def _placement_lines(placed: PlacementRecord) -> list[str]:
    share = f"on {placed.n_devices} of them" if placed.n_devices > 1 else "on one of them"
    line = (
        f"  {share} it takes {gib(placed.n_bytes)} of {gib(placed.capacity)} GiB each and "
        f"{duration(placed.seconds)}, at {percent(placed.mfu, 1)} of their peak, counted step by step"
    )
    return [line] if placed.remedy is None else [line, f"  it does not fit: {placed.remedy}"]
