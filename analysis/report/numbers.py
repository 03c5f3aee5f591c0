"""Numbers as the report prints them; a missing number is a dash, never 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

from analysis.plots.style import power_of_ten, si

DASH = "–"
MINUS = "−"
NOTABLE = 0.05  # p-values from here on are not listed as trends
LARGE = 1e5  # from here on as a power of ten


def given(value: float | None) -> TypeGuard[float]:
    """Whether there is a number: neither None nor NaN."""
    return value is not None and value == value


def number(value: float | None, digits: int = 3) -> str:
    """`digits` decimals where the value is of order one, a power of ten where it is large or tiny."""
    if not given(value):
        return DASH
    if value == 0:
        return "0"
    if abs(value) >= LARGE or abs(value) < 0.5 * 10**-digits:
        return power_of_ten(abs(value)) if value > 0 else MINUS + power_of_ten(abs(value))
    shown = max(digits - max(len(str(int(abs(value)))) - 1, 0), 0)
    return f"{value:,.{shown}f}".replace("-", MINUS)


def signed(value: float | None, digits: int = 3) -> str:
    text = number(value, digits)
    return f"+{text}" if given(value) and value > 0 else text


def percent(value: float | None, digits: int = 2) -> str:
    """A share as per cent."""
    return DASH if not given(value) else f"{100 * value:.{digits}f} %".replace("-", MINUS)


def in_percent(value: float | None) -> str:
    """A number that is already in per cent."""
    return percent(value / 100 if given(value) else None)


def interval(ends: Sequence[float | None] | None, digits: int = 3) -> str:
    if ends is None or not all(given(end) for end in ends):
        return "no interval"
    return f"[{', '.join(number(end, digits) for end in ends)}]"


def count(value: float | None) -> str:
    return DASH if not given(value) else si(float(value))


def flops(value: float | None) -> str:
    return DASH if not given(value) else power_of_ten(float(value))


def duration(seconds: float | None) -> str:
    if not given(seconds):
        return DASH
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def p_value(value: float | None) -> str:
    if not given(value):
        return DASH
    return "< .001" if value < 1e-3 else f"{value:.3f}"


def trends(structure: Sequence[Mapping[str, Any]]) -> str:
    """The axes that residuals follow, with p-values."""
    found = [trend for trend in structure if trend["p"] < NOTABLE]
    return ", ".join(f"{trend['axis']} ({p_value(trend['p'])})" for trend in found) or "nothing"


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A nested JSON value as (dotted.key, text) rows."""
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
    "interval": interval,
    "count": count,
    "flops": flops,
    "duration": duration,
    "p_value": p_value,
    "trends": trends,
    "flat": flat,
}
