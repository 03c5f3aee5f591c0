"""Filters of the templates: numbers as text; a missing number is a dash, never 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from analysis.records.fits import TrendRecord
from harness.records.number_text import (
    DASH,
    duration,
    estimate,
    in_percent,
    number,
    p_value,
    percent,
    power_of_ten,
    si,
    signed,
    together,
)

NOTABLE = 0.05  # p-values from here on are not listed as trends


def trends(structure: Sequence[TrendRecord]) -> str:
    """Return the axes that residuals follow, with p-values."""
    found = [trend for trend in structure if trend.p < NOTABLE]
    return ", ".join(f"{trend.axis} ({p_value(trend.p)})" for trend in found) or "nothing"


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return a nested JSON value as (dotted.key, text) rows."""
    if isinstance(value, Mapping):
        return [
            row for key, part in value.items() for row in flat(part, f"{prefix}.{key}" if prefix else key)
        ]
    if isinstance(value, list):
        return [(prefix, ", ".join(map(str, value)) or "none")]
    return [(prefix, DASH if value is None else str(value))]


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "signed": signed,
    "percent": percent,
    "in_percent": in_percent,
    "together": together,
    "estimate": estimate,
    "counted": partial(together, spell=si),
    "count": si,
    "flops": power_of_ten,
    "duration": duration,
    "p_value": p_value,
    "trends": trends,
    "flat": flat,
}
