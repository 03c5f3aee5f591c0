"""Predictions in words: a line a question, then what speaks against them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from analysis.laws import family
from analysis.records.predictions import AccuracyRecord, Estimated, PredictionRecord
from harness.records.number_text import estimate, number, power_of_ten, si

ANSWER_NAMES: tuple[str, ...] = (
    "asked",
    "N, parameters",
    "D, tokens",
    "loss of a new run",
    "D/N",
    "× max C",
)


def predictions_text(found: Sequence[PredictionRecord]) -> str:
    """Return a table of predictions with the laws behind them, and every warning once."""
    first = found[0]
    rows = [("", *answer_names(found)[1:]), *(answer_row(each) for each in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines = [_head(first), *(f"  {line}" for line in table)]
    lines += [flat for each in found if (flat := _flat(each))]
    # Each answer shows how far it lies beyond the runs, so the warning of the farthest one is enough.
    farthest = max((each for each in found if each.warnings), key=lambda each: each.factor, default=None)
    for warning in farthest.warnings if farthest else ():
        lines.append(warning.line)
    return "\n".join(lines)


def laws_text(laws: Mapping[str, float]) -> str:
    """Return the laws behind a number, each with its weight."""
    if len(laws) == 1:
        return f"the {family(next(iter(laws)))} law"
    weighed = ", ".join(f"{family(name)} {weight:.2f}" for name, weight in laws.items())
    return f"the laws that these rows cannot exclude ({weighed})"


def _head(first: PredictionRecord) -> str:
    ends = f", {100 * first.level:g} % intervals" if first.loss.interval or first.n.interval else ""
    return f"predictions by {laws_text(first.laws)}{ends}"


def answer_names(found: Sequence[PredictionRecord]) -> tuple[str, ...]:
    """Return the heads of the columns of answers."""
    return (*ANSWER_NAMES, "accuracy") if found and found[0].accuracy else ANSWER_NAMES


def accuracy_text(curve: AccuracyRecord, column: str) -> str:
    """Return in words how the accuracy follows the loss."""
    return (
        f"{column} follows the loss from {curve.floor:.3f} to {curve.top:.3f}, half-way at "
        f"{curve.middle:.3f} nats; {curve.rows} runs differ from that curve by {curve.sd:.3f}"
    )


def answer_row(found: PredictionRecord) -> tuple[str, ...]:
    """Return the cells of one answer, as `answer_names` heads them."""
    asked = ", ".join(
        f"{name} = {power_of_ten(value, 3) if name == 'C' else f'{value:.4g}' if name == 'L' else si(value)}"
        for name, value in found.asked.items()
    )
    if "C" not in found.asked:
        spent = power_of_ten(found.flops.value)
        asked += f" ({spent} FLOPs{_ends(found.flops)})"
    return (
        asked,
        counted(found.n),
        counted(found.d),
        estimate(found.loss.value, found.loss.interval),
        si(found.tokens_per_parameter),
        number(found.factor, 2) if found.factor < 1 else f"{found.factor:.3g}",
        *([estimate(found.accuracy.value, found.accuracy.interval)] if found.accuracy else []),
    )


def counted(found: Estimated) -> str:
    """Return a count with its interval; of an interval that is open above its lower end."""
    if found.interval and math.isinf(found.interval[1]):
        return f"{si(found.value)} [from {si(found.interval[0])}]"
    return estimate(found.value, found.interval, spell=si)


def _ends(found: Estimated) -> str:
    if not found.interval:
        return ""
    low, high = found.interval
    upper = "no end" if math.isinf(high) else power_of_ten(high)
    return f" [{power_of_ten(low)}, {upper}]"


def _flat(found: PredictionRecord) -> str | None:
    """Return the sizes that lose next to nothing, and the best one of them to train."""
    if found.flat is None:
        return None
    low, high = found.flat
    return (
        f"  at {power_of_ten(found.flops.value, 3)} FLOPs sizes from {si(low)} to {si(high)} end within "
        "0.1 % of the lowest loss"
    )
