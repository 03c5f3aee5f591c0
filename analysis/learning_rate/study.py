"""Study of a learning-rate sweep: best peak rate of every group, its rule in width, cost of the recipe.

The sweep is a star: at each rung, token count and batch it scales the rate of one group at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.intervals import LEVEL
from analysis.learning_rate.curve import FEWEST_RATES, Parabola, RateCurve, fit_parabola
from analysis.learning_rate.recipe_cost import recipe_cost
from analysis.learning_rate.rule import fit_line, joint_rule, weighted_line, width_column
from analysis.learning_rate.words import group_verdict, study_verdict
from analysis.records.learning_rate import LearningRateRecord, RateGroup, RateOptimum, WidthRule
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.tables.seed_noise import ASSUMED_SD, KNOWN_DOF, Noise

RATE_COLUMNS = {"hidden": "hidden_lr", "embed": "embed_lr", "head": "head_lr", "gain": "gain_lr"}
OF_CURVES = [
    "rung", "d_model", "n_params_matmul", "n_tokens", "batch_tokens", "status", "loss", "seed"
]  # fmt: skip
FEWEST_DOF = 2  # degrees of freedom of residuals that can give the noise


def learning_rate_study(
    points: pd.DataFrame, level: float = LEVEL, noise: float | None = None
) -> LearningRateRecord:
    """Find the best rate by group, rung and token count, and its power law in d_model.

    Each optimum is the minimum of a parabola of ln loss in ln rate.

    Args:
        points: points.parquet of a learning-rate sweep.
        level: confidence of the intervals.
        noise: relative standard deviation of a run's loss. By default the residuals of the group's
            parabolas give it, so that a poor fit widens the interval; if they are too few, all groups do.

    Notes:
        The loss is taken as symmetric in ln rate near its minimum. A curve that is steeper towards high
        rates gives an optimum that is somewhat too low, at all sizes alike.
    """
    recipe = _recipe_rates(points)
    curves = {group: list(_curves(points, recipe, group)) for group in RATE_COLUMNS}
    swept = {group: found for group, found in curves.items() if found}
    parabolas = {group: [fit_parabola(curve) for curve in found] for group, found in swept.items()}
    everything = [parabola for found in parabolas.values() for parabola in found]
    groups = []
    for group, found in swept.items():
        spread = _noise(noise, parabolas[group], everything)
        optima = [_optimum(c, p, spread, level) for c, p in zip(found, parabolas[group], strict=True)]
        entry = RateGroup(
            group=group,
            column=RATE_COLUMNS[group],
            noise=spread.to_record(),
            optima=tuple(optima),
            rules=_rules(optima, spread, level),
            rule=joint_rule(optima, spread, level),
            verdict="",
        )
        groups.append(replace(entry, verdict=group_verdict(entry)))
    missing = tuple(group for group in RATE_COLUMNS if group not in swept)
    return LearningRateRecord(level, tuple(groups), missing, study_verdict(groups, missing))


def recipe_runs(points: pd.DataFrame) -> pd.DataFrame:
    """Return the finished runs with every group at the recipe's rate."""
    recipe = _recipe_rates(points)
    at_recipe = (points[recipe.columns] == recipe).all(axis=1)
    return points[at_recipe & (points.status == "done")]


def rate_runs(points: pd.DataFrame) -> pd.DataFrame:
    """Return the finished runs behind the curves of every group.

    Returns:
        One row a run and group: `group`, `rung`, `n_tokens`, `batch_tokens`, its `rate`, and `point`, its
        index in `points`. A run at the recipe's rates belongs to every group.
    """
    recipe, done = _recipe_rates(points), points.status == "done"
    parts = []
    for group, column in RATE_COLUMNS.items():
        own = points[_others_at_recipe(points, recipe, column) & done]
        cells = own[["rung", "n_tokens", "batch_tokens"]]
        parts.append(cells.assign(group=group, rate=own[column], point=own.index))
    return pd.concat(parts, ignore_index=True)


def rate_warnings(study: LearningRateRecord) -> list[FitWarning]:
    """Return a warning for each reason why optima do not count, and for each rule without a fit."""
    warnings = []
    for entry in study.groups:
        doubtful = [row for row in entry.optima if row.reason]
        for reason in dict.fromkeys(row.reason for row in doubtful):
            rungs = dict.fromkeys(row.rung for row in doubtful if row.reason == reason)
            text = f"the best {entry.group} rate does not count at {', '.join(rungs)}: {reason}"
            warnings.append(FitWarning(WarningCode.EDGE_OPTIMUM, text))
        reasons = dict.fromkeys(rule.reason for rule in entry.rules if rule.reason)
        warnings += [FitWarning(WarningCode.FEW_SIZES, f"{entry.group} rate: {text}") for text in reasons]
    return warnings


def _recipe_rates(points: pd.DataFrame) -> pd.DataFrame:
    """Return the recipe's rates in the cell of every row: the rate of each group that most runs share.

    If only one group was swept, no rate is shared, and the middle one is taken.
    """

    def most_common(rates: pd.Series) -> float:
        values, counts = np.unique(rates.to_numpy(float), return_counts=True)
        candidates = values[counts == counts.max()]
        return float(candidates[(len(candidates) - 1) // 2])

    cells = points.groupby(["rung", "n_tokens", "batch_tokens"])
    return pd.DataFrame({column: cells[column].transform(most_common) for column in RATE_COLUMNS.values()})


def _curves(points: pd.DataFrame, recipe: pd.DataFrame, group: str) -> Iterator[RateCurve]:
    """Yield the cells in which the rate of `group` was varied, smallest size first."""
    column = RATE_COLUMNS[group]
    # A table has sixty columns more, which each cell would copy.
    rows = points[OF_CURVES].assign(rate=points[column], recipe=recipe[column])
    rows = rows[_others_at_recipe(points, recipe, column)]
    for _, cell in rows.groupby(["n_tokens", "batch_tokens", "d_model"]):
        done = cell[cell.status == "done"]
        if cell.rate.nunique() < 2 or done.empty:
            continue
        yield RateCurve(
            rung=str(cell.rung.iloc[0]),
            d_model=int(cell.d_model.iloc[0]),
            n_params_matmul=int(cell.n_params_matmul.iloc[0]),
            n_tokens=int(cell.n_tokens.iloc[0]),
            batch_tokens=int(cell.batch_tokens.iloc[0]),
            recipe_rate=float(cell.recipe.iloc[0]),
            rate=done.rate.to_numpy(float),
            loss=done.loss.to_numpy(float),
            seed=done.seed.to_numpy(np.int64),
            diverged=tuple(sorted(set(cell.rate[cell.status == "diverged"]))),
        )


def _others_at_recipe(points: pd.DataFrame, recipe: pd.DataFrame, column: str) -> pd.Series:
    """Return whether every group but that of a column has the recipe's rate."""
    return (points[recipe.columns] == recipe).drop(columns=column).all(axis=1)


def _noise(
    given: float | None, own: Sequence[Parabola | None], everything: Sequence[Parabola | None]
) -> Noise:
    """Return the noise of ln loss: given, from residuals of the group, of all groups, or assumed."""
    if given is not None:
        return Noise(given, KNOWN_DOF, "given")
    for source, found in (("residuals of the parabolas", own), ("residuals of all groups", everything)):
        fitted = [parabola for parabola in found if parabola]
        dof = sum(parabola.dof for parabola in fitted)
        if dof >= FEWEST_DOF:
            total = sum(parabola.sum_squares for parabola in fitted)
            return Noise(float(np.sqrt(total / dof)), dof, source)
    return Noise(ASSUMED_SD, KNOWN_DOF, "assumed")


def _optimum(curve: RateCurve, parabola: Parabola | None, noise: Noise, level: float) -> RateOptimum:
    """Return the row of one cell: rates tried, best rate, cost of the recipe's rate."""
    fitted = parabola if parabola and parabola.interior else None
    interval = fitted.interval(noise, level) if fitted else None
    cost, cost_se = recipe_cost(curve, fitted, noise)
    return RateOptimum(
        rung=curve.rung,
        d_model=curve.d_model,
        n_params_matmul=curve.n_params_matmul,
        n_tokens=curve.n_tokens,
        n_seeds=len(np.unique(curve.seed)),
        rates=tuple(curve.rates.tolist()),
        losses=tuple(curve.losses.tolist()),
        diverged=curve.diverged,
        interior=fitted is not None,
        edge=curve.edge,
        stopped=curve.stopped,
        reason=_reason(curve, fitted, interval),
        rate_opt=fitted.rate if fitted else None,
        rate_interval=interval,
        se_log_rate=fitted.se(noise) if fitted else None,
        loss_opt=fitted.loss if fitted else None,
        curvature=fitted.curvature if fitted else None,
        window=fitted.window if fitted else None,
        half_width=fitted.half_width if fitted else None,
        recipe_rate=curve.recipe_rate,
        recipe_cost_percent=cost,
        recipe_cost_se=cost_se,
        batch_tokens=curve.batch_tokens,
    )


def _reason(curve: RateCurve, parabola: Parabola | None, interval: tuple[float, float] | None) -> str | None:
    """Return why an optimum does not count; None if it counts."""
    if len(curve.rates) < FEWEST_RATES:
        return f"{len(curve.rates)} finished rates, and a parabola needs {FEWEST_RATES}"
    if curve.edge:
        stable = " that did not diverge" if curve.edge == "highest" and curve.stopped else ""
        return f"the loss is lowest at the {curve.edge} rate tried{stable}"
    if parabola is None:
        return "the parabola has no minimum between the rates tried"
    return None if interval else "the loss changes no more with the rate than noise does"


def _rules(optima: Sequence[RateOptimum], noise: Noise, level: float) -> tuple[WidthRule, ...]:
    """Return the power law of the best rate in d_model at each token count and batch.

    A batch that the widths do not share, because it follows them, belongs to all of them.
    """
    by_tokens = [[row for row in optima if row.n_tokens == n] for n in sorted({r.n_tokens for r in optima})]
    lines = []
    for rows in by_tokens:
        batches = sorted({row.batch_tokens or 0 for row in rows})
        own = [[row for row in rows if row.batch_tokens == batch] for batch in batches]
        lines += own if all(_widths(each) > 1 for each in own) else [rows]
    return tuple(_rule(rows, noise, level) for rows in lines)


def _rule(optima: Sequence[RateOptimum], noise: Noise, level: float) -> WidthRule:
    """Return rate = rate_64·(d_model/64)^exponent through the optima that count, weighted by 1/SE²."""
    counted = [row for row in optima if row.reason is None]
    batches = {row.batch_tokens for row in optima}
    batch = optima[0].batch_tokens if len(batches) == 1 else None
    rule = WidthRule(optima[0].n_tokens, n_sizes=len(counted), batch_tokens=batch)
    if _widths(optima) > 1:
        rates = np.log([row.recipe_rate for row in optima])
        recipe = weighted_line([width_column(optima)], rates, np.ones(len(rates)))[0]
        # Rounded: the slope through equal rates is 0 but for the last bits.
        power, rate = round(float(recipe[1]), 9), float(np.exp(recipe[0]))
        rule = replace(rule, recipe_exponent=power, recipe_rate_64=rate)
    if _widths(counted) < 2:
        return replace(rule, reason=_no_rule(len(counted), len(optima)))
    line = fit_line([width_column(counted)], counted, noise, level)
    return replace(
        rule,
        exponent=float(line.found[1]),
        exponent_se=float(line.se[1]),
        exponent_interval=line.interval(1),
        rate_64=float(np.exp(line.found[0])),
        rate_64_interval=line.rate_interval(),
        scatter=line.scatter,
    )


def _widths(optima: Sequence[RateOptimum]) -> int:
    return len({row.d_model for row in optima})


def _no_rule(counted: int, tried: int) -> str:
    return (
        f"no exponent in d_model: {counted} of {tried} sizes {'has' if counted == 1 else 'have'} an optimum "
        "that counts, and a rule needs two"
    )
