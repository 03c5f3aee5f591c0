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
from analysis.records.fits import Excluded
from analysis.tables.checks import check_overflow, check_units, row_reasons
from harness.records.errors import InputError
from harness.records.files import read_table

COUNTS = ("n_params_matmul", "n_params", "n_params_body")
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
# A foreign table may have some of our column names by chance, but not these.
OWN_KEYS = ("run_id", "point_id")
OWN_QUANTITIES = ("n_params", "n_tokens", "flops")
MAPPED = (
    "N", "D", "C", "loss", "cluster", "seed", "sem", "weight", "role", "rung", "unique", "unigram", "vocab",
)  # fmt: skip
MEASURED = ("N", "D", "C", "loss", "seed", "sem", "weight", "unique", "unigram", "vocab")
TEXT = (".csv", ".tsv", ".txt")  # plain text; pandas unpacks files with other suffixes
LIMIT_SLACK = 0.01  # a unigram model may score so much above the uniform guess by chance


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


def _own_units(frame: pd.DataFrame, columns: Mapping[str, str]) -> set[str]:
    """Return the quantities of a sweep's own table: their units are known, so small grids are not doubted."""
    if not set(OWN_KEYS) <= set(frame.columns):
        return set()
    return {key for key in ("N", "D", "C") if columns.get(key, "").startswith(OWN_QUANTITIES)}


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
        source: a .csv or .parquet file, or a frame; one row a finished run.
        mapping: {quantity: column} of a foreign table, such as {"N": "params", "D": "tokens", "loss": "val"}.
            The quantities are N, D, C, loss, cluster, seed, sem, weight, role, rung, unique, unigram and
            vocab. "" as the column leaves a quantity out. Our own tables need no mapping.
        count: column of N in our own tables, which count parameters in three ways.
        loss: column of the loss, nats per token.
        scale: {quantity: unit} of N, D or C; {"N": 1e9} if N counts billions.
        where: {column: value} of the rows to keep.

    Returns:
        The usable rows, with the others under `excluded`. C is 6·N·D if the table has no FLOPs, D is C/(6·N)
        if it has no tokens. A row that repeats an earlier one in every column is excluded.

    Raises:
        InputError: unreadable or empty file, missing column, units that look mixed, C that overflowed
            integers, no usable row.

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
    frame = source if isinstance(source, pd.DataFrame) else read_frame(Path(source))
    if frame.empty:
        raise InputError("the table has no rows: expected one row a finished run with N, D and loss")
    columns = _columns(frame, mapping or {}, count, loss)
    numbers = _quantities(frame, columns, scale or {})
    reasons = row_reasons(frame, numbers, columns, where or {})
    excluded = tuple(Excluded(row, reason) for row, reason in enumerate(reasons) if reason)
    kept = np.array([reason is None for reason in reasons])
    if not kept.any():
        raise InputError(
            f"none of the {len(frame)} rows can be used; the first is left out because: {reasons[0]}"
        )
    n, d, c = (numbers[key][kept] for key in ("N", "D", "C"))
    check_units(n, d, c, set(columns), set(scale or {}) | _own_units(frame, columns))

    def words(key: str) -> list[str] | None:
        return frame.loc[kept, columns[key]].astype(str).tolist() if key in columns else None

    def optional(key: str) -> Array | None:
        return numbers[key][kept] if key in numbers else None

    seeds = optional("seed")
    return LossTable(
        n=n,
        d=d,
        c=c,
        loss=numbers["loss"][kept],
        loss_sem=optional("sem"),
        weights=optional("weight"),
        cluster=_codes(frame, columns.get("cluster"))[kept],
        seed=None if seeds is None else np.nan_to_num(seeds, nan=-1).astype(np.int64),
        count="N" if "N" in (mapping or {}) else columns["N"],
        role=words("role"),
        unique_d=optional("unique"),
        row=np.flatnonzero(kept),
        excluded=excluded,
        rung=words("rung"),
        limits=_limits(optional("unigram"), optional("vocab")),
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


def _quantities(
    frame: pd.DataFrame, columns: Mapping[str, str], scale: Mapping[str, float]
) -> dict[str, Array]:
    """Return {quantity: column} of all numbers, in parameters, tokens and FLOPs; D and C are filled in."""
    unknown = sorted(set(scale) - {"N", "D", "C"})
    if unknown:
        raise InputError(f"no key of the scale is called {', '.join(unknown)}: use N, D or C", "scale")
    numbers = {key: _numbers(frame, column) for key, column in columns.items() if key in MEASURED}
    if {"N", "D", "C"} <= set(numbers) and not scale:
        check_overflow(numbers, columns["C"])
    for key, unit in scale.items():
        if key in numbers:
            numbers[key] = unit * numbers[key]
    if "unique" in numbers:
        numbers["unique"] = scale.get("D", 1.0) * numbers["unique"]
    if "D" not in numbers:
        with np.errstate(divide="ignore", invalid="ignore"):
            numbers["D"] = numbers["C"] / (6 * numbers["N"])
    numbers.setdefault("C", 6 * numbers["N"] * numbers["D"])
    return numbers


def read_frame(path: Path) -> pd.DataFrame:
    """Read the table of a .csv or .parquet file; raises InputError if there is none."""
    if not path.exists():
        raise InputError(f"there is no file {path}: give the path of a .csv or .parquet table")
    try:
        if path.suffix == ".parquet":
            return read_table(path)
        return pd.read_csv(path, sep=_separator(path), low_memory=False)
    except (OSError, ValueError, UnicodeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"cannot read {path} as a .csv or .parquet table: {reason}") from error


def _separator(path: Path) -> str:
    """Return the separator of the columns of a text file: comma, else semicolon or tab."""
    if path.suffix not in TEXT:
        return ","
    with open(path, encoding="utf-8", errors="replace") as file:
        header = file.readline()
    return max(",;\t", key=lambda sign: (sign == "," and sign in header, header.count(sign)))


def _columns(frame: pd.DataFrame, mapping: Mapping[str, str], count: str, loss: str) -> dict[str, str]:
    """Return {quantity: column} of the frame."""
    unknown = sorted(set(mapping) - set(MAPPED))
    if unknown:
        raise InputError(
            f"no key of the mapping is called {', '.join(unknown)}: use {', '.join(MAPPED)}", "mapping"
        )
    absent = {key for key, name in mapping.items() if not name}
    wanted = {"loss": loss, **mapping}
    defaults = {"N": count, **OWN_COLUMNS}
    for key, name in defaults.items():
        for candidate in (name, key):
            if key not in wanted and candidate in frame.columns:
                wanted[key] = candidate
    wanted.setdefault("N", count)
    wanted = {key: name for key, name in wanted.items() if key not in absent}
    if "D" not in wanted and "C" not in wanted:
        wanted["D"] = OWN_COLUMNS["D"]
    missing = {key: name for key, name in wanted.items() if name not in frame.columns}
    if missing:
        lacking = ", ".join(f"{name!r} for {key}" for key, name in missing.items())
        example = ",".join(f"{key}=COLUMN" for key in missing)
        there = ", ".join(map(str, frame.columns))
        raise InputError(f"no column {lacking}: map {example} with columns out of: {there}", "mapping")
    return wanted


def _numbers(frame: pd.DataFrame, column: str) -> Array:
    """Return a column as floats; text becomes NaN, and a later check excludes the row with a reason."""
    return pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=float, na_value=np.nan)


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
