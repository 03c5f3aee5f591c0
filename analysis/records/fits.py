"""Records of fits.json: every key of the file, with its meaning and unit.

`StudyRecord` is the whole file. `fit.py` beside this module has one entry of its `fits`.

Schema 2 is written. Schema 1 said `held` and `held_value` for `constant` and `constant_value`.
Symbols: N parameters, D training tokens, C training FLOPs, L loss in nats per token.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.records.averages import AveragedQuantity, AveragedRecord, ContestRow
from analysis.records.comparison import ComparisonRecord
from analysis.records.fit import COUNTS, Excluded, FitRecord, with_constant
from analysis.records.forecast import ScoreRecord
from analysis.records.frontier import FrontierRow
from analysis.records.learning_rate import LearningRateRecord
from analysis.records.sources import SourceRecord
from analysis.records.warning_codes import AGAINST_E, FitWarning
from harness.records.errors import InputError
from harness.records.json_files import ABSENT_IF_NONE, read_record

SCHEMA = 2


@dataclass(frozen=True)
class PrimaryRecord:
    """The law that a study rests on.

    Attributes:
        law: its name.
        count: column that holds N.
        rule: the rule that chose it, fixed beforehand.
    """

    law: str
    count: str
    rule: str


@dataclass(frozen=True)
class TrendRecord:
    """Trend of the residuals along one axis.

    Attributes:
        axis: `N`, `D`, `D/N` or `N×D`.
        p: p-value, Holm-corrected over the four axes.
        share: share of the variance of the residuals that the trend takes.
    """

    axis: str
    p: float
    share: float


@dataclass(frozen=True)
class AdequacyRecord:
    """How well one law describes the runs; residuals are of log loss.

    Attributes:
        residual_rms: RMS of the residuals, relative to the loss.
        residual_max: largest residual, relative to the loss.
        seed_sd: standard deviation between seeds, relative to the loss; None without repeated cells.
        lack_of_fit_p: p-value of residuals against seed noise; None without repeated cells.
        structure: trends of the residuals.
        gamma_test_p: p-value of γ = 1 inside the joint law; None for laws without N and D terms.
        verdict: the result in one sentence.
    """

    residual_rms: float
    residual_max: float
    seed_sd: float | None
    lack_of_fit_p: float | None
    structure: tuple[TrendRecord, ...]
    gamma_test_p: float | None
    verdict: str


@dataclass(frozen=True)
class JackknifeRow:
    """The exponent without one size.

    Attributes:
        left_out: the size that was left out.
        a: exponent of N* under C = 6·N·D from the others.
    """

    left_out: str
    a: float


@dataclass(frozen=True)
class JackknifeRecord:
    """The exponent a with one size left out at a time.

    Attributes:
        a: one row a size.
        a_se: jackknife standard error of a; None with fewer than two rows.
    """

    a: tuple[JackknifeRow, ...] = ()
    a_se: float | None = None


@dataclass(frozen=True)
class RolloutRow:
    """A cell predicted from cheaper cells.

    Attributes:
        law: the law that predicts.
        c_fit: largest C of the fit, FLOPs.
        n_fit: cells of the fit.
        factor: C of the cell over c_fit.
        n_tokens: D of the cell, tokens.
        rung: size of the cell by name; None in a table without rungs.
        n_params: N of the cell, parameters.
        loss: measured loss, nats per token.
        predicted: predicted loss, nats per token.
        low: lower end of its interval; None since rollouts state none.
        high: upper end; None likewise.
        error: ln(loss/predicted).
    """

    law: str
    c_fit: float
    n_fit: int
    factor: float
    n_tokens: float
    rung: str | None
    n_params: float
    loss: float
    predicted: float
    low: float | None
    high: float | None
    error: float


@dataclass(frozen=True)
class CountedOptimum:
    """The best size at one budget under one way to count N.

    Attributes:
        count: column that holds N.
        flops: the budget C, FLOPs.
        n_opt: best size, parameters as counted.
        n_low: lower end of its interval.
        n_high: upper end.
    """

    count: str
    flops: float
    n_opt: float
    n_low: float
    n_high: float


@dataclass(frozen=True)
class NoiseCell:
    """Spread between the seeds of one cell.

    Attributes:
        rung: size by name.
        n_tokens: tokens.
        n_seeds: finished seeds.
        sd: standard deviation of the loss, nats per token.
        sd_relative: the same over the mean loss.
    """

    rung: str
    n_tokens: int
    n_seeds: int
    sd: float
    sd_relative: float


@dataclass(frozen=True)
class EvaluationRecord:
    """Error of the evaluation set, as far as the end points do not share it.

    Attributes:
        n_points: end points with losses by block.
        n_blocks: blocks of evaluation text.
        se_relative: standard error of log loss that is not common to the end points.
        share: its square over the variance of log loss between seeds; None if no cell has several seeds.
    """

    n_points: int
    n_blocks: int
    se_relative: float
    share: float | None = None


@dataclass(frozen=True)
class NoiseRecord:
    """Spread between seeds.

    Attributes:
        cells: the cells that have several seeds.
        pooled_relative: pooled standard deviation of log loss; None without such cells.
        evaluation: error of the evaluation set; None if losses by block were not stored.
    """

    cells: tuple[NoiseCell, ...] = ()
    pooled_relative: float | None = None
    evaluation: EvaluationRecord | None = field(default=None, metadata=ABSENT_IF_NONE)


@dataclass(frozen=True)
class ReferenceRow:
    """Trunk and branch against tuned cosine runs of the same cell.

    Attributes:
        rung: size by name.
        n_tokens: tokens.
        wsd_loss: mean loss of trunk and branch, nats per token.
        cosine_loss: mean loss of the cosine runs at their best rate, nats per token.
        difference: wsd_loss − cosine_loss, nats per token.
        se: standard error of the difference, nats per token; None without seed noise.
        lr_scale: best cosine rate over the rate of the trunk.
        n_seeds: cosine runs at that rate.
    """

    rung: str
    n_tokens: int
    wsd_loss: float
    cosine_loss: float
    difference: float
    se: float | None
    lr_scale: float
    n_seeds: int


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """Content of fits.json; the defaults are those of a sweep without a law in N and D.

    Attributes:
        schema: version of the keys.
        primary: the law that the study rests on; None without a law in N and D.
        fits: every approach under every way to count N.
        recommended: position in `fits` of the one to quote; None without one.
        reason: why that one, or why none, in words.
        objection: why that one is not to be quoted, in words; None if nothing speaks against it.
        contest: the laws that competed.
        adequacy: tests by law.
        jackknife: the exponent a with one size left out at a time.
        rollout: predictions of dearer cells from cheaper ones.
        averages: E and the exponents over all laws that the runs cannot exclude.
        floor: true irreducible loss of a source that knows it, nats per token; None for text.
        frontier: the best use of round budgets, over these laws.
        frontier_by_count: the best size under every way to count N, of the primary law.
        noise: spread between seeds.
        reference: trunk and branch against tuned cosine runs.
        learning_rate: result of a learning-rate sweep; None for other grids.
        sources: laws of the loss on each source of a mixture; absent for other corpora.
        comparisons: each other arm against the base arm; absent for a grid without arms.
        forecast: score of the sealed forecast that the study quotes; None before a held-out run is finished.
        forecasts: scores of all sealed forecasts, in the order of sealing; None in old files.
        warnings: doubts about the whole.
        excluded: rows of points.parquet that no fit saw.
        verdict: what was found, in words.
    """

    schema: int = SCHEMA
    primary: PrimaryRecord | None = None
    fits: tuple[FitRecord, ...] = ()
    recommended: int | None = None
    reason: str
    objection: str | None = field(default=None, metadata=ABSENT_IF_NONE)
    contest: tuple[ContestRow, ...] = ()
    adequacy: Mapping[str, AdequacyRecord]
    jackknife: JackknifeRecord = JackknifeRecord()
    rollout: tuple[RolloutRow, ...] = ()
    averages: tuple[AveragedRecord, ...] = ()
    floor: float | None = None
    frontier: tuple[FrontierRow, ...] = ()
    frontier_by_count: tuple[CountedOptimum, ...] = ()
    noise: NoiseRecord
    reference: tuple[ReferenceRow, ...] = ()
    learning_rate: LearningRateRecord | None = None
    sources: tuple[SourceRecord, ...] | None = field(default=None, metadata=ABSENT_IF_NONE)
    comparisons: tuple[ComparisonRecord, ...] | None = field(default=None, metadata=ABSENT_IF_NONE)
    forecast: ScoreRecord | None = None
    forecasts: tuple[ScoreRecord, ...] | None = field(default=None, metadata=ABSENT_IF_NONE)
    warnings: tuple[FitWarning, ...]
    excluded: tuple[Excluded, ...]
    verdict: str

    def average(self, quantity: AveragedQuantity) -> AveragedRecord | None:
        """Return a quantity over the laws, None without one."""
        return next((found for found in self.averages if found.quantity == quantity), None)

    @property
    def weights(self) -> dict[str, float]:
        """Weights by all runs of the laws that these do not exclude, largest first; empty without draws."""
        return {share.law: share.weight for found in self.averages[:1] for share in found.laws}

    @property
    def likeliest(self) -> str | None:
        """The law of largest weight by all runs; without such weights the law that the study rests on."""
        return next(iter(self.weights), self.primary.law if self.primary else None)

    @property
    def choice_excluded(self) -> bool:
        """Whether all runs exclude the law that the fitted runs chose."""
        law = self.primary.law if self.primary else None
        # A law that an older rule sealed may never have been weighed.
        weighed = any(row.law == law for row in self.contest)
        return weighed and bool(self.weights) and law not in self.weights

    @property
    def planning_law(self) -> str | None:
        """The law that designs expect: the one the fitted runs chose, unless all runs exclude it."""
        chosen = self.primary.law if self.primary else None
        return self.likeliest if self.choice_excluded else chosen

    @property
    def likeliest_fit(self) -> FitRecord | None:
        """The parametric fit of the likeliest law under the primary count; None if it was not fitted."""
        wanted = ("parametric", self.likeliest, self.primary.count if self.primary else None)
        return next((fit for fit in self.fits if (fit.approach, fit.law, fit.count) == wanted), None)

    def fixes_irreducible(self, fit: FitRecord | None = None) -> bool:
        """Return whether the losses come close enough to E to fix it, by the likeliest fit or a given one."""
        fit = fit or self.likeliest_fit or self.quoted
        return fit is None or not AGAINST_E & {warning.code for warning in fit.warnings}

    @property
    def quoted(self) -> FitRecord | None:
        """The recommended fit."""
        return None if self.recommended is None else self.fits[self.recommended]

    @property
    def scores(self) -> tuple[ScoreRecord, ...]:
        """Scores of all sealed forecasts, in the order of sealing."""
        return self.forecasts or ((self.forecast,) if self.forecast else ())


def _from_schema_1(study: dict[str, Any]) -> dict[str, Any]:
    return {**study, "fits": [with_constant(fit) for fit in study.get("fits", [])]}


def read_study(path: Path) -> StudyRecord:
    """Read fits.json of a sweep, of this or an older schema; raise InputError if that is not possible."""
    study = read_record(path, StudyRecord, SCHEMA, {1: _from_schema_1})
    for wrong, what in _contradictions(study):
        if wrong:
            raise InputError(
                f"{path} {what}: expected the file as the sweep's command wrote it, type that command again"
            )
    return study


def _contradictions(study: StudyRecord) -> Iterator[tuple[bool, str]]:
    """Yield for each rule that the types cannot say whether a study breaks it, and the fault in words."""
    counts = {fit.count for fit in study.fits} | {row.count for row in study.contest}
    counts |= {row.count for row in study.frontier_by_count} | (
        {study.primary.count} if study.primary else set()
    )
    yield not counts <= set(COUNTS), "counts N in an unknown way"
    place = study.recommended
    yield place is not None and not 0 <= place < len(study.fits), "recommends a fit that it does not hold"
    best = [value for row in study.frontier for value in (row.flops, row.n_opt, row.d_opt, row.loss)]
    yield not all(0 < value < math.inf for value in best), "has a frontier of numbers that are not above 0"
    losses = [loss for row in study.reference for loss in (row.wsd_loss, row.cosine_loss)]
    yield not all(0 < loss < math.inf for loss in losses), "has reference losses that are not above 0"
    yield study.forecast is not None and not study.forecast.cells, "scores a forecast of no cell"
