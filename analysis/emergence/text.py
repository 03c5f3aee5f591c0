"""A study as plain text, for the terminal."""

from __future__ import annotations

from dataclasses import asdict

from analysis.emergence.study import NO_TEST
from analysis.emergence.verdict import EXTRAPOLATES
from analysis.records.emergence import EmergenceRecord, SizeRow, TaskRecord
from harness.records.number_text import estimate, significant


def text_of(result: EmergenceRecord) -> str:
    """Return the verdicts by axis, then warnings, tasks left out, and the limits of the study."""
    parts = [result.verdict]
    for axis in result.axes:
        parts.append(f"\nAxis {axis.axis} (constant: {axis.constant})")
        parts += [_task(task) for task in result.along(axis.axis)]
    parts += [f"warning: {text}" for text in result.warnings]
    parts += [f"left out: {entry.task} {entry.length:g}: {entry.reason}" for entry in result.left_out]
    parts.append(f"Not examined: {'; '.join(result.not_examined)}. Note: {NO_TEST}.")
    return "\n".join(parts)


def _task(task: TaskRecord) -> str:
    lines = [f"  {task.name}: {task.label}", f"    {task.words}"]
    law = task.law
    if law and task.verdict in EXTRAPOLATES:
        alpha = estimate(law.alpha, law.alpha_interval, spell=significant)
        lines.append(f"    law: alpha {alpha} per decade, E {law.E:.3g}")
    lines += [f"    {line}" for line in (_ends(task), _dependence(task), _forecast(task)) if line]
    lines += [f"    seeds at {group.at:.4g}: {group.words}" for group in task.seed_groups]
    scores = ", ".join(
        f"{name.replace('_', ' ')} {value:.3g}"
        for name, value in asdict(task.descriptive).items()
        if value is not None
    )
    return "\n".join([*lines, f"    descriptive only: {scores}"])


def _ends(task: TaskRecord) -> str:
    """Return the metrics of the smallest and of the largest model."""
    first, last = task.sizes[0], task.sizes[-1]
    text = f"{task.axis} {first.at:.3g} to {last.at:.3g}: nll {first.nll:.3g} to {last.nll:.3g}"
    if not task.has_exact:
        return text
    chance = "" if task.chance is None else f" (chance {task.chance:.2g})"
    return f"{text}, exact match {_share(first)} to {_share(last)}{chance}"


def _share(row: SizeRow) -> str:
    if row.exact == 0 and row.exact_upper is not None:
        return f"below {row.exact_upper:.2g} (none right)"
    return f"{row.exact:.3g}"


def _dependence(task: TaskRecord) -> str:
    found = task.dependence
    if found is None or found.interval is None or task.n_positions is None or task.n_positions <= 1:
        return ""
    like = estimate(found.effective_positions, found.interval, 2, significant)
    return f"{task.n_positions:.3g} positions behave like {like} independent ones"


def _forecast(task: TaskRecord) -> str:
    shown = [
        f"{estimate(row.exact, (row.low, row.high), 2, significant)} at {row.factor:g}×"
        for row in task.forecast
    ]
    return f"forecast of exact match if both curves go on: {', '.join(shown)}" if shown else ""
