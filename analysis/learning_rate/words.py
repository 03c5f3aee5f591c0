"""What a learning-rate sweep found, in words: how good the recipe is and which way to move it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]

WORTH_MOVING = 0.1  # per cent of the loss
SMALLEST = 0.01  # per cent; smaller costs are written as this
WORDS = {1: "higher", -1: "lower"}
NOISE_FACTOR = 2.8  # two standard errors of the difference between two runs


def study_verdict(study: Json) -> str:
    """The verdicts of all groups, and which groups were not swept."""
    if not study["groups"]:
        return (
            "No parameter group was trained at more than one rate, so nothing is known about the best rates."
        )
    parts = [f"{entry['group'].capitalize()} rate: {entry['verdict']}" for entry in study["groups"]]
    if study["missing"]:
        parts.append(f"Not swept: {', '.join(study['missing'])}.")
    return " ".join(parts)


def group_verdict(entry: Json) -> str:
    """One group: interior or not, what the recipe costs, which way to move, the rule in width."""
    optima = entry["optima"]
    counted = [row for row in optima if row["reason"] is None]
    parts = [_interior(optima), _cost(counted), _direction(counted), _edges(optima, entry["noise"])]
    parts += [_rule(rule, len(entry["rules"]) > 1) for rule in entry["rules"]]
    return " ".join(part for part in parts if part)


def _interior(optima: Sequence[Json]) -> str:
    inside = sum(row["interior"] for row in optima)
    flat = sum(row["interior"] and row["reason"] is not None for row in optima)
    unit = "size" if len({row["n_tokens"] for row in optima}) == 1 else "cell"
    where = (
        f"all {len(optima)} {unit}s" if inside == len(optima) > 1 else f"{inside} of {len(optima)} {unit}s"
    )
    doubt = f", but within the noise at {flat} of them" if flat else ""
    return f"the best rate is interior at {where}{doubt}."


def _cost(counted: Sequence[Json]) -> str:
    """The worst cost of the recipe over the optima that count."""
    known = [row for row in counted if row["recipe_cost_percent"] is not None]
    if not known:
        return ""
    worst = max(known, key=lambda row: row["recipe_cost_percent"])
    return (
        f"The recipe is within {max(worst['recipe_cost_percent'], SMALLEST):.2g} % of the best loss "
        f"(worst at {worst['rung']}, ± {max(worst['recipe_cost_se'], SMALLEST):.1g})."
    )


def _direction(counted: Sequence[Json]) -> str:
    """Where another rate is better than the recipe's, for certain and by enough to matter."""
    moves: dict[int, list[str]] = {1: [], -1: []}
    for row in counted:
        move = f"{row['rung']} ×{row['rate_opt'] / row['recipe_rate']:.2g}"
        low, high = row["rate_interval"]
        sign = int(row["recipe_rate"] < low) - int(row["recipe_rate"] > high)
        if sign and (row["recipe_cost_percent"] or 0) >= WORTH_MOVING:
            moves[sign].append(move)
    parts = [f"{word} rates are better ({', '.join(moves[s])})" for s, word in WORDS.items() if moves[s]]
    if parts:
        text = " and ".join(parts)
        return f"{text[0].upper()}{text[1:]}."
    return f"No move that is certain would gain {WORTH_MOVING:g} %." if counted else ""


def _edges(optima: Sequence[Json], noise: Json) -> str:
    """Optima at an end of the rates: which rates to try, and whether it mattered so far."""
    parts = []
    for edge, word in (("lowest", "lower"), ("highest", "higher")):
        found = [row for row in optima if row["edge"] == edge]
        if not found:
            continue
        rungs = ", ".join(dict.fromkeys(row["rung"] for row in found))
        costs = [row["recipe_cost_percent"] for row in found if row["recipe_cost_percent"] is not None]
        gain = f" and the recipe's {max(costs):.2g} % higher" if costs else ""
        small = costs and max(costs) < 100 * NOISE_FACTOR * noise["sd_relative"]
        doubt = " (within the noise of single runs)" if small else ""
        stopped = edge == "highest" and any(row["stopped"] for row in found)
        move = "try rates between it and those that diverged" if stopped else f"try {word} rates"
        parts.append(f"At {rungs} the loss is lowest at the {edge} rate tried{gain}{doubt}: {move}.")
    return " ".join(parts)


def _rule(rule: Json, several: bool) -> str:
    """The power law in width against the recipe's."""
    at = f" at {rule['n_tokens']:.3g} tokens" if several else ""
    if rule["reason"]:
        return f"There is{at} {rule['reason']}."
    low, high = rule["exponent_interval"]
    rate_low, rate_high = rule["rate_64_interval"]
    return (
        f"Best{at}: {rule['rate_64']:.2g} [{rate_low:.2g}, {rate_high:.2g}] at d_model 64, "
        f"varying as d_model^{rule['exponent']:.2f} [{low:.2f}, {high:.2f}]; the recipe has "
        f"{rule['recipe_rate_64']:.2g} and {rule['recipe_exponent']:.2f}."
    )
