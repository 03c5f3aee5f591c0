"""Recipe of a learning-rate sweep: its best rates, as optim.yaml for the next sweep."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields

import pandas as pd

from analysis.records.learning_rate import LearningRateRecord, RateGroup, RateRule
from harness.config.schema import OptimSettings
from harness.grid.width_rates import REFERENCE_N_LAYERS
from harness.recipe.spec import SEPARATE_SCHEDULES
from harness.records.files import read_table, write_atomic
from harness.records.number_text import estimate
from harness.records.paths import SweepFolder
from harness.records.sweep_file import read_sweep

# Values of the keys that a recipe lacks if nobody asks for them.
OFF = {
    field.name: field.default
    for field in fields(OptimSettings)
    if field.metadata.get("added") and field.name not in ("name", "transfer")
}


def write_rate_recipe(folder: SweepFolder, rates: LearningRateRecord) -> bool:
    """Write optim.yaml: the sweep's own recipe with the measured rate and exponent of each group with a rule.

    The rates of a trunk hold at the geometric mean of the token counts that entered the rule. Separate runs,
    as of cosine, also give the power of D, and swept batches that of B. The comments of the file state these
    powers and all intervals.

    Args:
        folder: folder of the sweep.
        rates: the part `learning_rate` of fits.json.

    Returns:
        Whether a file was written; False if no group has a rule.
    """
    folder.optim.unlink(missing_ok=True)
    record = read_sweep(folder.sweep)
    settings = OptimSettings(**record.config["optim"])
    # Rules that are off leave no trace.
    recipe = {key: value for key, value in record.config["optim"].items() if OFF.get(key, MISSING) != value}
    recipe["transfer"] = "measured"
    runs = read_table(folder.points)
    head = [f"Best learning rates by {record.command}", f"with intervals of {rates.level:.0%}:"]
    ruled = 0
    for entry in rates.groups:
        rule = entry.rule
        if rule.rate_64 is not None and rule.exponent is not None:
            changes = _in_width(settings, entry.group, rule, runs)
            if settings.schedule in SEPARATE_SCHEDULES and rule.tokens_exponent is not None:
                power = (settings.reference_tokens / (rule.n_tokens or 1)) ** rule.tokens_exponent
                changes[f"{entry.group}_lr"] *= power
                changes[f"{entry.group}_lr_tokens_exponent"] = round(rule.tokens_exponent, 4)
                recipe["reference_tokens"] = settings.reference_tokens
            if rule.batch_exponent is not None:
                recipe["reference_batch_tokens"] = settings.reference_batch_tokens
            changes[f"{entry.group}_lr"] = float(f"{changes[f'{entry.group}_lr']:.4g}")
            recipe |= changes | {f"{entry.group}_lr_exponent": round(rule.exponent, 4)}
            ruled += 1
    if not ruled:
        return False
    lines = [f"# {line}" for line in [*head, *(rule_line(entry) for entry in rates.groups)]]
    lines += [f"{key}: {json.dumps(value)}" for key, value in recipe.items()]
    write_atomic(folder.optim, "\n".join(lines) + "\n")
    return True


def _in_width(settings: OptimSettings, group: str, rule: RateRule, runs: pd.DataFrame) -> dict[str, float]:
    """Return the rate at the reference depth and batch from that at the depth and batch of the runs.

    A batch that was swept has a measured power, or keeps the one of the recipe if too few optima count. If
    depth or batch moved with the width, the measured power of the width has them in it. Then the rule in them
    is written as 0.
    """
    rate = rule.rate_64 or 0.0
    changes: dict[str, float] = {}
    power = settings.lr_batch_exponent[group]
    if rule.batch_exponent is not None:
        power = changes[f"{group}_lr_batch_exponent"] = round(rule.batch_exponent, 4)
    at = runs.batch_tokens.dropna().unique() if rule.batch_tokens is None else [rule.batch_tokens]
    for axis, found, reference, exponent in (
        ("depth", runs.n_layers.dropna().unique(), REFERENCE_N_LAYERS, settings.lr_depth_exponent[group]),
        ("batch", at, settings.reference_batch_tokens, power),
    ):
        if exponent and len(found) > 1:
            changes[f"{group}_lr_{axis}_exponent"] = 0.0
        elif exponent:
            rate /= float((found[0] / reference) ** exponent)
    return changes | {f"{group}_lr": rate}


def rule_line(entry: RateGroup) -> str:
    """Return the rule of a group as text, in width and tokens and in N and D, or why it keeps its rate."""
    rule = entry.rule
    if rule.reason:
        return f"{entry.group}: as in the recipe, {rule.reason}"
    power, at, in_size = "", "", f"{rule.rate_1:.3g}·N^{rule.size_exponent:.3f}"
    if rule.tokens_exponent is not None:
        power = f"·(D/{rule.n_tokens})^{estimate(rule.tokens_exponent, rule.tokens_exponent_interval)}"
        in_size += f"·D^{rule.tokens_exponent:.3f}"
    else:
        at = f" at D = {rule.n_tokens}"
    if rule.batch_exponent is not None:
        of_batch = f"·(B/{rule.batch_tokens})^"
        power = f"{of_batch}{estimate(rule.batch_exponent, rule.batch_exponent_interval)}{power}"
        in_size += f"{of_batch}{rule.batch_exponent:.3f}"
    elif rule.batch_reason is not None:
        at += f" ({rule.batch_reason})"
    rate = estimate(rule.rate_64, rule.rate_64_interval)
    exponent = estimate(rule.exponent, rule.exponent_interval)
    return (
        f"{entry.group}: {rate}·(d_model/64)^{exponent}"
        f"{power}{at}, or {in_size} with N matmul parameters, N's power "
        f"{estimate(rule.size_exponent, rule.size_exponent_interval)}"
    )
