"""Record of a learning-rate sweep: the part `learning_rate` of fits.json."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.arrays import Interval
from analysis.records.fit import RunNoiseRecord


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
        batch_tokens: B, tokens of a batch; None in files of earlier versions.
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
    batch_tokens: int | None = None


@dataclass(frozen=True)
class WidthRule:
    """Best rate = rate_64·(d_model/64)^exponent at one D and B; None for numbers without a rule.

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
        batch_tokens: tokens of a batch; None in files of earlier versions.
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
    batch_tokens: int | None = None


@dataclass(frozen=True)
class RateRule:
    """Best rate = rate_64·(d_model/64)^exponent·(D/n_tokens)^tokens_exponent over all cells.

    Where batches differ, times (B/batch_tokens)^batch_exponent. The same minima give
    rate_1·N^size_exponent·D^tokens_exponent, times the same; None for numbers without a rule.

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
        batch_exponent: power of B, the tokens of a batch; None without one.
        batch_exponent_interval: its interval.
        batch_tokens: geometric mean of the batches, tokens; None if one batch was tried, or B moves with
            width or D.
        batch_reason: why several batches give no power, in words.
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
    batch_exponent: float | None = None
    batch_exponent_interval: Interval | None = None
    batch_tokens: int | None = None
    batch_reason: str | None = None


@dataclass(frozen=True)
class RateGroup:
    """Learning rates of one group of parameters.

    Attributes:
        group: `hidden`, `embed`, `head` or `gain`.
        column: its column in points.parquet.
        noise: of one run's loss, behind the standard errors.
        optima: one row a cell.
        rules: one a token count and batch.
        rule: one for all sizes, token counts and batches.
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
