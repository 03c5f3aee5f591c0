"""Numbers as people write them: 2,000,000,000, 70M, 1.3B, 1.234,5, 12 %; what is not clear is not guessed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from analysis.arrays import Array
from harness.records.errors import InputError


class Mark(Enum):
    """What a comma means in the numbers of a table."""

    GROUP = "group"  # 2,000,000.5
    DECIMAL = "decimal"  # 2.000.000,5
    UNKNOWN = "unknown"  # 1,234 can be read in two ways


class Kind(Enum):
    """What a column may hold besides plain numbers."""

    COUNT = "count"  # 70M, 1.3B params
    SHARE = "share"  # 12 %
    PLAIN = "plain"
    ANY = "any"  # a count or a share


MISSING = {
    "", "#div/0!", "#n/a", "#name?", "#null!", "#num!", "#ref!", "#value!", "-", "--", ".", "<na>", "?",
    "k.a.", "missing", "n.a.", "n/a", "na", "nan", "nil", "none", "null", "tbd", "unknown", "–", "—", "―",
}  # fmt: skip
# What trackers write about the state of a run, in a column of its own or in the place of a loss.
DONE = {
    "complete", "completed", "converged", "done", "finished", "ok", "succeeded", "success", "successful",
}  # fmt: skip
NOT_DONE = {
    "aborted", "canceled", "cancelled", "crash", "crashed", "diverged", "diverging", "error", "errored",
    "fail", "failed", "failure", "incomplete", "interrupted", "killed", "node_fail", "oom", "out of memory",
    "out_of_memory", "pending", "preempted", "preempting", "queued", "running", "scheduled", "starting",
    "submitted", "timed out", "timed_out", "timeout", "unfinished",
}  # fmt: skip
INFINITE = {"inf", "infinity", "∞"}
POWERS = {
    "k": 3, "thousand": 3, "m": 6, "mn": 6, "mio": 6, "million": 6, "millions": 6, "b": 9, "bn": 9, "g": 9,
    "billion": 9, "billions": 9, "t": 12, "tn": 12, "trillion": 12, "trillions": 12,
    # Billion has two meanings in Europe, these have one.
    "mln": 6, "millionen": 6, "mrd": 9, "mld": 9, "milliard": 9, "milliards": 9, "milliarde": 9,
    "milliarden": 9, "万": 4, "萬": 4, "亿": 8, "億": 8,
}  # fmt: skip
FLOPS_POWERS = {"p": 15, "e": 18, "z": 21, "y": 24}
UNIT = r"(?:parameters|params?|tokens|toks?|flops?)"
GROUPED = {mark: re.compile(rf"[0-9]{{1,3}}(?:{re.escape(mark)}[0-9]{{3}})+") for mark in ",. '’_"}
NUMBER = re.compile(
    r"(?P<sign>[+-]?)(?P<digits>[0-9][0-9.,'’_ ]*|[.,][0-9]+)"
    r"(?:e(?P<exponent>[+-]?[0-9]{1,4})|\s*[x×*·]\s*10(?:\s*(?:\^|\*\*)\s*(?P<power>[+-]?[0-9]{1,4})|(?P<raised>[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)))?"
    rf"\s*(?:(?P<percent>%)|(?P<suffix>[a-z]+?|[万萬亿億])??\.?\s*(?P<unit>{UNIT})?)?",
    re.IGNORECASE,
)
RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
SPACES = str.maketrans({"\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u2007": " ", "−": "-", "－": "-"})
LONGEST = 60  # characters of a number that people write


@dataclass(frozen=True)
class Column:
    """A column as numbers.

    Attributes:
        values: the numbers [rows], NaN if there is none.
        words: by row, a text that says why there is no number, such as `diverged` or `—`.
        unread: by row, a text that is meant as a number and cannot be read as one for certain.
        written: a text that was read as a number, such as `70M`; None if all were plain.
    """

    values: Array
    words: Mapping[int, str]
    unread: Mapping[int, str]
    written: str | None = None


def read_numbers(column: pd.Series[Any], kind: Kind, mark: Mark = Mark.UNKNOWN) -> Column:
    """Return a column as numbers.

    Args:
        column: numbers, texts or both.
        kind: what its texts may hold.
        mark: what a comma means (`mark_of`).
    """
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column):
        return Column(column.to_numpy(dtype=float, na_value=np.nan), {}, {})
    values = np.full(len(column), np.nan)
    words: dict[int, str] = {}
    unread: dict[int, str] = {}
    written = None
    for row, cell in enumerate(column.tolist()):
        if isinstance(cell, str):
            values[row], found = _cell(cell, kind, mark)
            if found is _Reading.WORD:
                words[row] = cell.strip()
            elif found is _Reading.UNREAD:
                unread[row] = cell
            elif found is _Reading.WRITTEN:
                written = written or cell.strip()
        elif isinstance(cell, int | float | Decimal | np.integer | np.floating):
            values[row] = _as_float(cell)
        elif not _is_nothing(cell):
            unread[row] = str(cell)
    return Column(values, words, unread, written)


def read_number(text: str, mark: Mark = Mark.UNKNOWN) -> float | None:
    """Return the number that a text holds; None if it holds none, or one that can be read in two ways.

    >>> read_number("70M"), read_number("2,000,000"), read_number("1e-3"), read_number("12 %")
    (70000000.0, 2000000.0, 0.001, 0.12)
    >>> read_number("1,234"), read_number("1,234", Mark.DECIMAL), read_number("~5")
    (None, 1.234, None)
    """
    value, found = _cell(text, Kind.ANY, mark)
    return None if np.isnan(value) or found is _Reading.UNREAD else value


def _bare(text: str) -> str:
    """Return a text without blanks around it, with plain blanks and digits within, and nothing invisible."""
    if text.isascii():
        return text.strip()
    seen = visible(text.translate(SPACES))
    return "".join(str(unicodedata.decimal(sign, sign)) for sign in seen).strip()


def visible(text: str) -> str:
    """Return a text without signs that nobody sees, such as blanks of no width; copied texts hold them."""
    return text if text.isascii() else "".join(s for s in text if unicodedata.category(s) != "Cf")


def mark_of(frame: pd.DataFrame, default: Mark = Mark.UNKNOWN) -> Mark:
    """Return what a comma means in the numbers of a table, from those that leave no doubt.

    Args:
        frame: the table; numbers with a fraction speak for the decimal point too.
        default: returned if nothing speaks for either.
    """
    point = comma = False
    for column in (frame.iloc[:, position] for position in range(frame.shape[1])):
        if pd.api.types.is_float_dtype(column):
            whole = column.dropna()
            point = point or bool((whole != whole.round()).any())
        elif column.dtype == object or pd.api.types.is_string_dtype(column):
            for text in {cell for cell in column.tolist() if isinstance(cell, str)}:
                found = _evidence(_bare(text))
                point, comma = point or found is Mark.GROUP, comma or found is Mark.DECIMAL
    if point == comma:
        return Mark.UNKNOWN if point else default
    return Mark.GROUP if point else Mark.DECIMAL


def with_point(text: str) -> str:
    """Return a number that was written with a decimal comma as one with a point; other texts stay.

    >>> with_point("1.234,5"), with_point("1,3B"), with_point("20.000"), with_point("1,5 x")
    ('1234.5', '1.3B', '20000', '1,5 x')
    """
    bare = _bare(text)
    found = NUMBER.fullmatch(bare) if len(bare) <= LONGEST else None
    number = None if found is None else _mantissa(found["digits"], Mark.DECIMAL)
    if found is None or number is None or _power(found, Kind.ANY) is None:
        return text
    start, end = found.span("digits")
    return f"{bare[:start]}{number}{bare[end:]}"


def refuse_unread(name: str, row: int, text: str, others: int) -> InputError:
    """Return the error for a cell that is meant as a number and cannot be read as one for certain."""
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    more = f" ({others} more rows are alike)" if others else ""
    found = NUMBER.fullmatch(_bare(text))
    digits = found["digits"].strip() if found else ""
    if GROUPED[","].fullmatch(digits) and digits.count(",") == 1:
        both = f"{digits.replace(',', '')} or {digits.replace(',', '.')}"
        return InputError(
            f"{name} is {text!r} in row {row}, which is {both}{more}: write it without the comma"
        )
    return InputError(
        f"{name} is {text!r} in row {row}{more}: expected a number such as 70M, 2,000,000,000 or 7e7; write "
        "it so, or keep the other rows by a condition on a column"
    )


class _Reading(Enum):
    PLAIN = "plain"
    WRITTEN = "written"
    WORD = "word"
    UNREAD = "unread"


@lru_cache(maxsize=100_000)
def _cell(text: str, kind: Kind, mark: Mark) -> tuple[float, _Reading]:
    """Return the number in a text, NaN if there is none, and how it was read."""
    bare = _bare(text)
    folded = bare.casefold()
    if folded in MISSING:
        return np.nan, _Reading.WORD if bare else _Reading.PLAIN
    if folded in NOT_DONE:
        return np.nan, _Reading.WORD
    if folded.lstrip("+-") in INFINITE:
        return np.nan, _Reading.WORD
    found = NUMBER.fullmatch(bare) if len(bare) <= LONGEST or bare.isdigit() else None
    number = None if found is None else _mantissa(found["digits"], mark)
    power = None if found is None else _power(found, kind)
    if found is None or number is None or power is None:
        return np.nan, _Reading.UNREAD
    value = _as_float(f"{found['sign']}{number}e{power}")
    plain = number == found["digits"] and not (found["suffix"] or found["percent"] or found["unit"])
    return value, _Reading.PLAIN if plain else _Reading.WRITTEN


def _power(found: re.Match[str], kind: Kind) -> int | None:
    """Return the power of ten behind the digits; None if the column cannot hold what is written there."""
    raised = (found["raised"] or "").translate(RAISED)
    try:
        power = int(found["exponent"] or found["power"] or raised or 0)
    except ValueError:
        return None
    suffix, unit = (found["suffix"] or "").casefold(), (found["unit"] or "").casefold()
    if found["percent"]:
        return power - 2 if kind in (Kind.SHARE, Kind.ANY) else None
    if not suffix and not unit:
        return power
    if kind not in (Kind.COUNT, Kind.ANY):
        return None
    known = POWERS | (FLOPS_POWERS if unit.startswith("flop") else {})
    return power + known[suffix] if suffix in known else None if suffix else power


def _mantissa(digits: str, mark: Mark) -> str | None:
    """Return digits with a decimal point and without groups; None if they can be read in two ways."""
    digits = digits.strip()
    for sign in " '’_":
        whole, point, rest = _split_at_mark(digits)
        if sign in whole:
            if not GROUPED[sign].fullmatch(whole):
                return None
            digits = whole.replace(sign, "") + point + rest
    commas, points = digits.count(","), digits.count(".")
    if commas and points:
        group, decimal = (",", ".") if digits.rfind(".") > digits.rfind(",") else (".", ",")
        whole, _, rest = digits.rpartition(decimal)
        return f"{whole.replace(group, '')}.{rest}" if GROUPED[group].fullmatch(whole) else None
    if commas > 1 or points > 1:
        sign = "," if commas else "."
        return digits.replace(sign, "") if GROUPED[sign].fullmatch(digits) else None
    if commas:
        grouped = bool(GROUPED[","].fullmatch(digits)) and digits[0] != "0"
        if not grouped:
            return None if mark is Mark.GROUP else digits.replace(",", ".")
        return {Mark.GROUP: digits.replace(",", ""), Mark.DECIMAL: digits.replace(",", ".")}.get(mark)
    if points and mark is Mark.DECIMAL:
        return digits.replace(".", "") if GROUPED["."].fullmatch(digits) and digits[0] != "0" else None
    return digits


def _split_at_mark(digits: str) -> tuple[str, str, str]:
    """Return the digits before the last point or comma, that mark, and the digits behind it."""
    at = max(digits.rfind("."), digits.rfind(","))
    return (digits, "", "") if at < 0 else (digits[:at], digits[at], digits[at + 1 :])


def _evidence(text: str) -> Mark | None:
    """Return what a comma must mean in a table that holds this number; None if the number does not say."""
    found = NUMBER.fullmatch(text) if len(text) <= LONGEST else None
    if found is None:
        return None
    digits = found["digits"].strip()
    commas, points = digits.count(","), digits.count(".")
    if commas and points:
        return Mark.GROUP if digits.rfind(".") > digits.rfind(",") else Mark.DECIMAL
    if commas > 1:
        return Mark.GROUP
    if points > 1:
        return Mark.DECIMAL
    grouped = (commas or points) and GROUPED["," if commas else "."].fullmatch(digits) and digits[0] != "0"
    if grouped or not (commas or points):
        return None
    return Mark.DECIMAL if commas else Mark.GROUP


def _as_float(value: Any) -> float:
    """Return a float; infinity for an integer that is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _is_nothing(cell: Any) -> bool:
    """Return whether a cell is None, NaN, NA or NaT."""
    return cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and np.isnan(cell))
