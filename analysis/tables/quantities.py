"""Numbers of a table by quantity, in parameters, tokens, FLOPs and nats, and what was read as what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.arrays import Array
from analysis.tables.checks import FAR, REQUIRED, check_overflow, unwanted
from analysis.tables.columns import MAPPED, MEASURED, Columns, absent_axes
from analysis.tables.loss_scale import NATS, PERPLEXITY, LossScale
from analysis.tables.numbers import Column, Mark, mark_of, read_numbers, refuse_unread
from harness.records.errors import InputError

AGREEING = 0.9  # share of rows with C near 6·N·D, or near a power of a thousand times it
ALONE = "every row is a cluster of its own"


@dataclass(frozen=True)
class Quantities:
    """Numbers of a table.

    Attributes:
        numbers: {quantity: column [rows]}, with N, D, C and loss; NaN if there is no number.
        names: {quantity: what an error calls it}, without quantities that follow from others.
        words: {quantity: {row: text in the place of a number}}.
        read_as: what was taken from which column, in words.
    """

    numbers: dict[str, Array]
    names: dict[str, str]
    words: dict[str, Mapping[int, str]]
    read_as: str


def read_quantities(
    frame: pd.DataFrame,
    columns: Columns,
    scale: Mapping[str, float],
    where: Mapping[str, str],
    loss_is: LossScale | None,
) -> Quantities:
    """Return the numbers of a table.

    Args:
        frame: the table as read.
        columns: columns by quantity.
        scale: {quantity: unit} of N, D or C.
        where: {column: wanted value}; other rows may hold anything.
        loss_is: stated scale of the loss; None for nats per token that nobody vouches for.

    Raises:
        InputError: a text in a wanted row that cannot be read as a number for certain, C that overflowed
            integers, or an unknown key of the scale.
    """
    unknown = sorted(set(scale) - {"N", "D", "C"})
    if unknown:
        raise InputError(f"no key of the scale is called {', '.join(unknown)}: use N, D or C", "scale")
    read = _read(frame, columns)
    if {"N", "D", "C"} <= set(read) and not scale:
        check_overflow({key: read[key].values for key in read}, columns.names["C"])
    other = None if columns.own or "C" in scale else _other_than_flops(read, columns)
    if other is not None:
        columns = replace(columns, names={key: name for key, name in columns.names.items() if key != "C"})
        del read["C"]
    _refuse_unread(read, columns, frame, where)
    absent = absent_axes(read)
    measured = "perplexity" if "perplexity" in read else "loss"
    stated = LossScale(PERPLEXITY) if measured == "perplexity" else loss_is
    numbers = _in_units(read, scale, absent, measured, stated or LossScale(NATS))
    derived = {"C": f"C = 6·N·D{other or ''}"} if "C" not in read and "c" not in absent else {}
    derived |= {"D": "D = C/(6·N)"} if "D" not in read and "d" not in absent else {}
    derived |= {"N": "N = C/(6·D)"} if "N" not in read and "n" not in absent else {}
    names = dict(columns.names)
    words = {key: column.words for key, column in read.items() if key in REQUIRED}
    if stated:
        derived[measured] = stated.reading(names[measured])
        names["loss"], words["loss"] = stated.label(names[measured]), read[measured].words
    return Quantities(numbers, names, words, _in_words(columns, read, derived))


def _read(frame: pd.DataFrame, columns: Columns) -> dict[str, Column]:
    measured = {key: name for key, name in columns.names.items() if key in MEASURED}
    plain = all(pd.api.types.is_numeric_dtype(frame[name]) for name in measured.values())
    mark = Mark.UNKNOWN if plain else mark_of(frame)
    return {key: read_numbers(frame[name], MEASURED[key], mark) for key, name in measured.items()}


def _other_than_flops(read: Mapping[str, Column], columns: Columns) -> str | None:
    """Return a clause if C was found by its name alone and is not 6·N·D, but for its unit; else None."""
    if "C" not in columns.guessed or not {"N", "D", "C"} <= set(read):
        return None
    with np.errstate(all="ignore"):
        ratio = np.log10(read["C"].values / (6 * read["N"].values * read["D"].values))
        usable = np.isfinite(read["N"].values * read["D"].values)
    known = ratio[np.isfinite(ratio)]
    power = 3 * np.round(np.median(known) / 3) if len(known) else 0.0
    near = np.abs(ratio - power) < np.log10(FAR)  # False for NaN
    if near.sum() >= AGREEING * usable.sum():
        return None
    return f" ({columns.names['C']!r} is far from it: map it to C if it holds training FLOPs)"


def _refuse_unread(
    read: Mapping[str, Column], columns: Columns, frame: pd.DataFrame, where: Mapping[str, str]
) -> None:
    """Raise InputError for the first text that cannot be read as a number in a row that is wanted."""
    if not any(column.unread for column in read.values()):
        return
    left_out = unwanted(frame, columns, where)
    for key, column in read.items():
        rows = [row for row in sorted(column.unread) if not left_out[row]]
        if rows:
            raise refuse_unread(columns.names[key], rows[0], column.unread[rows[0]], len(rows) - 1)


def _in_units(
    read: Mapping[str, Column], scale: Mapping[str, float], absent: str, measured: str, stated: LossScale
) -> dict[str, Array]:
    """Return the numbers in parameters, tokens, FLOPs and nats; N, D and C follow from others if need be.

    The column `measured` holds the loss in the scale `stated`. The columns of absent axes hold 1.
    """
    numbers = {key: column.values for key, column in read.items()}
    # What overflows, or is no number, is left out row by row afterwards.
    with np.errstate(all="ignore"):
        for key, unit in scale.items():
            if key in numbers:
                numbers[key] = unit * numbers[key]
        if "unique" in numbers:
            numbers["unique"] = scale.get("D", 1.0) * numbers["unique"]
        if "sem" in numbers:
            numbers["sem"] = stated.error(numbers["sem"], numbers[measured])
        numbers["loss"] = stated.nats(numbers[measured])
        for key in absent.upper():
            numbers[key] = np.ones(len(numbers["loss"]))
        if "N" not in numbers:
            numbers["N"] = numbers["C"] / (6 * numbers["D"])
        if "D" not in numbers:
            numbers["D"] = numbers["C"] / (6 * numbers["N"])
        if "C" not in numbers:
            numbers["C"] = 6 * numbers["N"] * numbers["D"]
    return numbers


def _in_words(columns: Columns, read: Mapping[str, Column], derived: Mapping[str, str]) -> str:
    """Return what was taken from which column, how numbers were written, and whose rows share noise."""
    shown = sorted({*columns.names, *derived}, key=MAPPED.index)
    clauses = [", ".join(derived.get(key) or f"{key} = {columns.names[key]!r}" for key in shown)]
    written = [(key, column.written) for key, column in read.items() if column.written]
    clauses += [f"{key} has numbers such as {text!r}" for key, text in written]
    if columns.status is not None:
        clauses.append(f"{columns.status!r} tells which runs are finished")
    if "cluster" not in columns.names:
        clauses.append(ALONE)
    return "; ".join(clauses)
