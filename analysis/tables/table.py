"""Tables of losses: read and checked once, with a reason for every excluded row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from analysis.arrays import Array, Codes, Mask
from analysis.records.fits import Excluded, FitWarning
from analysis.tables.checks import FAR, check_overflow, check_units, row_reasons, unwanted
from analysis.tables.columns import (
    COUNTS,
    MEASURED,
    OWN_QUANTITIES,
    Columns,
    find_columns,
    read_as,
)
from analysis.tables.doubts import check_scale_by_name, reading_doubts
from analysis.tables.frames import read_frame
from analysis.tables.names import with_plain_names
from analysis.tables.numbers import Column, Mark, mark_of, read_numbers, refuse_unread
from harness.records.errors import InputError

LIMIT_SLACK = 0.01  # a unigram model may score so much above the uniform guess by chance
AGREEING = 0.9  # share of rows with C near 6·N·D, or near a power of a thousand times it
NOT_FLOPS = "C = 6·N·D ({name!r} is far from it: map it to C if it holds training FLOPs)"
ALONE = "every row is a cluster of its own"


@dataclass(frozen=True)
class LossTable:
    """Losses of finished runs, one row a point; every number is positive and finite.

    Attributes:
        n: parameters under the count named by `count`.  d: training tokens.  c: training FLOPs.
        loss: nats per token.  loss_sem: its standard error over the evaluation set.
        weights: of the rows in a fit.  cluster: code of the trunk whose noise the row shares.
        seed, role, rung: as in points.parquet.  row: number of the row in the source, from 0.
        unique_d: tokens without repetition.  excluded: rows left out, with reasons.
        limits: loss of a unigram model and logarithm of the vocabulary, nats per token: the losses without
            size and without data. None if the table does not have them or they differ between rows.
        warnings: doubts that the columns of the table raise, such as a training log.
        read_as: what was taken from a table of other people, in words; None for a table of a sweep.
    """

    n: Array
    d: Array
    c: Array
    loss: Array
    loss_sem: Array | None
    weights: Array | None
    cluster: Codes
    seed: Codes | None
    count: str
    role: list[str] | None
    unique_d: Array | None
    row: Codes
    excluded: tuple[Excluded, ...] = ()
    rung: list[str] | None = None
    limits: tuple[float, float] | None = None
    warnings: tuple[FitWarning, ...] = ()
    read_as: str | None = None

    def __len__(self) -> int:
        return len(self.loss)

    def __repr__(self) -> str:
        left_out = f", {len(self.excluded)} excluded" if self.excluded else ""
        return f"LossTable({len(self)} rows, N = {self.count}{left_out})"

    @cached_property
    def cell(self) -> Codes:
        """Code of the (n, d) cell of every row: rows of one cell differ by noise only."""
        return np.unique(np.column_stack([self.n, self.d]), axis=0, return_inverse=True)[1].astype(np.int64)

    def select(self, mask: Mask, reason: str | None = None) -> LossTable:
        """Return the rows of `mask`; with a reason the other rows are recorded as excluded."""
        keep = np.asarray(mask, bool)

        def rows(column: Any) -> Any:
            if column is None:
                return None
            if isinstance(column, list):
                return [value for value, kept in zip(column, keep, strict=True) if kept]
            return column[keep]

        left_out = tuple(Excluded(int(row), reason) for row in self.row[~keep]) if reason else ()
        return replace(
            self,
            n=self.n[keep],
            d=self.d[keep],
            c=self.c[keep],
            loss=self.loss[keep],
            loss_sem=rows(self.loss_sem),
            weights=rows(self.weights),
            cluster=self.cluster[keep],
            seed=rows(self.seed),
            role=rows(self.role),
            unique_d=rows(self.unique_d),
            row=self.row[keep],
            rung=rows(self.rung),
            excluded=self.excluded + left_out,
        )


TableLike: TypeAlias = LossTable | pd.DataFrame | str | Path


def _own_units(columns: Columns) -> set[str]:
    """Return the quantities of a sweep's own table: their units are known, so small grids are not doubted."""
    if not columns.own:
        return set()
    return {key for key in ("N", "D", "C") if columns.names.get(key, "").startswith(OWN_QUANTITIES)}


def load_table(
    source: str | Path | pd.DataFrame,
    *,
    mapping: Mapping[str, str] | None = None,
    count: str = COUNTS[0],
    loss: str = "loss",
    scale: Mapping[str, float] | None = None,
    where: Mapping[str, str] | None = None,
) -> LossTable:
    """Read a table of losses and check it.

    Args:
        source: a file of plain text, JSON or parquet, or a frame; one row a finished run.
        mapping: {quantity: column} of a foreign table, such as {"N": "params", "D": "tokens", "loss": "val"}.
            The quantities are N, D, C, loss, cluster, seed, sem, weight, role, rung, unique, unigram, vocab,
            status and perplexity, whose logarithm is taken. An empty name leaves a quantity out. Our own
            tables need no mapping.
        count: column of N in our own tables, which count parameters in three ways.
        loss: column of the loss, nats per token.
        scale: {quantity: unit} of N, D or C; {"N": 1e9} if N counts billions.
        where: {column: value} of the rows to keep; numbers are compared as numbers.

    Returns:
        The usable rows, with the others under `excluded`. C is 6·N·D if the table has no FLOPs, D is C/(6·N)
        if it has no tokens. A row that repeats an earlier one in every column is excluded. In a table of
        other people only N, D, C and the loss are found by name, and a status such as `crashed` excludes its
        row; `read_as` says what was used.

    Raises:
        InputError: unreadable or empty file, missing column, no usable row. Also a number that cannot be read
            for certain, units that look mixed, C that overflowed integers, a column that holds no loss.

    Examples:
        >>> import analysis as sl, pandas as pd
        >>> runs = pd.DataFrame({"params": [10, 20, 40], "tokens": [1, 2, 4], "val": [3.9, 3.6, None]})
        >>> table = sl.load_table(runs, mapping={"N": "params", "D": "tokens", "loss": "val"},
        ...                       scale={"N": 1e6, "D": 1e9})
        >>> table
        LossTable(2 rows, N = N, 1 excluded)
        >>> table.excluded
        (Excluded(row=2, reason='val is not a number'),)
    """
    frame = with_plain_names(source) if isinstance(source, pd.DataFrame) else read_frame(Path(source))
    if frame.empty:
        raise InputError("the table has no rows: expected one row a finished run with N, D and loss")
    scale, where = scale or {}, where or {}
    columns = find_columns(frame, mapping or {}, count, loss)
    check_scale_by_name(columns)
    read = _read(frame, columns)
    _refuse_unread(read, columns, frame, where)
    numbers, used = _quantities(read, columns, scale)
    names = dict(columns.names)
    if "perplexity" in names:
        names["loss"] = f"log of {names['perplexity']}"
    words = {key: column.words for key, column in read.items()}
    words["loss"] = {**words.get("perplexity", {}), **words.get("loss", {})}
    reasons = row_reasons(frame, numbers, columns, where, names, words)
    excluded = tuple(Excluded(row, reason) for row, reason in enumerate(reasons) if reason)
    kept = np.array([reason is None for reason in reasons], bool)
    if not kept.any():
        raise InputError(
            f"none of the {len(frame)} rows can be used; the first is left out because: {reasons[0]}"
        )
    n, d, c, losses = (numbers[key][kept] for key in ("N", "D", "C", "loss"))
    check_units(n, d, c, set(columns.names) - set(used), set(scale) | _own_units(columns))

    def texts(key: str) -> list[str] | None:
        return frame.loc[kept, names[key]].astype(str).tolist() if key in names else None

    def optional(key: str) -> Array | None:
        return numbers[key][kept] if key in numbers else None

    return LossTable(
        n=n,
        d=d,
        c=c,
        loss=losses,
        loss_sem=optional("sem"),
        weights=optional("weight"),
        cluster=_codes(frame, names.get("cluster"))[kept],
        seed=_seeds(optional("seed")),
        count="N" if "N" in (mapping or {}) else names["N"],
        role=texts("role"),
        unique_d=optional("unique"),
        row=np.flatnonzero(kept),
        excluded=excluded,
        rung=texts("rung"),
        limits=_limits(optional("unigram"), optional("vocab")),
        warnings=reading_doubts(frame[kept], columns, n, d, c, losses, optional("vocab")),
        read_as=None if columns.own else _read_as(columns, read, used),
    )


def as_table(
    source: TableLike, mapping: Mapping[str, str] | None = None, count: str = COUNTS[0]
) -> LossTable:
    """Return `source` as a checked table: what every public function does with its table.

    Args:
        source: a LossTable, which stays as it is; else what `load_table` reads.
        mapping: columns of a foreign table, as for `load_table`.
        count: column of N in our own tables.

    Raises:
        InputError: a mapping for a LossTable, whose columns are read already; else as `load_table`.
    """
    if not isinstance(source, LossTable):
        return load_table(source, mapping=mapping, count=count)
    if mapping:
        raise InputError(
            "a LossTable has its columns already: give the mapping to load_table, or leave it out"
        )
    return source


def _read(frame: pd.DataFrame, columns: Columns) -> dict[str, Column]:
    """Return {quantity: column} of all numbers."""
    measured = {key: name for key, name in columns.names.items() if key in MEASURED}
    plain = all(pd.api.types.is_numeric_dtype(frame[name]) for name in measured.values())
    mark = Mark.UNKNOWN if plain else mark_of(frame)
    return {key: read_numbers(frame[name], MEASURED[key], mark) for key, name in measured.items()}


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


def _quantities(
    read: Mapping[str, Column], columns: Columns, scale: Mapping[str, float]
) -> tuple[dict[str, Array], dict[str, str]]:
    """Return {quantity: column} in parameters, tokens, FLOPs and nats, and what else is used, in words.

    D and C are filled in if there is no column for them.
    """
    unknown = sorted(set(scale) - {"N", "D", "C"})
    if unknown:
        raise InputError(f"no key of the scale is called {', '.join(unknown)}: use N, D or C", "scale")
    numbers, used = {key: column.values for key, column in read.items()}, {}
    if {"N", "D", "C"} <= set(numbers) and not scale:
        check_overflow(numbers, columns.names["C"])
    # What overflows, or is no number, is refused row by row afterwards.
    with np.errstate(all="ignore"):
        for key, unit in scale.items():
            if key in numbers:
                numbers[key] = unit * numbers[key]
        if "unique" in numbers:
            numbers["unique"] = scale.get("D", 1.0) * numbers["unique"]
        if "perplexity" in numbers:
            numbers["loss"] = np.log(numbers["perplexity"])
            used["perplexity"] = f"loss = log of {columns.names['perplexity']!r}"
        if "C" in columns.guessed and not columns.own and "D" in numbers and not _are_flops(numbers):
            del numbers["C"]
            used["C"] = NOT_FLOPS.format(name=columns.names["C"])
        if "D" not in numbers:
            numbers["D"] = numbers["C"] / (6 * numbers["N"])
            used["D"] = "D = C/(6·N)"
        if "C" not in numbers:
            numbers["C"] = 6 * numbers["N"] * numbers["D"]
            used.setdefault("C", "C = 6·N·D")
    return numbers, used


def _are_flops(numbers: Mapping[str, Array]) -> bool:
    """Return whether C, found by its name alone, is 6·N·D but for its unit; else it means something else."""
    ratio = np.log10(numbers["C"] / (6 * numbers["N"] * numbers["D"]))
    ratio = ratio[np.isfinite(ratio)]
    power = 3 * np.round(np.median(ratio) / 3) if len(ratio) else 0.0
    return bool(np.mean(np.abs(ratio - power) < np.log10(FAR)) >= AGREEING) if len(ratio) else True


def _read_as(columns: Columns, read: Mapping[str, Column], used: Mapping[str, str]) -> str:
    """Return in words what was taken from a table of other people."""
    clauses = [read_as(columns, used)]
    written = [(key, column.written) for key, column in read.items() if column.written]
    clauses += [f"{key} has numbers such as {text!r}" for key, text in written[:3]]
    if columns.status is not None:
        clauses.append(f"{columns.status!r} tells which runs are finished")
    if "cluster" not in columns.names:
        clauses.append(ALONE)
    return "; ".join(clauses)


def _seeds(seeds: Array | None) -> Codes | None:
    """Return seeds as integers, -1 for a row without one."""
    if seeds is None:
        return None
    known = np.abs(seeds) < 2.0**62  # False for NaN
    return np.where(known, seeds, -1).astype(np.int64)


def _limits(unigram: Array | None, vocab: Array | None) -> tuple[float, float] | None:
    """Return the loss of a unigram model and the logarithm of the vocabulary, or None if rows differ."""
    if unigram is None or vocab is None:
        return None
    no_data = np.log(np.maximum(vocab, 1.0))
    no_size = unigram
    if np.any(no_size > (1 + LIMIT_SLACK) * no_data):
        raise InputError(
            f"the loss of a unigram model is {no_size.max():g}, above that of the uniform guess over the "
            f"vocabulary, {no_data.min():.4g} nats per token: give it in nats, or map another column"
        )
    no_size = np.minimum(no_size, no_data)
    if np.ptp(no_size) != 0 or np.ptp(no_data) != 0 or not no_size[0] > 0:
        return None
    return float(no_size[0]), float(no_data[0])


def _codes(frame: pd.DataFrame, column: str | None) -> Codes:
    """Return cluster codes [rows]; a row without a cluster is its own."""
    if column is None:
        return np.arange(len(frame), dtype=np.int64)
    codes = pd.factorize(frame[column])[0].astype(np.int64)
    alone = codes < 0
    codes[alone] = codes.max() + 1 + np.arange(alone.sum())
    return codes
