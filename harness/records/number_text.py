"""Numbers as people read them: one spelling of counts, FLOPs, percentages, durations and intervals.

A missing number is a dash, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeGuard

DASH = "–"
MINUS = "−"
MORE_DIGITS = 6  # that an interval takes at most, so that its ends are seen to differ
LARGE = 1e5  # from here on as a power of ten
SUFFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def given(value: float | None) -> TypeGuard[float]:
    """Return whether there is a number: neither None nor NaN."""
    return value is not None and value == value


def si(value: float | None, digits: int = 3) -> str:
    """Return a count in few characters.

    >>> si(25_700), si(1_048_576), si(1.5e9), si(1.5e15)
    ('25.7k', '1.05M', '1.5B', '1.5×10¹⁵')
    """
    if not given(value):
        return DASH
    if math.isinf(value) or value >= 1000 * SUFFIXES[0][0]:
        return power_of_ten(value, digits)
    for size, suffix in SUFFIXES:
        if abs(value) >= size * (1 - 1e-9):
            return f"{value / size:.{digits}g}{suffix}"
    return f"{value:.{digits}g}"


def power_of_ten(value: float | None, digits: int = 2) -> str:
    """Return a positive number, such as FLOPs, as a power of ten, to `digits` significant digits.

    >>> power_of_ten(3e12), power_of_ten(1e-3)
    ('3×10¹²', '10⁻³')
    """
    if not given(value):
        return DASH
    if math.isinf(value) or value <= 0:  # No power of ten; such numbers come from foreign files alone.
        return f"{value:g}".replace("inf", "∞").replace("-", MINUS)
    shown, exponent = f"{value:.{max(digits - 1, 0)}e}".split("e")
    lead = f"{float(shown):.{digits}g}"
    raised = "10" + str(int(exponent)).translate(SUPERSCRIPTS)
    return raised if lead == "1" else f"{lead}×{raised}"


def number(value: float | None, digits: int = 3) -> str:
    """Return `digits` decimals if the value is of order one, a power of ten if it is large or tiny.

    >>> number(0.5363), number(2.1e7), number(-1234.5), number(None)
    ('0.536', '2.1×10⁷', '−1,234', '–')
    """
    if not given(value):
        return DASH
    if value == 0:
        return "0"
    if abs(value) >= LARGE or abs(value) < 0.5 * 10**-digits:
        kept = max(digits - 1, 2)  # two at the three decimals that most numbers have
        return power_of_ten(value, kept) if value > 0 else MINUS + power_of_ten(-value, kept)
    shown = max(digits - max(len(str(int(abs(value)))) - 1, 0), 0)
    return f"{value:,.{shown}f}".replace("-", MINUS)


def significant(value: float | None, digits: int = 3) -> str:
    """Return a number to `digits` significant digits."""
    return DASH if not given(value) else f"{value:.{digits}g}"


def decimals(value: float | None, digits: int = 2) -> str:
    """Return a number with `digits` decimals."""
    return DASH if not given(value) else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """Return `number` with a plus sign if the value is positive."""
    text = number(value, digits)
    return f"+{text}" if given(value) and value > 0 else text


def percent(value: float | None, digits: int = 2) -> str:
    """Return a share as a percentage.

    >>> percent(0.1234), percent(1, 0)
    ('12.34 %', '100 %')
    """
    return DASH if not given(value) else f"{100 * value:.{digits}f} %".replace("-", MINUS)


def in_percent(value: float | None, digits: int = 2) -> str:
    """Return a number that is in per cent already."""
    return percent(value / 100 if given(value) else None, digits)


def together(
    value: float | None,
    ends: Sequence[float | None] | None,
    digits: int = 3,
    spell: Callable[[float | None, int], str] = number,
) -> tuple[str, str]:
    """Return an estimate and its interval as two texts of equal precision.

    So the estimate is seen inside its interval. Ends that differ are seen to differ: both texts take more
    digits until they do.

    >>> together(0.00623, (0.0061, 0.0065)), together(0.5, None)
    (('0.0062', '[0.0061, 0.0065]'), ('0.500', 'no interval'))
    """
    if ends is None or not all(given(end) for end in ends):
        return spell(value, digits), "no interval"
    for more in range(digits, digits + MORE_DIGITS):
        low, high = (spell(end, more) for end in ends)
        if low != high or ends[0] == ends[1]:
            break
    return spell(value, more), f"[{low}, {high}]"


def estimate(
    value: float | None,
    ends: Sequence[float | None] | None,
    digits: int = 3,
    spell: Callable[[float | None, int], str] = number,
) -> str:
    """Return an estimate with its interval, both rounded alike, or alone if it has none.

    Args:
        value: the estimate.
        ends: of its interval.
        digits: as `spell` takes them.
        spell: how a number is spelled; `number` by default, `si` for counts.

    >>> estimate(0.536, (0.502, 0.565)), estimate(0.536, None)
    ('0.536 [0.502, 0.565]', '0.536')
    >>> estimate(20_310, (19_800, 21_000), spell=si)
    '20.3k [19.8k, 21k]'
    """
    shown, between = together(value, ends, digits, spell)
    return f"{shown} {between}" if between.startswith("[") else shown


def duration(seconds: float | None) -> str:
    """Return a time span.

    >>> duration(7), duration(200), duration(7500)
    ('7 s', '3 min 20 s', '2 h 05 min')
    """
    if not given(seconds):
        return DASH
    if math.isinf(seconds):
        return power_of_ten(seconds)
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def p_value(value: float | None) -> str:
    """Return a p-value with three decimals, or `< .001`."""
    if not given(value):
        return DASH
    return "< .001" if value < 1e-3 else f"{value:.3f}"


def p_statement(value: float | None) -> str:
    """Return what a p-value is.

    >>> p_statement(0.0042), p_statement(1e-5)
    ('p = 0.004', 'p < .001')
    """
    text = p_value(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"
