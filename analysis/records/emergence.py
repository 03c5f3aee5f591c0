"""The record of emergence.json: a verdict on every task, with the statistics behind it.

Schema 3 is written. Up to schema 2 the test did not allow for a jump on a slope. There `start`, `end` and
`share` are of a ramp, and `width` is that of one logistic between two levels. Schema 1 said `level` for
`significance` and `held` for `constant`, and it left keys without a value away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from analysis.arrays import Interval
from harness.records.errors import InputError
from harness.records.json_files import read_record

SCHEMA = 3


class Axis(StrEnum):
    """Measure of scale that a study follows; the value is also the name of its column."""

    N = "N"  # parameters
    C = "C"  # training compute, FLOPs
    D = "D"  # training tokens
    LOSS = "loss"  # held-out loss on text, nats per token


class Verdict(StrEnum):
    """Verdict on one task; the value is the code in emergence.json, `label` is for readers."""

    TOO_FEW_SIZES = "too_few_sizes"  # fewer sizes than the sup-F test needs
    NOT_LEARNED = "not_learned"  # the largest models do no better than guessing
    SMOOTH = "smooth"  # no jump in the smooth metric, and exact match does not look sharp
    METRIC_ARTEFACT = "metric_artefact"  # no jump in the smooth metric, but exact match looks sharp
    DEPENDENT_ERRORS = "dependent_errors"  # no jump, but errors within an answer are correlated
    BELOW_RESOLUTION = "below_resolution"  # the smooth metric improves while exact match stays near 0
    DELAYED_ONSET = "delayed_onset"  # a slow fall, then a faster one that is surely not narrow
    WIDTH_UNRESOLVED = "width_unresolved"  # a faster fall that may be narrow or not
    TRANSITION = "transition"  # a narrow jump in the smooth metric and in exact match
    UNSEEN_TRANSITION = "unseen_transition"  # a narrow jump in the smooth metric only
    INCONCLUSIVE = "inconclusive"  # no jump found, but the test lacked the power to find one

    @property
    def label(self) -> str:
        return LABELS[self]

    @property
    def is_jump(self) -> bool:
        """Whether the smooth metric falls in a way that no smooth law describes, sharply or not."""
        return self in JUMPS


LABELS = {
    Verdict.TOO_FEW_SIZES: "too few sizes to test",
    Verdict.NOT_LEARNED: "not learned",
    Verdict.SMOOTH: "smooth under every metric",
    Verdict.METRIC_ARTEFACT: "smooth, sharp-looking only under exact match (metric artefact)",
    Verdict.DEPENDENT_ERRORS: "smooth per token, but errors within an answer are dependent (resolution)",
    Verdict.BELOW_RESOLUTION: "improving smoothly below what exact match can resolve (resolution)",
    Verdict.DELAYED_ONSET: "delayed onset, gradual",
    Verdict.WIDTH_UNRESOLVED: "sharp or gradual: width not resolved",
    Verdict.TRANSITION: "transition under both metrics",
    Verdict.UNSEEN_TRANSITION: "transition in the smooth metric alone, which exact match does not show",
    Verdict.INCONCLUSIVE: "inconclusive",
}
JUMPS = (Verdict.DELAYED_ONSET, Verdict.WIDTH_UNRESOLVED, Verdict.TRANSITION, Verdict.UNSEEN_TRANSITION)
# Labels of a task without exact match, of which nothing can be said about the metric.
SMOOTH_ONLY = {
    Verdict.SMOOTH: "smooth in the one metric measured",
    Verdict.UNSEEN_TRANSITION: "transition in the one metric measured",
}


@dataclass(frozen=True)
class AxisRecord:
    """An axis that the runs vary.

    Attributes:
        axis: the measure of scale.
        constant: the quantity that stays constant along the axis, in words.
    """

    axis: Axis
    constant: str


@dataclass(frozen=True)
class SizeRow:
    """Metrics of one task at one size, means over seeds; None for a metric that was not measured.

    Attributes:
        at: value of the axis, in its unit.
        x: position along the axis, decades.
        n_seeds: runs at this size.
        nll: negative log-likelihood of the right answer, nats per token, geometric mean over seeds.
        ln_nll_sd: standard deviation of ln nll between seeds.
        law: prediction of the fitted law, nats per token.
        law_low: lower end of its 90 % band, nats per token.
        law_high: upper end of its 90 % band, nats per token.
        exact: exact match, a share of answers.
        product: Π of the accuracies of the positions, a share.
        p_answer: probability of the whole answer at temperature 1, mean over items.
        exact_upper: 95 % upper limit of exact match (rule of three) if no answer was right.
        loglog: ln(−ln exact), if exact match lies strictly between 0 and 1.
        accuracy_power: per-token accuracy to the power of the answer's length, a share.
        from_law: exact match that the law predicts under independent errors, e^(−length·nll).
        from_law_low: lower end of its 90 % band.
        from_law_high: upper end of its 90 % band.
        rho: exact over product; 1 if errors within an answer are independent.
        rho_interval: 90 % bootstrap interval of rho over items.
    """

    at: float
    x: float
    n_seeds: int
    nll: float
    ln_nll_sd: float | None = None
    law: float | None = None
    law_low: float | None = None
    law_high: float | None = None
    exact: float | None = None
    product: float | None = None
    p_answer: float | None = None
    exact_upper: float | None = None
    loglog: float | None = None
    accuracy_power: float | None = None
    from_law: float | None = None
    from_law_low: float | None = None
    from_law_high: float | None = None
    rho: float | None = None
    rho_interval: Interval | None = None


@dataclass(frozen=True)
class LawRecord:
    """Power law with an offset of the smooth metric, nll = E + A·10^(−alpha·(x − origin)).

    Attributes:
        E: irreducible part, nats per token.
        A: reducible part at `origin`, nats per token.
        alpha: exponent, per decade of the axis.
        alpha_interval: 90 % bootstrap interval of alpha.
        origin: centre of the sizes, decades.
        residual_sd: standard deviation of the residuals of ln nll.
    """

    E: float
    A: float
    alpha: float
    alpha_interval: Interval
    origin: float
    residual_sd: float


@dataclass(frozen=True)
class SharpnessRecord:
    """Sup-F test for a jump on a slope in ln nll; every field is None if the sizes are too few.

    Attributes:
        start: begin of the best jump, where 10 % of it are done, decades.
        end: its end, where 90 % of it are done, decades.
        share: its share of the whole fall of ln nll, at most 1.
        statistic: largest F over all jumps.
        p: Monte-Carlo p-value for these sizes and seeds.
        p_holm: p after Holm's correction over the tasks of the axis.
        largest: height of the largest jump of 0.3 decades that the sizes allow at 95 %, over the range of
            ln nll; at most 1.
    """

    start: float | None = None
    end: float | None = None
    share: float | None = None
    statistic: float | None = None
    p: float | None = None
    p_holm: float | None = None
    largest: float | None = None


@dataclass(frozen=True)
class WidthRecord:
    """Logistic on a slope, fitted to ln nll; `width`, `lower`, `centre` are None if nothing falls.

    Attributes:
        width: 10–90 % width, decades.
        lower: one-sided 95 % lower limit of the width, decades.
        upper: one-sided 95 % upper limit, decades; None if it is unbounded.
        centre: midpoint of the jump, decades.
        drop: height of the jump in ln nll, between the smallest and the largest size.
        onset: whether the fitted curve falls slower at the smallest sizes than later.
    """

    width: float | None
    lower: float | None
    upper: float | None
    centre: float | None
    drop: float | None
    onset: bool = False


@dataclass(frozen=True)
class DependenceRecord:
    """Dependence of the errors within an answer.

    Attributes:
        effective_positions: number of independent positions with the same exact match; None if no size
            has enough right answers.
        interval: 90 % bootstrap interval over items.
    """

    effective_positions: float | None
    interval: Interval | None


@dataclass(frozen=True)
class ForecastRow:
    """Exact match predicted for a model larger than all that were trained.

    Attributes:
        factor: its size over the largest one.
        exact: predicted exact match, mean over seeds.
        low: lower end of the 90 % band.
        high: upper end of the 90 % band.
        at: its size, in the unit of the axis.
    """

    factor: float
    exact: float
    low: float
    high: float
    at: float


@dataclass(frozen=True)
class SeedGroupRecord:
    """Test of one group against a two-component mixture for the seeds of one size.

    Attributes:
        at: the size, in the unit of the axis.
        n_seeds: seeds at this size.
        share: share of the variance of ln nll that the best cut into two groups explains.
        p: Monte-Carlo p-value of the share under one normal group.
        n_low: seeds below the cut; None unless a mixture was found.
        p_holm: p after Holm's correction over tasks and sizes.
        power: power against two equal groups five standard deviations apart, at the corrected level.
        mixture: whether the test found two groups.
        words: the finding, in words.
    """

    at: float
    n_seeds: int
    share: float
    p: float
    n_low: int | None
    p_holm: float
    power: float
    mixture: bool
    words: str


@dataclass(frozen=True)
class DescriptiveRecord:
    """Scores of Srivastava et al. 2022 (arXiv:2206.04615, section 3.4), which are no tests.

    Attributes:
        breakthroughness_smooth: breakthroughness of −nll; None if half of its steps are 0.
        linearity_smooth: linearity of −nll; None if it is constant.
        breakthroughness_exact: breakthroughness of exact match.
        linearity_exact: linearity of exact match.
    """

    breakthroughness_smooth: float | None = None
    linearity_smooth: float | None = None
    breakthroughness_exact: float | None = None
    linearity_exact: float | None = None


@dataclass(frozen=True)
class TaskRecord:
    """One task × length × axis: the verdict and the statistics behind it.

    Attributes:
        task: name of the task.
        length: length of its problems, in the task's own unit; 0 if it has none.
        axis: the measure of scale.
        n_sizes: number of sizes.
        n_seeds: seeds of the size with the fewest.
        n_shot: demonstrations in the prompt.
        split: `test` for problems held out from training, `seen` for trained ones, None if unknown.
        n_items: test items.
        n_positions: tokens of an answer, mean over items.
        chance: exact match of guessing.
        chance_nll: negative log-likelihood of guessing, nats per token.
        seed_sd: standard deviation of ln nll between seeds, pooled over sizes; None without repetitions.
        sizes: metrics by size, smallest model first.
        law: the fitted law; None if the sizes are too few.
        fall_p: one-sided p-value of the slope of ln nll.
        sharpness: the sup-F test.
        width: width of the best jump; None if the sizes are too few.
        power: power of the sup-F test against a jump of 0.3 decades with two thirds of the fall; None if it
            found one.
        dependence: dependence of errors; None without item-level results.
        forecast: predictions for larger models; empty if the verdict allows no extrapolation.
        seed_groups: mixture tests of the sizes with 16 seeds or more.
        descriptive: scores that others print.
        name: task and length as shown.
        verdict: the verdict.
        label: the verdict in words.
        words: the reason for it, in one sentence.
    """

    task: str
    length: float
    axis: Axis
    n_sizes: int
    n_seeds: int
    n_shot: int
    split: str | None
    n_items: int | None
    n_positions: float | None
    chance: float | None
    chance_nll: float | None
    seed_sd: float | None
    sizes: tuple[SizeRow, ...]
    law: LawRecord | None
    fall_p: float
    sharpness: SharpnessRecord
    width: WidthRecord | None
    power: float | None
    dependence: DependenceRecord | None
    forecast: tuple[ForecastRow, ...]
    seed_groups: tuple[SeedGroupRecord, ...]
    descriptive: DescriptiveRecord
    name: str
    verdict: Verdict
    label: str
    words: str

    @property
    def has_exact(self) -> bool:
        """Whether exact match was measured."""
        return self.sizes[0].exact is not None


@dataclass(frozen=True)
class InContextRecord:
    """Mean over seeds of one metric of in-context learning at one size.

    Attributes:
        task: `text`, `repeated`, `markov` or another task.
        metric: name of the metric, as in evals.parquet.
        length: position, states or layer, as in evals.parquet.
        n_shot: demonstrations in the prompt.
        n_params: parameters N.
        n_seeds: runs at this size.
        value: mean over seeds, in the unit of the metric.
        sd: standard deviation between seeds; None with one seed.
    """

    task: str
    metric: str
    length: float
    n_shot: int
    n_params: float
    n_seeds: int
    value: float
    sd: float | None


@dataclass(frozen=True)
class LeftOutRecord:
    """A task that could not be examined.

    Attributes:
        task: name of the task.
        length: length of its problems.
        reason: the obstacle, in words.
    """

    task: str
    length: float
    reason: str


@dataclass(frozen=True)
class EmergenceRecord:
    """The content of emergence.json.

    Attributes:
        schema: number of this layout.
        significance: family-wise error rate of the sup-F tests on one axis.
        axes: axes that the runs vary.
        tasks: one record a task × length × axis.
        in_context: metrics of in-context learning by size.
        warnings: doubts, in words.
        left_out: tasks that could not be examined.
        not_examined: limits of the study, in words.
        verdict: the verdicts on the first axis, in one sentence.
    """

    schema: int
    significance: float
    axes: tuple[AxisRecord, ...]
    tasks: tuple[TaskRecord, ...]
    in_context: tuple[InContextRecord, ...]
    warnings: tuple[str, ...]
    left_out: tuple[LeftOutRecord, ...]
    not_examined: tuple[str, ...]
    verdict: str

    def along(self, axis: Axis) -> list[TaskRecord]:
        """Return the tasks on one axis."""
        return [task for task in self.tasks if task.axis == axis]

    @property
    def first(self) -> list[TaskRecord]:
        """Tasks on the first axis, which the figures and the summary show."""
        return self.along(self.axes[0].axis)


def read_emergence(path: Path) -> EmergenceRecord:
    """Read emergence.json, of this schema or an older one.

    Raises:
        InputError: no such file, a newer schema, or a key that is missing, unknown or of the wrong type.
    """
    found = read_record(path, EmergenceRecord, SCHEMA, {1: _from_schema_1, 2: _from_schema_2})
    if not found.axes or not all(task.sizes for task in found.tasks):
        raise InputError(
            f"{path} has no axis, or a task without sizes: expected the file as the sweep's command wrote "
            "it, type that command again"
        )
    return found


def _from_schema_1(value: dict[str, Any]) -> dict[str, Any]:
    axes = [_renamed(axis, "held", "constant") for axis in value.get("axes", [])]
    return {**_renamed(value, "level", "significance"), "axes": axes}


def _from_schema_2(value: dict[str, Any]) -> dict[str, Any]:
    """Keep every key: those that are new have defaults."""
    return value


def _renamed(value: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    return {new if key == old else key: entry for key, entry in value.items()}
