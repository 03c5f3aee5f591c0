"""Checks of a table when it is read: reasons to exclude rows, overflowed integers, wrong units."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from analysis.arrays import Array, Index, Mask
from analysis.tables.columns import Columns
from analysis.tables.conditions import rows_with
from analysis.tables.numbers import NOT_DONE
from harness.records.errors import InputError

Found = tuple[Mask | Index, Callable[[int], str]]

ROLE_REASONS = {"reference": "reference run", "lr": "learning-rate run", "arm": "run of another arm"}
LARGE_INTEGER = 1e6  # a negative whole number beyond this counts as an integer that overflowed
SAME_INTEGER = 1e-3  # relative difference below which C is 6·N·D after it overflowed

REQUIRED = ("N", "D", "C", "loss")  # a row without one of them is excluded
SENSIBLE = {  # no unit explains numbers outside, and powers of them overflow
    "N": (1e-15, 1e20), "D": (1e-30, 1e22), "C": (1e-30, 1e42), "loss": (1e-12, 1e12),
}  # fmt: skip
LARGEST = 1e12  # weight or standard error, whose squares are summed
FAR = 3.0  # factor between C and 6·N·D that no way of counting FLOPs explains in every row
PLAUSIBLE = {"N": (1e4, 1e13), "D": (1e6, 1e15)}  # parameters and tokens of the largest run of a table
RATIOS = (1e-3, 1e5)  # tokens per parameter of the middle run
USUAL_RATIO = 20.0  # tokens per parameter (Hoffmann et al. 2022, arXiv:2203.15556)
UNITS = {"N": (0, 3, 6, 9), "D": (0, 3, 6, 9, 12), "C": (0, *range(3, 27, 3))}  # powers of ten to choose from


def row_reasons(
    frame: pd.DataFrame,
    numbers: Mapping[str, Array],
    columns: Columns,
    where: Mapping[str, str],
    names: Mapping[str, str],
    words: Mapping[str, Mapping[int, str]],
) -> list[str | None]:
    """Return the reason to exclude each row, None for a row to keep; the first of several reasons.

    Args:
        frame: the table as read.
        numbers: {quantity: column [rows]} with N, D, C and loss, and with sem and weight if there are any.
        columns: columns by quantity.
        where: {column: wanted value}.
        names: {quantity: what an error calls it}.
        words: {quantity: {row: text in the place of a number}}.
    """
    checks = (
        _not_wanted(frame, columns, where),
        _said(words, names),
        _numbers(numbers, names),
        _repeated(frame),
    )
    return _first_reasons(len(frame), itertools.chain(*checks))


def unwanted(frame: pd.DataFrame, columns: Columns, where: Mapping[str, str]) -> Mask:
    """Return the rows [rows] that conditions, status or the role exclude, whatever their numbers are."""
    reasons = _first_reasons(len(frame), _not_wanted(frame, columns, where))
    return np.array([reason is not None for reason in reasons], bool)


def _first_reasons(rows: int, found: Iterable[Found]) -> list[str | None]:
    reasons: list[str | None] = [None] * rows
    for mask, text in found:
        for row in np.flatnonzero(mask) if mask.dtype == bool else mask:
            reasons[row] = reasons[row] or text(int(row))
    return reasons


def _not_wanted(frame: pd.DataFrame, columns: Columns, where: Mapping[str, str]) -> Iterator[Found]:
    """Yield rows that do not fulfil a condition, and rows that were not finished or not meant for fits."""
    for column, value in where.items():
        yield ~rows_with(frame, column, value), partial(_always, f"{column} is not {value}")
    yield from _own(frame, columns) if columns.own else _tracked(frame, columns)
    if "role" in columns.names:
        roles = [ROLE_REASONS.get(str(role), "") for role in frame[columns.names["role"]]]
        yield np.array([text != "" for text in roles], bool), roles.__getitem__
    if columns.own and "cooled" in frame:
        cooled = [value is not pd.NA and bool(value) for value in frame["cooled"].tolist()]
        yield ~np.array(cooled, bool), partial(_always, "learning rate not cooled down")


def _own(frame: pd.DataFrame, columns: Columns) -> Iterator[Found]:
    """Yield rows of a sweep's table that it excludes itself, or whose run is not done."""
    if "excluded_reason" in frame:
        stated = frame["excluded_reason"].fillna("").astype(str).tolist()
        yield np.array([text != "" for text in stated], bool), stated.__getitem__
    if columns.status is not None:
        status = [f"run {text}" for text in frame[columns.status].tolist()]
        yield np.array([text != "run done" for text in status], bool), status.__getitem__


def _tracked(frame: pd.DataFrame, columns: Columns) -> Iterator[Found]:
    """Yield rows whose status says that the run did not finish; words that are not known exclude nothing."""
    if columns.status is not None:
        name = columns.status
        status = [str(cell).strip() for cell in frame[name].tolist()]
        unfinished = [text.casefold() in NOT_DONE for text in status]
        yield np.array(unfinished, bool), lambda row: f"{name} is {status[row]}"


def _said(words: Mapping[str, Mapping[int, str]], names: Mapping[str, str]) -> Iterator[Found]:
    """Yield rows with a word in the place of a number, such as `diverged` or a dash."""
    for key, said in words.items():
        for row, text in said.items():
            yield np.array([row], np.intp), partial(_always, f"{names.get(key, key)} is {text!r}")


def _numbers(numbers: Mapping[str, Array], names: Mapping[str, str]) -> Iterator[Found]:
    """Yield rows with a number missing, not finite or out of range; a standard error may be missing."""
    for key in REQUIRED:
        values, name = numbers[key], names.get(key, key)
        yield np.isnan(values), partial(_always, f"{name} is not a number")
        yield np.isinf(values), partial(_always, f"{name} is not finite")
        yield values <= 0, partial(_outside, name, "a positive number", values)
        low, high = SENSIBLE[key]
        yield values < low, partial(_outside, name, f"at least {low:g}", values)
        yield values > high, partial(_outside, name, f"at most {high:g}", values)
    for key in ("weight", "sem"):
        if key not in numbers:
            continue
        values, name = numbers[key], names[key]
        known = np.isfinite(values) if key == "weight" else ~np.isinf(values)
        yield ~known, partial(_always, f"{name} is not a finite number")
        yield values < 0, partial(_outside, name, "0 or more", values)
        yield values > LARGEST, partial(_outside, name, f"at most {LARGEST:g}", values)
        if key == "weight" and not np.any(values):
            raise InputError(f"{name} is 0 in every row: expected a positive weight for the rows to fit")


def _repeated(frame: pd.DataFrame) -> Iterator[Found]:
    """Yield rows equal to an earlier one in every column; equal (N, D) with another loss is a replicate."""
    codes = [
        pd.factorize(column.map(_as_text) if column.dtype == object else column)[0]
        for _, column in frame.items()
    ]
    _, first, member = np.unique(np.column_stack(codes), axis=0, return_index=True, return_inverse=True)
    earlier = first[member.ravel()]
    yield earlier != np.arange(len(frame)), lambda row: f"repeats row {earlier[row]}"


def _as_text(value: Any) -> str:
    """Return a text that equal values share; numbers of an array are told apart to the last digit."""
    # NumPy's own text takes half a millisecond, rounds, and leaves out the middle of long arrays.
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)


def _always(text: str, _row: int) -> str:
    return text


def _outside(name: str, wanted: str, values: Array, row: int) -> str:
    value = values[row]
    text = f"{name} is {value:g}, expected {wanted}"
    overflowed = value < -LARGE_INTEGER and value == np.round(value)
    return f"{text}: an integer that overflowed? Store it in floating point" if overflowed else text


def check_overflow(numbers: Mapping[str, Array], name: str) -> None:
    """Refuse a column C that holds 6·N·D after it overflowed integers of 32 or 64 bits.

    Raises:
        InputError: with the first such row.
    """
    n, d, c = numbers["N"], numbers["D"], numbers["C"]
    whole = np.isfinite(n) & np.isfinite(d) & np.isfinite(c) & (np.maximum(abs(n), abs(d)) < 2.0**62)
    product = 6 * np.where(whole, n, 0).astype(np.int64) * np.where(whole, d, 0).astype(np.int64)
    for bits, wrapped in ((64, product), (32, product.astype(np.int32))):
        beyond = 6 * np.where(whole, n, 0.0) * np.where(whole, d, 0.0) >= 2.0 ** (bits - 1)
        same = np.abs(wrapped - np.where(whole, c, 0.0)) <= SAME_INTEGER * np.abs(wrapped)
        rows = np.flatnonzero(whole & beyond & same)
        if len(rows):
            raise InputError(
                f"{name} is {c[rows[0]]:g} in row {rows[0]} ({len(rows)} rows in all), which is 6·N·D after "
                f"it overflowed {bits}-bit integers: map {name} to no column, or store it in floating point",
                "mapping",
            )


def check_units(n: Array, d: Array, c: Array, given: set[str], scaled: set[str]) -> None:
    """Refuse N, D and C that look counted in thousands, millions or billions.

    Args:
        n, d, c: columns [rows].
        given: quantities that the table has; D or C may follow from the others.
        scaled: quantities with stated units. They are not doubted, unless C then contradicts 6·N·D by a power
            of a thousand.

    Raises:
        InputError: with the factors that would make the numbers plausible.
    """
    ratio = np.log10(c / (6 * n * d))
    if {"N", "D", "C"} <= given:
        power = 3 * round(float(np.median(ratio)) / 3)
        if power and np.all(np.abs(ratio - power) < np.log10(FAR)):
            _refuse(n, d, c, given, f"C is about 1e{power} times 6·N·D in every row")
    vouched = {"N", "D", "C"} <= given and bool(np.all(np.abs(ratio) < np.log10(FAR)))
    for key, values in (("N", n), ("D", d)):
        what = "parameters" if key == "N" else "tokens"
        if key in given - scaled and not vouched and values.max() < PLAUSIBLE[key][0]:
            _refuse(n, d, c, given, f"the largest {key} is {values.max():.4g}, too few for {what}")
        if key in given - scaled and values.min() < 1:
            _refuse(n, d, c, given, f"the smallest {key} is {values.min():.3g}, less than one {what[:-1]}")
    per_parameter = float(np.median(d / n))
    related = len({"N", "D", "C"} & given) > 1
    if related and not (scaled or vouched or RATIOS[0] <= per_parameter <= RATIOS[1]):
        _refuse(n, d, c, given, f"D/N is about {per_parameter:.1g} tokens per parameter")


def _refuse(n: Array, d: Array, c: Array, given: set[str], finding: str) -> NoReturn:
    keys = [key for key in ("N", "D", "C") if key in given]
    units = _units(n, d, c, given)
    stated = ",".join(f"{key}=1e{power}" for key, power in zip(keys, units, strict=True) if power)
    known = ",".join(f"{key}=1" for key in keys if key != "C")
    units_given = (
        f"the scale {stated} if these are the units" if stated else "the units, as the scale N=1e9,D=1e9"
    )
    as_they_are = (
        f"give the scale {known} if the numbers" if len(keys) < 3 else "map C to no column if N and D"
    )
    raise InputError(
        f"{finding}, as if the columns had different units: give {units_given}, map other columns, or "
        f"{as_they_are} are right",
        "scale",
        "mapping",
    )


def _units(n: Array, d: Array, c: Array, given: set[str]) -> tuple[int, ...]:
    """Return powers of ten for the given quantities: plausible ones, as few as possible, D/N near 20."""
    log_n, log_d, log_c = (float(np.median(np.log10(values))) for values in (n, d, c))
    keys = [key for key in ("N", "D", "C") if key in given]

    def rank(powers: tuple[int, ...]) -> tuple[float, ...]:
        unit = dict(zip(keys, powers, strict=True))
        flops = log_c + unit.get("C", 0)
        tokens = log_d + unit.get("D", 0)
        size = log_n + unit["N"] if "N" in unit else flops - tokens - np.log10(6)
        tokens = tokens if "D" in unit else flops - size - np.log10(6)
        off = abs(flops - size - tokens - np.log10(6)) if {"C", "D"} <= given else 0.0
        outside = [
            not low <= 10**value <= high
            for value, (low, high) in zip((size, tokens), PLAUSIBLE.values(), strict=True)
        ]
        strange = round(abs(tokens - size - np.log10(USUAL_RATIO)))
        return (
            off > np.log10(FAR),
            sum(outside),
            strange > 3,
            sum(p > 0 for p in powers),
            strange,
            -sum(powers),
        )

    return min(itertools.product(*(UNITS[key] for key in keys)), key=rank)
