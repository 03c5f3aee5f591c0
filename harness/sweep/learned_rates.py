"""Recipe of a learning-rate sweep: its best rates, as optim.yaml for the next sweep."""

from __future__ import annotations

import json

from analysis.records.learning_rate import LearningRateRecord, RateGroup
from harness.records.files import write_atomic
from harness.records.number_text import estimate
from harness.records.paths import SweepFolder
from harness.records.sweep_file import read_sweep


def write_rate_recipe(folder: SweepFolder, rates: LearningRateRecord) -> bool:
    """Write optim.yaml: the sweep's own recipe with the measured rate and exponent of each group with a rule.

    The rates hold at the geometric mean of the token counts that entered the rule. The comments of the file
    state the power of D and all intervals.

    Args:
        folder: folder of the sweep.
        rates: the part `learning_rate` of fits.json.

    Returns:
        Whether a file was written; False if no group has a rule.
    """
    folder.optim.unlink(missing_ok=True)
    record = read_sweep(folder.sweep)
    recipe = dict(record.config["optim"], transfer="measured")
    ruled = 0
    for entry in rates.groups:
        rule = entry.rule
        if rule.rate_64 is not None and rule.exponent is not None:
            recipe[f"{entry.group}_lr"] = float(f"{rule.rate_64:.4g}")
            recipe[f"{entry.group}_lr_exponent"] = round(rule.exponent, 4)
            ruled += 1
    if not ruled:
        return False
    head = [f"Best learning rates by {record.command}", f"with intervals of {rates.level:.0%}:"]
    lines = [f"# {line}" for line in [*head, *(rule_line(entry) for entry in rates.groups)]]
    lines += [f"{key}: {json.dumps(value)}" for key, value in recipe.items()]
    write_atomic(folder.optim, "\n".join(lines) + "\n")
    return True


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
    rate = estimate(rule.rate_64, rule.rate_64_interval)
    exponent = estimate(rule.exponent, rule.exponent_interval)
    return (
        f"{entry.group}: {rate}·(d_model/64)^{exponent}"
        f"{power}{at}, or {in_size} with N matmul parameters, N's power "
        f"{estimate(rule.size_exponent, rule.size_exponent_interval)}"
    )
