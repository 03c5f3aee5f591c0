"""Tables of losses: read and checked once, with a reason for every excluded row."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from analysis.arrays import Array, Codes, Mask
from analysis.records.fit import COUNTS, Excluded
from analysis.records.warning_codes import FitWarning
from analysis.tables.checks import check_units, row_reasons
from analysis.tables.columns import OWN_QUANTITIES, Columns, absent_axes, cells_of, find_columns
from analysis.tables.doubts import LIMIT_SLACK, check_scale_by_name, reading_doubts
from analysis.tables.frames import read_frame
from analysis.tables.loss_scale import LossScale, read_loss_scale
from analysis.tables.names import with_plain_names
from analysis.tables.quantities import read_quantities
from harness.records.errors import InputError

AXIS_NAMES = {"n": "sizes N", "d": "token counts D", "c": "computes C"}
DEPTH = "n_layers"  # column of the depth in tables of a sweep


@dataclass(frozen=True)
class LossTable:
    """Losses of finished runs, one row a point; every number is positive and finite.

    Attributes:
        n: parameters under the count named by `count`.
        d: training tokens.
        c: training FLOPs.
        loss: nats per token.
        loss_sem: standard error of the loss over the evaluation set.
        weights: of the rows in a fit.
        cluster: code of the trunk whose noise the row shares.
        seed: as in points.parquet.
        role: as in points.parquet.
        rung: as in points.parquet.
        row: number of the row in the source, from 0.
        unique_d: tokens without repetition.
        excluded: rows left out, with reasons.
        limits: loss of a unigram model and logarithm of the vocabulary, nats per token: the losses without
            size and without data. None if the table does not have them or they differ between rows.
        warnings: doubts that the columns of the table raise, such as a training log.
        read_as: what was taken from a table of other people, in words; None for a table of a sweep.
        absent: axes out of n, d and c that the source neither has nor implies; their columns hold 1.
        n_layers: depth of the models, in tables of a sweep; None if it is not known.
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
    absent: str = ""
    n_layers: Codes | None = None

    def __len__(self) -> int:
        return len(self.loss)

    def __repr__(self) -> str:
        left_out = f", {len(self.excluded)} excluded" if self.excluded else ""
        return f"LossTable({len(self)} rows, N = {self.count}{left_out})"

    @cached_property
    def cell(self) -> Codes:
        """Code of the (n, d) cell of every row; rows of one cell differ by noise only.

        Without n or d, c tells cells apart.
        """
        return cells_of(self.n, self.d, self.c, self.absent)

    @property
    def n_cells(self) -> int:
        """Number of (n, d) cells."""
        return int(self.cell.max()) + 1

    def require(self, what: str, axes: Collection[str]) -> None:
        """Raise InputError if `what`, in words, needs an axis out of n, d and c that the source lacks."""
        lacking = [axis for axis in "ndc" if axis in axes and axis in self.absent]
        if lacking[1:]:
            lacking = [axis for axis in lacking if axis != "c"]  # follows from the others
        if lacking:
            names = " and ".join(AXIS_NAMES[axis] for axis in lacking)
            example = ",".join(f"{axis.upper()}=COLUMN" for axis in lacking)
            raise InputError(f"{what} needs {names}, which the table does not have: map {example}", "mapping")

    def points(self) -> pd.DataFrame:
        """Return the rows under the column names of points.parquet, as far as a table has them."""
        return pd.DataFrame(
            {
                self.count: self.n,
                "n_tokens": self.d,
                "flops": self.c,
                "loss": self.loss,
                "role": self.role or "fit",
                "rung": self.rung or [f"{size:.6g}" for size in self.n],
            }
        )

    def fitted(self) -> LossTable:
        """Return the rows that are not held out."""
        return self if self.role is None else self.select(np.array(self.role) != "holdout")

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
            n_layers=rows(self.n_layers),
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
    axes: Collection[str] = "nd",
    loss_is: str | None = None,
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
        axes: axes out of n, d and c that the table must have; a law in N alone needs only n.
        loss_is: scale of the loss column: `nats` (per token), `perplexity`, `bits_per_token`, or
            `bits_per_byte=4.2` if a token holds 4.2 bytes of text. The loss and its standard error become
            nats per token. A stated scale is not doubted for its name or its level.

    Returns:
        The usable rows, with the others under `excluded`. Two of N, D and C are enough, because C = 6·N·D
        gives the third. A row that repeats an earlier one in every column is excluded. In a table of
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
    columns = find_columns(frame, mapping or {}, count, loss, axes)
    stated = _stated_scale(loss_is, columns)
    found = read_quantities(frame, columns, scale, where, stated)
    numbers, names = found.numbers, found.names
    reasons = row_reasons(frame, numbers, columns, where, names, found.words)
    excluded = tuple(Excluded(row, reason) for row, reason in enumerate(reasons) if reason)
    kept = np.array([reason is None for reason in reasons], bool)
    if not kept.any():
        raise InputError(
            f"none of the {len(frame)} rows can be used; the first is left out because: {reasons[0]}"
        )
    n, d, c, losses = (numbers[key][kept] for key in ("N", "D", "C", "loss"))
    check_units(n, d, c, set(names), set(scale) | _own_units(columns))

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
        count="N" if "N" in (mapping or {}) else names.get("N", "N"),
        role=texts("role"),
        unique_d=optional("unique"),
        row=np.flatnonzero(kept),
        excluded=excluded,
        rung=texts("rung"),
        limits=_limits(optional("unigram"), optional("vocab"), float(losses.min())),
        warnings=reading_doubts(
            frame[kept], columns, n, d, c, losses, optional("vocab"), absent_axes(names), stated
        ),
        read_as=None if columns.own else found.read_as,
        absent=absent_axes(names),
        n_layers=_depths(frame)[kept] if columns.own and DEPTH in frame else None,
    )


def _stated_scale(loss_is: str | None, columns: Columns) -> LossScale | None:
    """Return the scale of the loss that was stated; without one the name of the column must not deny nats."""
    stated = read_loss_scale(loss_is)
    if stated and "perplexity" in columns.names:
        raise InputError(
            "the mapping has perplexity, whose scale is known: give no scale, or map the column to loss",
            "loss_is",
            "mapping",
        )
    if stated is None:
        check_scale_by_name(columns)
    return stated


def as_table(
    source: TableLike,
    mapping: Mapping[str, str] | None = None,
    count: str = COUNTS[0],
    axes: Collection[str] = "nd",
) -> LossTable:
    """Return `source` as a checked table: what every public function does with its table.

    Args:
        source: a LossTable, which stays as it is; else what `load_table` reads.
        mapping: columns of a foreign table, as for `load_table`.
        count: column of N in our own tables.
        axes: axes that the table must have, as for `load_table`.

    Raises:
        InputError: a mapping for a LossTable, whose columns are read already; else as `load_table`.
    """
    if not isinstance(source, LossTable):
        return load_table(source, mapping=mapping, count=count, axes=axes)
    if mapping:
        raise InputError(
            "a LossTable has its columns already: give the mapping to load_table, or leave it out"
        )
    return source


def _seeds(seeds: Array | None) -> Codes | None:
    """Return seeds as integers, -1 for a row without one."""
    if seeds is None:
        return None
    known = np.abs(seeds) < 2.0**62  # False for NaN
    return np.where(known, seeds, -1).astype(np.int64)


def _depths(frame: pd.DataFrame) -> Codes:
    """Return the depth of every row, 0 if it is not known."""
    return frame[DEPTH].fillna(0).to_numpy(np.int64)


def _limits(unigram: Array | None, vocab: Array | None, lowest: float) -> tuple[float, float] | None:
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
    too_low = no_size[(no_size > 0) & (no_size <= lowest)]  # 0 is unknown
    if len(too_low):
        raise InputError(
            f"the loss of a unigram model is {too_low[0]:g}, not above the lowest loss of the table, "
            f"{lowest:.4g} nats per token: give it in nats, or map another column"
        )
    no_size = np.minimum(no_size, no_data)
    if np.ptp(no_size) != 0 or np.ptp(no_data) != 0 or not no_size[0] > 0:
        return None
    return float(no_size[0]), float(no_data[0])


def _codes(frame: pd.DataFrame, column: str | None) -> Codes:
    """Return cluster codes [rows]; a row without a cluster is its own."""
    if column is None:
        return np.arange(len(frame), dtype=np.int64)
    names = frame[column].map(lambda cell: repr(cell) if isinstance(cell, list | dict) else cell)
    codes = pd.factorize(names)[0].astype(np.int64)
    alone = codes < 0
    codes[alone] = codes.max() + 1 + np.arange(alone.sum())
    return codes
