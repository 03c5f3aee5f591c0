"""Laws with parameters fixed or bounded: `chinchilla[E=1.69,alpha=0.3:0.4]`."""

from __future__ import annotations

from dataclasses import replace

from analysis.laws.law import Law
from harness.records.errors import InputError

EXAMPLE = "type for example chinchilla[E=1.69] to fix E or chinchilla[alpha=0.3:0.4] to bound alpha"


def split_limits(name: str) -> tuple[str, str]:
    """Return the name of the law, and the limits in brackets behind it (empty without)."""
    base, bracket, rest = name.strip().partition("[")
    return base, bracket + rest


def limited(law: Law, text: str) -> Law:
    """Return `law` with the limits of `text`, `[name=value,name=low:high]`, in natural units.

    Raises:
        InputError: not of that form, no such parameter, or a parameter whose value depends on the units of N,
            D or C; low above high, or outside the range of the law.
    """
    if not text.endswith("]"):
        raise InputError(f"the limits {text!r} lack their closing bracket: {EXAMPLE}")
    limits = dict(_limit(law, entry.strip()) for entry in text[1:-1].split(","))
    return replace(law, name=law.name + text, bounds={**law.bounds, **limits})


def _limit(law: Law, entry: str) -> tuple[str, tuple[float, float]]:
    """Return parameter and range of one entry."""
    name, _, value = entry.partition("=")
    allowed = [key for key in law.params if not law.depends_on_units(key)]
    if name not in allowed:
        raise InputError(
            f"{entry!r} limits no parameter of {law.name} that has a range of its own, which are "
            f"{', '.join(allowed)}: {EXAMPLE}"
        )
    try:
        numbers = [float(part) for part in value.split(":")]
    except ValueError:
        numbers = []
    low, high = law.bounds[name]
    if len(numbers) not in (1, 2) or not low <= numbers[0] <= numbers[-1] <= high:
        raise InputError(f"{entry!r} is no range of {name} between {low:g} and {high:g}: {EXAMPLE}")
    return name, (numbers[0], numbers[-1])
