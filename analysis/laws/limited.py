"""Laws with parameters fixed or bounded: `chinchilla[E=1.69,alpha=0.3:0.4]`."""

from __future__ import annotations

from dataclasses import replace

from analysis.laws.law import Law
from harness.records.errors import InputError


def example(law: Law) -> str:
    """Return what to type, with a parameter of this law: one value fixes it, two bound it."""
    name = next(key for key in law.params if not law.depends_on_units(key))
    one, most = ("1.69", "1.8") if name == "E" else ("0.3", "0.4")
    fixed, bounded = f"{law.name}[{name}={one}]", f"{law.name}[{name}={one}:{most}]"
    return f"type for example {fixed} to fix {name} or {bounded} to bound it"


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
        raise InputError(f"the limits {text!r} lack their closing bracket; {example(law)}")
    limits = dict(_limit(law, entry.strip()) for entry in text[1:-1].split(","))
    return replace(law, name=law.name + text, bounds={**law.bounds, **limits})


def _limit(law: Law, entry: str) -> tuple[str, tuple[float, float]]:
    """Return parameter and range of one entry."""
    name, _, value = entry.partition("=")
    allowed = [key for key in law.params if not law.depends_on_units(key)]
    if name not in allowed:
        raise InputError(
            f"{name!r} is no parameter of {law.name} that can be limited, expected one of "
            f"{', '.join(allowed)}; {example(law)}"
        )
    try:
        numbers = [float(part) for part in value.split(":")]
    except ValueError:
        numbers = []
    low, high = law.bounds[name]
    if len(numbers) not in (1, 2) or not low <= numbers[0] <= numbers[-1] <= high:
        raise InputError(f"{entry!r} is no range of {name} between {low:g} and {high:g}; {example(law)}")
    return name, (numbers[0], numbers[-1])
