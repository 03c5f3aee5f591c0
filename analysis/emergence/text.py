"""The result of a study as plain text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.emergence.study import GOES_ON, NO_TEST

Json = Mapping[str, Any]
HELD = [verdict.value for verdict in GOES_ON]


def text_of(result: Json) -> str:
    """Verdicts by axis, then the tables of sizes, warnings, and what was not examined."""
    parts = [result["verdict"]]
    for axis in result["axes"]:
        parts.append(f"\nAxis {axis['axis']} (held: {axis['held']})")
        parts += [_task(task) for task in result["tasks"] if task["axis"] == axis["axis"]]
    parts += [f"warning: {text}" for text in result["warnings"]]
    parts += [
        f"left out: {entry['task']} {entry['length']:g}: {entry['reason']}" for entry in result["left_out"]
    ]
    parts.append(f"Not examined: {'; '.join(result['not_examined'])}. Note: {NO_TEST}.")
    return "\n".join(parts)


def _task(task: Json) -> str:
    lines = [f"  {task['name']}: {task['label']}", f"    {task['words']}"]
    law = task["law"]
    if law and task["verdict"] in HELD:
        low, high = law["alpha_interval"]
        lines.append(
            f"    law: alpha {law['alpha']:.3g} [{low:.3g}, {high:.3g}] per decade, E {law['E']:.3g}"
        )
    lines += [f"    {line}" for line in (_ends(task), _dependence(task), _forecast(task)) if line]
    lines += [f"    seeds at {entry['at']:.4g}: {entry['words']}" for entry in task["seed_groups"]]
    scores = ", ".join(
        f"{name.replace('_', ' ')} {value:.3g}"
        for name, value in task["descriptive"].items()
        if value is not None
    )
    return "\n".join([*lines, f"    descriptive only: {scores}"])


def _ends(task: Json) -> str:
    """Smallest and largest model."""
    first, last = task["sizes"][0], task["sizes"][-1]
    text = (
        f"{task['axis']} {first['at']:.3g} to {last['at']:.3g}: nll {first['nll']:.3g} to {last['nll']:.3g}"
    )
    if "exact" not in last:
        return text
    return f"{text}, exact match {_share(first)} to {_share(last)}"


def _share(row: Json) -> str:
    if row["exact"] == 0 and row.get("exact_upper") is not None:
        return f"below {row['exact_upper']:.2g} (none right)"
    return f"{row['exact']:.3g}"


def _dependence(task: Json) -> str:
    found = task["dependence"]
    if not found or found["interval"] is None or task["n_positions"] <= 1:
        return ""
    low, high = found["interval"]
    return (
        f"{task['n_positions']:.3g} positions behave like {found['effective_positions']:.2g} "
        f"[{low:.2g}, {high:.2g}] independent ones"
    )


def _forecast(task: Json) -> str:
    shown = [
        f"{row['exact']:.2g} [{row['low']:.2g}, {row['high']:.2g}] at {row['factor']:g}×"
        for row in task["forecast"]
    ]
    return f"forecast of exact match if both curves go on: {', '.join(shown)}" if shown else ""
