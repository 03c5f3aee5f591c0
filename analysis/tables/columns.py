"""Which column of a table holds which quantity: our own names in our own tables, few of them in others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.arrays import Array, Codes
from analysis.tables.names import MELT, column_of, listed, wide_reason
from analysis.tables.numbers import DONE, NOT_DONE, Kind
from harness.records.errors import InputError

OWN_COLUMNS = {
    "D": "n_tokens",
    "C": "flops",
    "sem": "loss_sem",
    "cluster": "trunk_id",
    "seed": "seed",
    "role": "role",
    "rung": "rung",
    "unique": "n_unique_tokens",
    "unigram": "unigram_nats",
    "vocab": "vocab_size",
}
# Other people's tables may have some of our names by chance, but not both of these.
OWN_KEYS = ("run_id", "point_id")
OWN_QUANTITIES = ("n_params", "n_tokens", "flops")
STATUS_NAMES = ("status", "state")  # columns in which trackers write how a run ended
SEPARATOR = "|"  # between columns that count N in different ways
AXES = ("N", "D", "C")  # in other people's tables these and the loss are found by name, nothing else
MEASURED = {
    "N": Kind.COUNT,
    "D": Kind.COUNT,
    "C": Kind.COUNT,
    "loss": Kind.PLAIN,
    "perplexity": Kind.PLAIN,
    "seed": Kind.PLAIN,
    "sem": Kind.PLAIN,
    "weight": Kind.SHARE,
    "unique": Kind.COUNT,
    "unigram": Kind.PLAIN,
    "vocab": Kind.COUNT,
}
MAPPED = (*MEASURED, "cluster", "role", "rung", "status")


@dataclass(frozen=True)
class Columns:
    """Columns of a table by quantity.

    Attributes:
        names: {quantity: name of its column}; the status is left out.
        own: whether the table is one of a sweep.
        guessed: quantities that were found by name, without a mapping.
        status: column in which a tracker wrote the state of the runs; None without one.
    """

    names: Mapping[str, str]
    own: bool
    guessed: frozenset[str]
    status: str | None = None


def absent_axes(quantities: Collection[str]) -> str:
    """Return the axes out of n, d and c that the quantities of a table neither hold nor imply."""
    if len({"N", "D", "C"} & set(quantities)) > 1:
        return ""
    return "".join(axis for axis in "ndc" if axis.upper() not in quantities)


def cell_axes(absent: str) -> str:
    """Return what tells the cells of a table apart, in words.

    >>> cell_axes(""), cell_axes("n"), cell_axes("dc")
    ('N and D', 'D and C', 'N')
    """
    told_by = "nd" if not set("nd") & set(absent) else "ndc"
    return " and ".join(axis.upper() for axis in told_by if axis not in absent)


def cells_of(n: Array, d: Array, c: Array, absent: str) -> Codes:
    """Return the code of the (n, d) cell of every row; without n or d, c tells cells apart."""
    axes = [n, d, c] if set("nd") & set(absent) else [n, d]
    return np.unique(np.column_stack(axes), axis=0, return_inverse=True)[1].astype(np.int64)


def find_columns(
    frame: pd.DataFrame, mapping: Mapping[str, str], count: str, loss: str, axes: Collection[str] = "nd"
) -> Columns:
    """Return the columns of a table by quantity.

    Args:
        frame: the table, with plain names.
        mapping: {quantity: column}; "" leaves a quantity out.
        count: column of N in our own tables.
        loss: column of the loss.
        axes: axes out of n, d and c that the table must have.

    Raises:
        InputError: an unknown quantity, one left out that is needed, or a column that is not there.
    """
    mapping = {key: name.strip() for key, name in mapping.items()}
    _check(mapping, loss.strip())
    own = set(OWN_KEYS) <= set(frame.columns)
    wanted = {} if "perplexity" in mapping else {"loss": loss.strip()}
    wanted |= {key: name for key, name in mapping.items() if key != "status"}
    known = {"N": count.strip(), **(OWN_COLUMNS if own else {key: OWN_COLUMNS[key] for key in ("D", "C")})}
    for key, name in known.items():
        for candidate in (name, key) if own or key in AXES else (name,):
            if key not in wanted and candidate in frame.columns:
                wanted[key] = candidate
    wanted = {key: name for key, name in wanted.items() if name}
    if not {"N", "D", "C"} & set(wanted):
        axes = set(axes) or {"n", "d"}
    lacking = absent_axes(wanted)
    for key, name in (("N", count.strip()), ("D", OWN_COLUMNS["D"]), ("C", OWN_COLUMNS["C"])):
        if key.lower() not in axes or key.lower() not in lacking:
            continue
        if mapping.get(key, name) == "":
            raise InputError(f"the mapping leaves out {key}, which is needed: map {key}=COLUMN", "mapping")
        wanted[key] = name
    _check_there(frame, wanted)
    status = mapping.get("status", ("status" if "status" in frame else None) if own else _status(frame))
    if status:
        column_of(frame, status, "the mapping for status", "mapping")
    return Columns(wanted, own, frozenset(set(wanted) - set(mapping)), status or None)


def columns_of_n(frame: pd.DataFrame, mapping: Mapping[str, str]) -> list[str]:
    """Return the columns that a mapping names for N: several if it joins them by |, as in `total|body`.

    A column whose own name has a | in it is one column.
    """
    name = mapping.get("N", "").strip()
    if name in frame.columns:
        return [name]
    return [part.strip() for part in name.split(SEPARATOR) if part.strip()]


def _check(mapping: Mapping[str, str], loss: str) -> None:
    unknown = sorted(set(mapping) - set(MAPPED))
    if unknown:
        raise InputError(
            f"no key of the mapping is called {', '.join(unknown)}: use {', '.join(MAPPED)}", "mapping"
        )
    if "" in (mapping.get("loss", loss), mapping.get("perplexity")):
        raise InputError("the mapping leaves the loss out: map loss or perplexity to a column", "mapping")
    if {"loss", "perplexity"} <= set(mapping):
        raise InputError("the mapping has loss and perplexity: keep the one to fit", "mapping")


def _check_there(frame: pd.DataFrame, wanted: Mapping[str, str]) -> None:
    """Raise InputError if a column is not there, and say so if the table has another shape than expected."""
    missing = {key: name for key, name in wanted.items() if name not in frame.columns}
    lacking = ", ".join(f"{name!r} for {key}" for key, name in missing.items())
    wide = wide_reason(frame) if missing else None
    if wide:
        raise InputError(f"no column {lacking}: {wide}; {MELT}", "mapping")
    if missing:
        example = ",".join(f"{key}=COLUMN" for key in missing)
        raise InputError(
            f"no column {lacking}: map {example} with columns out of: {listed(frame.columns)}", "mapping"
        )
    for key, name in wanted.items():
        column_of(frame, name, f"the mapping for {key}", "mapping")


def _status(frame: pd.DataFrame) -> str | None:
    """Return the column in which a tracker wrote whether the runs are finished, None without one."""
    for name in frame.columns:
        if name.casefold() not in STATUS_NAMES or list(frame.columns).count(name) > 1:
            continue
        words = {str(cell).strip().casefold() for cell in frame[name].tolist()}
        if words & (DONE | NOT_DONE):
            return str(name)
    return None
