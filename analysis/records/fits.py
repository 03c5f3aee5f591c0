"""Records of fits.json: every key of the file, with its meaning and unit.

`StudyRecord` is the whole file, `FitRecord` one entry of its `fits` and the JSON of `python -m analysis.fit`.

Schema 2 is written. Schema 1 said `held` and `held_value` for `constant` and `constant_value`.
Symbols: N parameters, D training tokens, C training FLOPs, L loss in nats per token.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from analysis.arrays import Interval
from harness.records.errors import InputError
from harness.records.json_files import ABSENT_IF_NONE, PART, read_record

SCHEMA = 2
# Columns of points.parquet that count N.
SWEEP_COUNTS = ("n_params_matmul", "n_params_body", "n_params")

OpenEnds = tuple[float | None, float | None]


class FitStatus(StrEnum):
    """How the search for the best parameters ended."""

    CONVERGED = "converged"  # the lowest minimum meets the tolerance
    STOPPED = "stopped before the tolerance was met"  # the steps ran out first


class WarningCode(StrEnum):
    """Stable codes of the warnings that a fit can carry; a report may not hide them."""

    FLAT_VALLEY = "flat_valley"  # tied and untied exponents fit equally well
    ILL_CONDITIONED = "ill_conditioned"  # some combination of parameters is hardly determined
    ACTIVE_BOUND = "active_bound"  # a parameter sits at the end of its range
    COLLINEAR = "collinear"  # N and D (almost) proportional
    E_NOT_BRACKETED = "e_not_bracketed"  # E far below the lowest loss: not to be quoted
    FEW_SIZES = "few_sizes"
    FEW_TOKENS = "few_tokens"
    FEW_STARTS_AGREE = "few_starts_agree"  # many local minima
    FEW_CLUSTERS = "few_clusters"  # too few trunks to resample
    EXTRAPOLATION = "extrapolation"  # asked for more than 30 times the largest fitted compute
    ROUTES_DISAGREE = "routes_disagree"  # multi-start and variable projection end apart
    LACK_OF_FIT = "lack_of_fit"  # residuals larger than the seed noise
    EDGE_OPTIMUM = "edge_optimum"  # an IsoFLOP slice without an interior minimum
    FEW_BUDGETS = "few_budgets"
    ONE_AXIS = "one_axis"  # all runs of one size, or of one token count: no law in N and D
    INTERPOLATED = "interpolated"  # slices read off an interpolated rectangle of cells
    METHODS_DISAGREE = "methods_disagree"  # two readings of the same data differ
    APPROACHES_DISAGREE = "approaches_disagree"  # exponents further apart than their intervals say
    COUNTS_DISAGREE = "counts_disagree"  # the exponent depends on how N is counted
    FLOPS_APART = "flops_apart"  # C is far from 6·N·D in every row
    MIXED_CELLS = "mixed_cells"  # losses of equal N and D further apart than seeds
    UNTUNED_CELLS = "untuned_cells"  # rows of equal N and D differ in a setting, such as the learning rate
    TRAINING_LOG = "training_log"  # rows are steps of a few runs, not their ends
    LOSS_SCALE = "loss_scale"  # the loss looks like another scale than nats per token


@dataclass(frozen=True)
class FitWarning:
    """A named doubt about a fit or a study.

    Attributes:
        code: stable name of the doubt.
        message: the doubt in one sentence, with its numbers.
    """

    code: WarningCode
    message: str


@dataclass(frozen=True)
class Excluded:
    """A row excluded from every fit, with the reason.

    Attributes:
        row: number of the row among the data rows of the table, from 0.
        reason: why, in words.
    """

    row: int
    reason: str


@dataclass(frozen=True)
class ExponentsRecord:
    """Exponents of the compute-optimal sizes, N* ∝ C^a and D* ∝ C^b; None if they were not found.

    Attributes:
        a: exponent of N*.
        a_interval: its interval at the level of the fit; None without a bootstrap.
        b: exponent of D*.
        b_interval: its interval.
    """

    a: float | None = None
    a_interval: Interval | None = None
    b: float | None = None
    b_interval: Interval | None = None


@dataclass(frozen=True)
class FrontierRecord(ExponentsRecord):
    """The compute-optimal frontier under C = 6·N·D as a power law, N* = G·(C/6)^a and D* = (C/6)^b/G.

    Attributes:
        G: coefficient of N*; None if the exponents are those of searched optima.
    """

    G: float | None = None


@dataclass(frozen=True)
class RunNoiseRecord:
    """Noise of the loss of one run.

    Attributes:
        sd_relative: standard deviation, relative to the loss.
        dof: degrees of freedom behind it; 1000 stands for a known value.
        source: where it comes from: seeds, residuals, given or assumed.
    """

    sd_relative: float
    dof: int
    source: str


@dataclass(frozen=True)
class RoutesRecord:
    """Lowest objective that each of the two independent searches reached.

    Attributes:
        multi_start: minimisation over all parameters from many starts; its end is the estimate.
        variable_projection: search over exponents, with the coefficients solved for at each of them.
    """

    multi_start: float
    variable_projection: float


@dataclass(frozen=True)
class EstimationRecord:
    """How the parameters of a law were estimated: keys of parametric and Kaplan fits.

    Attributes:
        resamples: bootstrap resamples asked for.
        bootstrap: what was drawn: `cluster` (trunks) or `residual`.
        se_gauss_newton: standard error by parameter from slopes and residuals; None with too few trunks.
        delta: δ of the Huber loss of log-loss residuals; None for other estimators.
        log_likelihood: of the log losses, for `lad` (Laplace noise) and `lsq` (normal noise); else None.
        routes: objective that each search reached.
        starts_agreeing: share of the starts that ended at the lowest minimum.
        condition_number: of the Jacobian of log loss with scaled columns; None if a column is 0.
        largest_flops: largest fitted C, FLOPs.
    """

    resamples: int
    bootstrap: str
    se_gauss_newton: Mapping[str, float | None] | None
    delta: float | None
    log_likelihood: float | None
    routes: RoutesRecord
    starts_agreeing: float
    condition_number: float | None
    largest_flops: float


@dataclass(frozen=True)
class KaplanRecord:
    """The line of runs along which a Kaplan law is fitted.

    Attributes:
        constant: the quantity that is constant along the line, in words.
        constant_value: its value, tokens or parameters; None for the lower edge of the losses.
        published_exponent: exponent of Kaplan et al., arXiv:2001.08361.
    """

    constant: str
    constant_value: float | None
    published_exponent: float


@dataclass(frozen=True)
class OptimumRow:
    """Minimum of one IsoFLOP slice; None for numbers that a slice without a minimum lacks.

    Attributes:
        flops: C of the slice, FLOPs.
        n_opt: size with the lowest loss, parameters.
        d_opt: tokens of that size, tokens.
        loss: lowest loss, nats per token.
        se_log_n: standard error of ln n_opt.
        n_sizes: sizes in the slice.
        reason: why the minimum does not count, in words; None if it counts.
    """

    flops: float
    n_opt: float | None
    d_opt: float | None
    loss: float | None
    se_log_n: float | None
    n_sizes: int
    reason: str | None


@dataclass(frozen=True)
class SlicingBiasRecord:
    """Bias of interpolated slices: a fitted law sliced as the table was.

    Attributes:
        law: the fitted law.
        a_slices: a of the slices of that law.
        a_surface: a of its own frontier.
        difference: a_slices − a_surface.
    """

    law: str
    a_slices: float
    a_surface: float
    difference: float


@dataclass(frozen=True)
class IsoflopRecord:
    """Keys of an IsoFLOP fit.

    Attributes:
        slices: `measured` (rows trained at one budget) or `interpolated` (a rectangle of N × D).
        method: how the minimum of a slice is found: `quadratic` or `akima`.
        window: sizes that a parabola goes through.
        min_sizes: fewest sizes in a slice.
        bias: of interpolated slices; None if it cannot be found.
        noise: of one run's loss, behind the standard errors of the minima.
        optima: one row a slice.
    """

    slices: str
    method: str
    window: int
    min_sizes: int
    bias: SlicingBiasRecord | None
    noise: RunNoiseRecord
    optima: tuple[OptimumRow, ...]


@dataclass(frozen=True)
class EdgeRow:
    """A point on the lower edge of the losses.

    Attributes:
        flops: C, FLOPs.
        n: size, parameters.
        d: tokens.
        loss: nats per token.
    """

    flops: float
    n: float
    d: float
    loss: float


@dataclass(frozen=True)
class EnvelopeRecord:
    """Keys of an envelope fit.

    Attributes:
        source: `end points` or `training curves`.
        method: how the lower edge is found: `hull` or `bins`.
        edge: the points on the edge.
    """

    source: str
    method: str
    edge: tuple[EdgeRow, ...]


@dataclass(frozen=True)
class ProfileRecord:
    """Profile of the objective along one parameter, the others fitted again at each value.

    Attributes:
        parameter: its name.
        estimate: its estimate, natural units.
        values: its fixed values, ascending, natural units.
        objective: lowest objective at each value.
        lowest: objective at the estimate.
        cut: objective that bounds the interval; None without an interval.
        level: confidence of the interval.
        interval: its ends; None for an open end.
        rule: how the cut was found, and which end is open and why, in words.
    """

    parameter: str
    estimate: float
    values: tuple[float, ...]
    objective: tuple[float, ...]
    lowest: float
    cut: float | None
    level: float
    interval: OpenEnds
    rule: str


@dataclass(frozen=True)
class ContestedRecord:
    """Result of a law in the contest, as `analysis.fit --approach all` writes it.

    Attributes:
        rollout_rms: RMS error of log loss beyond the fitted computes; None if no compute allows a rollout.
    """

    rollout_rms: float | None


@dataclass(frozen=True)
class ComparedRecord:
    """Keys of a fit that `analysis.fit --approach all` adds.

    Attributes:
        recommended: whether this is the fit to quote.
        reason: why it is, or why none is; in one entry of the list.
        not_possible: approaches that the table does not allow, a sentence each; in the same entry.
    """

    recommended: bool
    reason: str | None = field(default=None, metadata=ABSENT_IF_NONE)
    not_possible: tuple[str, ...] | None = field(default=None, metadata=ABSENT_IF_NONE)


@dataclass(frozen=True)
class FitRecord:
    """A fitted law, or the exponents that another approach yields.

    The parts (`estimation`, `kaplan`, `isoflop`, `envelope`, `contested`, `compared`) have their keys beside
    the common ones; a part that an approach does not have is None.

    Attributes:
        law: name of the law; `saturating(U,V)` carries its limits U and V, nats per token.
        approach: `parametric`, `isoflop`, `envelope` or `kaplan`.
        estimator: what was minimised, or how the line was drawn.
        count: column that holds N.
        nobs: fitted rows.
        n_clusters: trunks among them.
        params: estimate by parameter, natural units (N in parameters, D in tokens, C in FLOPs).
        se: bootstrap standard error by parameter; empty without a bootstrap.
        interval: bootstrap interval by parameter; empty without a bootstrap.
        level: confidence of every interval.
        objective: lowest value of what was minimised; None for approaches without a law.
        status: how the search ended.
        frontier: exponents and coefficient under C = 6·N·D.
        warnings: doubts about this fit.
        excluded: rows that it did not see.
        seconds: time that it took, s.
        frontier_exact: exponents under the FLOPs of the table; None if they were not searched.
        estimation: how the parameters were estimated (parametric, kaplan).
        kaplan: the line of runs (kaplan).
        isoflop: slices and their minima (isoflop).
        envelope: the lower edge (envelope).
        cloud: up to 200 bootstrap estimates (alpha, beta) of the recommended fit.
        profile: profiles of the parameters of the recommended fit.
        read_as: what was taken from a table of other people, in words; None for a table of a sweep.
        contested: result in the contest (`--approach all`).
        compared: place in the comparison (`--approach all`).
    """

    law: str
    approach: str
    estimator: str
    count: str
    nobs: int
    n_clusters: int
    params: Mapping[str, float]
    se: Mapping[str, float]
    interval: Mapping[str, Interval]
    level: float
    objective: float | None
    status: FitStatus
    frontier: FrontierRecord
    warnings: tuple[FitWarning, ...]
    excluded: tuple[Excluded, ...]
    seconds: float
    estimation: EstimationRecord | None = field(default=None, metadata=PART)
    kaplan: KaplanRecord | None = field(default=None, metadata=PART)
    isoflop: IsoflopRecord | None = field(default=None, metadata=PART)
    envelope: EnvelopeRecord | None = field(default=None, metadata=PART)
    frontier_exact: ExponentsRecord | None = field(default=None, metadata=ABSENT_IF_NONE)
    cloud: tuple[Interval, ...] | None = field(default=None, metadata=ABSENT_IF_NONE)
    profile: tuple[ProfileRecord, ...] | None = field(default=None, metadata=ABSENT_IF_NONE)
    read_as: str | None = field(default=None, metadata=ABSENT_IF_NONE)
    contested: ContestedRecord | None = field(default=None, metadata=PART)
    compared: ComparedRecord | None = field(default=None, metadata=PART)

    @property
    def exponents(self) -> ExponentsRecord:
        """Exponents to quote: under the FLOPs of the table if they were searched, else under C = 6·N·D."""
        return self.frontier_exact or self.frontier

    @property
    def method(self) -> str | None:
        """How an approach without a law reads the data."""
        read = self.isoflop or self.envelope
        return read.method if read else None


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
class ContestRow:
    """One law in the contest.

    Attributes:
        law: its name.
        count: column that holds N.
        rollout_rms: RMS error of log loss beyond the fitted computes; None if no compute allows a rollout.
        bic: Bayesian information criterion of the least-squares fit in log loss.
        n_params: free parameters.
        chosen: whether the rule chose it.
    """

    law: str
    count: str
    rollout_rms: float | None
    bic: float
    n_params: int
    chosen: bool


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
        low: lower end of its interval; None if the cells of the fit allow no rollout themselves.
        high: upper end of its interval.
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
class FrontierRow:
    """The best use of one budget, with intervals at the level of the fit.

    Attributes:
        flops: the budget C, FLOPs.
        n_opt: best size, parameters.
        d_opt: best number of tokens.
        loss: lowest loss, nats per token.
        n_low: lower end of the interval of n_opt.
        n_high: upper end.
        d_low: lower end of the interval of d_opt.
        d_high: upper end.
        loss_low: lower end of the interval of the loss; in fits.json that of one new run.
        loss_high: upper end.
        flat_low: smallest size whose loss is within 0.1 % of the lowest, parameters.
        flat_high: largest such size.
    """

    flops: float
    n_opt: float
    d_opt: float
    loss: float
    n_low: float
    n_high: float
    d_low: float
    d_high: float
    loss_low: float
    loss_high: float
    flat_low: float
    flat_high: float


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
class NoiseRecord:
    """Spread between seeds.

    Attributes:
        cells: the cells that have several seeds.
        pooled_relative: pooled standard deviation of log loss; None without such cells.
    """

    cells: tuple[NoiseCell, ...] = ()
    pooled_relative: float | None = None


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


@dataclass(frozen=True)
class ForecastCell:
    """The forecast of one held-out cell.

    Attributes:
        rung: size by name.
        n_params: N under the count of the forecast, parameters.
        n_tokens: D, tokens.
        flops: C, FLOPs.
        factor: C over the largest fitted C.
        predicted: predicted loss, nats per token.
        low: lower end of the interval that one new run falls into.
        high: upper end.
    """

    rung: str
    n_params: int
    n_tokens: int
    flops: float
    factor: float
    predicted: float
    low: float
    high: float

    @property
    def key(self) -> tuple[int, int]:
        """N and D, which name the cell."""
        return self.n_params, self.n_tokens


@dataclass(frozen=True)
class ScoredCell(ForecastCell):
    """A forecast beside the truth.

    Attributes:
        loss: measured loss, nats per token; geometric mean over seeds.
        error_percent: 100·(predicted − loss)/loss.
        inside: whether the loss is inside the interval.
    """

    loss: float
    error_percent: float
    inside: bool


@dataclass(frozen=True)
class LoserScore:
    """Errors of a law that the rule did not choose.

    Attributes:
        law: its name.
        rms_percent: RMS error over the held-out cells, %; None if none is finished.
        rms_percent_10x: the same over cells at ≥ 10 times the largest fitted C; None if there is none.
        inside_share: share of the losses inside their intervals.
    """

    law: str
    rms_percent: float | None
    rms_percent_10x: float | None
    inside_share: float | None


@dataclass(frozen=True)
class ScoreRecord:
    """The sealed forecast against the truth.

    Attributes:
        cells: the finished held-out cells.
        rms_percent: RMS error over them, %; None if none is finished.
        rms_percent_10x: the same over cells at ≥ 10 times the largest fitted C; None if there is none.
        inside_share: share of the losses inside their intervals.
        largest_fitted_flops: largest C of the fit behind the forecast, FLOPs.
        losers: errors of the laws that the rule did not choose.
        seal_intact: whether the hash in forecast.json is that of its content.
        law: the law that forecast.
        level: nominal share of losses inside the intervals.
        missing: held-out cells that are not finished.
    """

    cells: tuple[ScoredCell, ...]
    rms_percent: float | None
    rms_percent_10x: float | None
    inside_share: float | None
    largest_fitted_flops: float | None
    losers: tuple[LoserScore, ...]
    seal_intact: bool
    law: str
    level: float
    missing: tuple[ForecastCell, ...]


@dataclass(frozen=True)
class RateOptimum:
    """Loss against the learning rate of one group in one cell, and the minimum of its parabola.

    Attributes:
        rung: size by name.
        d_model: width.
        n_params_matmul: N, parameters in matrix products.
        n_tokens: D, tokens.
        n_seeds: seeds.
        rates: peak rates of the finished runs, ascending.
        losses: geometric mean loss over seeds at each rate, nats per token.
        diverged: rates at which a run diverged.
        interior: whether the parabola has its minimum between the rates it was fitted to.
        edge: the end of the rates with the lowest loss, `lowest` or `highest`; None if it lies between.
        stopped: whether rates above the highest finished one diverged.
        reason: why the minimum does not count, in words; None if it counts.
        rate_opt: rate at the minimum; None without one.
        rate_interval: its interval (Fieller).
        se_log_rate: standard error of ln rate_opt.
        loss_opt: loss at the minimum, nats per token.
        curvature: of ln loss in ln rate.
        window: lowest and highest rate that the parabola was fitted to.
        half_width: factor in the rate that costs 1 % of the loss.
        recipe_rate: rate of the recipe.
        recipe_cost_percent: loss of the recipe's rate above the best one, %; None if it was not trained.
        recipe_cost_se: its standard error, %.
    """

    rung: str
    d_model: int
    n_params_matmul: int
    n_tokens: int
    n_seeds: int
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    diverged: tuple[float, ...]
    interior: bool
    edge: str | None
    stopped: bool
    reason: str | None
    rate_opt: float | None
    rate_interval: Interval | None
    se_log_rate: float | None
    loss_opt: float | None
    curvature: float | None
    window: Interval | None
    half_width: float | None
    recipe_rate: float
    recipe_cost_percent: float | None
    recipe_cost_se: float | None


@dataclass(frozen=True)
class WidthRule:
    """Best rate = rate_64·(d_model/64)^exponent at one token count; None for numbers without a rule.

    Attributes:
        n_tokens: the token count.
        n_sizes: minima that count.
        reason: why there is no rule, in words; None if there is one.
        exponent: power of d_model.
        exponent_se: its standard error.
        exponent_interval: its interval.
        rate_64: rate at d_model 64.
        rate_64_interval: its interval.
        scatter: of the minima about the line over their standard errors; None with two minima.
        recipe_exponent: the recipe's own power of d_model; None with one size.
        recipe_rate_64: the recipe's own rate at d_model 64; None with one size.
    """

    n_tokens: int
    n_sizes: int
    reason: str | None = None
    exponent: float | None = None
    exponent_se: float | None = None
    exponent_interval: Interval | None = None
    rate_64: float | None = None
    rate_64_interval: Interval | None = None
    scatter: float | None = None
    recipe_exponent: float | None = None
    recipe_rate_64: float | None = None


@dataclass(frozen=True)
class RateRule:
    """Best rate = rate_64·(d_model/64)^exponent·(D/n_tokens)^tokens_exponent over all cells.

    The same minima give rate_1·N^size_exponent·D^tokens_exponent; None for numbers without a rule.

    Attributes:
        exponent: power of d_model.
        exponent_interval: its interval.
        tokens_exponent: power of D; None with one token count.
        tokens_exponent_interval: its interval.
        size_exponent: power of N, parameters in matrix products.
        size_exponent_interval: its interval.
        rate_1: rate at N = 1 and D = 1.
        rate_64: rate at d_model 64 and D = n_tokens.
        rate_64_interval: its interval.
        scatter: of the minima about the rule over their standard errors; None if it meets all of them.
        n_tokens: geometric mean of the token counts, tokens.
        reason: why there is no rule, in words; None if there is one.
        n_optima: minima that count.
    """

    n_optima: int
    reason: str | None = None
    exponent: float | None = None
    exponent_interval: Interval | None = None
    tokens_exponent: float | None = None
    tokens_exponent_interval: Interval | None = None
    size_exponent: float | None = None
    size_exponent_interval: Interval | None = None
    rate_1: float | None = None
    rate_64: float | None = None
    rate_64_interval: Interval | None = None
    scatter: float | None = None
    n_tokens: int | None = None


@dataclass(frozen=True)
class RateGroup:
    """Learning rates of one group of parameters.

    Attributes:
        group: `hidden`, `embed`, `head` or `gain`.
        column: its column in points.parquet.
        noise: of one run's loss, behind the standard errors.
        optima: one row a cell.
        rules: one a token count.
        rule: one for all sizes and token counts.
        verdict: the result in words.
    """

    group: str
    column: str
    noise: RunNoiseRecord
    optima: tuple[RateOptimum, ...]
    rules: tuple[WidthRule, ...]
    rule: RateRule
    verdict: str


@dataclass(frozen=True)
class LearningRateRecord:
    """Result of a learning-rate sweep.

    Attributes:
        level: confidence of its intervals.
        groups: the groups whose rate was varied.
        missing: the groups whose rate was not.
        verdict: the result in words.
    """

    level: float
    groups: tuple[RateGroup, ...]
    missing: tuple[str, ...]
    verdict: str


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """Content of fits.json; the defaults are those of a sweep without a law in N and D.

    Attributes:
        schema: version of the keys.
        primary: the law that the study rests on; None without a law in N and D.
        fits: every approach under every way to count N.
        recommended: position in `fits` of the one to quote; None without one.
        reason: why that one, or why none, in words.
        contest: the laws that competed.
        adequacy: tests by law.
        jackknife: the exponent a with one size left out at a time.
        rollout: predictions of dearer cells from cheaper ones.
        frontier: the best use of round budgets, of the recommended fit.
        frontier_by_count: the best size under every way to count N, of the primary law.
        noise: spread between seeds.
        reference: trunk and branch against tuned cosine runs.
        learning_rate: result of a learning-rate sweep; None for other grids.
        forecast: score of the sealed forecast; None before a held-out run is finished.
        warnings: doubts about the whole.
        excluded: rows of points.parquet that no fit saw.
        verdict: what was found, in words.
    """

    schema: int = SCHEMA
    primary: PrimaryRecord | None = None
    fits: tuple[FitRecord, ...] = ()
    recommended: int | None = None
    reason: str
    contest: tuple[ContestRow, ...] = ()
    adequacy: Mapping[str, AdequacyRecord]
    jackknife: JackknifeRecord = JackknifeRecord()
    rollout: tuple[RolloutRow, ...] = ()
    frontier: tuple[FrontierRow, ...] = ()
    frontier_by_count: tuple[CountedOptimum, ...] = ()
    noise: NoiseRecord
    reference: tuple[ReferenceRow, ...] = ()
    learning_rate: LearningRateRecord | None = None
    forecast: ScoreRecord | None = None
    warnings: tuple[FitWarning, ...]
    excluded: tuple[Excluded, ...]
    verdict: str

    @property
    def quoted(self) -> FitRecord | None:
        """The recommended fit."""
        return None if self.recommended is None else self.fits[self.recommended]


def finite(value: float) -> float | None:
    """Return the number, or None if it is not finite."""
    return float(value) if math.isfinite(value) else None


def with_constant(fit: Mapping[str, Any]) -> dict[str, Any]:
    """Return a fit of schema 1 under the keys of schema 2."""
    renamed = {"held": "constant", "held_value": "constant_value"}
    found = {renamed.get(key, key): value for key, value in fit.items()}
    if "resamples" in found:
        # The first files of schema 1 were written before these keys.
        found = {"bootstrap": "cluster", "se_gauss_newton": None, "log_likelihood": None} | found
    return found


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
    yield not counts <= set(SWEEP_COUNTS), "counts N in an unknown way"
    place = study.recommended
    yield place is not None and not 0 <= place < len(study.fits), "recommends a fit that it does not hold"
    best = [value for row in study.frontier for value in (row.flops, row.n_opt, row.d_opt, row.loss)]
    yield not all(0 < value < math.inf for value in best), "has a frontier of numbers that are not above 0"
    losses = [loss for row in study.reference for loss in (row.wsd_loss, row.cosine_loss)]
    yield not all(0 < loss < math.inf for loss in losses), "has reference losses that are not above 0"
    yield study.forecast is not None and not study.forecast.cells, "scores a forecast of no cell"
