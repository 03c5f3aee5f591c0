"""Verdicts on learning rates in words: how good the recipe is and which way to move it."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.records.fit import RunNoiseRecord
from analysis.records.learning_rate import RateGroup, RateOptimum, RateRule, WidthRule
from harness.records.number_text import decimals, estimate, significant

WORTH_MOVING = 0.1  # per cent of the loss
SMALLEST = 0.01  # per cent; smaller costs are written as this
WORDS = {1: "higher", -1: "lower"}
NOISE_FACTOR = 2.8  # 2·√2: two standard errors of the difference between two runs


def study_verdict(groups: Sequence[RateGroup], missing: Sequence[str]) -> str:
    """Return the verdicts of all groups, and the groups that were not swept."""
    if not groups:
        return (
            "No parameter group was trained at more than one rate, so nothing is known about the best rates."
        )
    parts = [f"{entry.group.capitalize()} rate: {entry.verdict}" for entry in groups]
    if missing:
        parts.append(f"Not swept: {', '.join(missing)}.")
    return " ".join(parts)


def group_verdict(entry: RateGroup) -> str:
    """Return the verdict on one group: interior or not, cost of the recipe, direction, rule in width."""
    optima = entry.optima
    counted = [row for row in optima if row.reason is None]
    parts = [_interior(optima), _cost(counted), _direction(counted), _edges(optima, entry.noise)]
    parts += [_rule(rule, entry.rules) for rule in entry.rules]
    parts.append(_batch(entry.rule))
    return " ".join(part for part in parts if part)


def _interior(optima: Sequence[RateOptimum]) -> str:
    inside = sum(row.interior for row in optima)
    flat = sum(row.interior and row.reason is not None for row in optima)
    unit = "size" if len({(row.n_tokens, row.batch_tokens) for row in optima}) == 1 else "cell"
    where = (
        f"all {len(optima)} {unit}s" if inside == len(optima) > 1 else f"{inside} of {len(optima)} {unit}s"
    )
    doubt = f", but within the noise at {flat} of them" if flat else ""
    return f"the best rate is interior at {where}{doubt}."


def _cost(counted: Sequence[RateOptimum]) -> str:
    """Return the largest cost of the recipe over the optima that count."""
    known = [(row.recipe_cost_percent, row) for row in counted if row.recipe_cost_percent is not None]
    if not known:
        return ""
    cost, worst = max(known, key=lambda pair: pair[0])
    return (
        f"The recipe is within {max(cost, SMALLEST):.2g} % of the best loss "
        f"(worst at {worst.rung}, ± {max(worst.recipe_cost_se or 0, SMALLEST):.1g})."
    )


def _direction(counted: Sequence[RateOptimum]) -> str:
    """Return where another rate is surely better than the recipe's, and by enough to matter."""
    moves: dict[int, list[str]] = {1: [], -1: []}
    for row in counted:
        if row.rate_opt is None or row.rate_interval is None:
            continue
        move = f"{row.rung} ×{row.rate_opt / row.recipe_rate:.2g}"
        low, high = row.rate_interval
        sign = int(row.recipe_rate < low) - int(row.recipe_rate > high)
        if sign and (row.recipe_cost_percent or 0) >= WORTH_MOVING:
            moves[sign].append(move)
    parts = [f"{word} rates are better ({', '.join(moves[s])})" for s, word in WORDS.items() if moves[s]]
    if parts:
        text = " and ".join(parts)
        return f"{text[0].upper()}{text[1:]}."
    return f"No move that is certain would gain {WORTH_MOVING:g} %." if counted else ""


def _edges(optima: Sequence[RateOptimum], noise: RunNoiseRecord) -> str:
    """Return the rates to try beyond each end that has the lowest loss, and whether it mattered so far."""
    parts = []
    for edge, word in (("lowest", "lower"), ("highest", "higher")):
        found = [row for row in optima if row.edge == edge]
        if not found:
            continue
        rungs = ", ".join(dict.fromkeys(row.rung for row in found))
        costs = [row.recipe_cost_percent for row in found if row.recipe_cost_percent is not None]
        gain = f" and the recipe's {max(costs):.2g} % higher" if costs else ""
        small = costs and max(costs) < 100 * NOISE_FACTOR * noise.sd_relative
        doubt = " (within the noise of single runs)" if small else ""
        stopped = edge == "highest" and any(row.stopped for row in found)
        move = "try rates between it and those that diverged" if stopped else f"try {word} rates"
        parts.append(f"At {rungs} the loss is lowest at the {edge} rate tried{gain}{doubt}: {move}.")
    return " ".join(parts)


def _batch(rule: RateRule) -> str:
    """Return the power of the batch, or why several batches give none."""
    if rule.batch_exponent_interval is None:
        return "" if rule.batch_reason is None else f"There is {rule.batch_reason}."
    power = estimate(rule.batch_exponent, rule.batch_exponent_interval, 2, decimals)
    return f"With the tokens of a batch, B, it varies as B^{power}."


def _rule(rule: WidthRule, rules: Sequence[WidthRule]) -> str:
    """Return the power law in width beside the recipe's; `rules` are those of every D and batch."""
    at = f" at {rule.n_tokens:.3g} tokens" if len({each.n_tokens for each in rules}) > 1 else ""
    if len({each.batch_tokens for each in rules}) > 1:
        at += f" in batches of {rule.batch_tokens} tokens"
    if rule.reason or rule.exponent_interval is None or rule.rate_64_interval is None:
        return f"There is{at} {rule.reason}."
    rate = estimate(rule.rate_64, rule.rate_64_interval, 2, significant)
    exponent = estimate(rule.exponent, rule.exponent_interval, 2, decimals)
    return (
        f"Best{at}: {rate} at d_model 64, varying as d_model^{exponent}; the recipe has "
        f"{rule.recipe_rate_64:.2g} and {rule.recipe_exponent:.2f}."
    )
