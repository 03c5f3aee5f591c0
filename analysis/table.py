"""Read a table of losses, check it once, and keep the rows that were left out with their reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.records import InputError

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

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
MAPPED = (
    "N", "D", "C", "loss", "cluster", "seed", "sem", "weight", "role", "rung", "unique", "unigram", "vocab",
)  # fmt: skip
LIMIT_SLACK = 0.01  # a unigram model may score so much above the uniform guess by chance
ROLE_REASONS = {"reference": "reference run", "lr": "learning-rate run"}


@dataclass(frozen=True)
class Excluded:
    """A row that no fit sees; `row` counts the data rows of the source from 0."""

    row: int
    reason: str

    def to_dict(self) -> dict[str, Any]:
        return {"row": self.row, "reason": self.reason}


@dataclass(frozen=True)
class LossTable:
    """Finished losses, one row a point, checked: every number positive and finite.

    Attributes:
        n: parameters under the count named by `count`.  d: tokens.  c: training FLOPs.
        loss: nats per token.  loss_sem: its standard error over the evaluation set.
        weights: of rows in the fit.  cluster: code of the trunk whose noise the row shares.
        row: row of the source.  unique_d: tokens without repetition.
        limits: losses without size (of a unigram model) and without data (logarithm of the vocabulary), nats
            per token; None where the table does not have them or they differ between rows.
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

    @property
    def cell(self) -> Codes:
        """Code of the (n, d) cell of every row: rows of one cell differ by noise only."""
        return np.unique(np.column_stack([self.n, self.d]), axis=0, return_inverse=True)[1].astype(np.int64)

    def select(self, mask: NDArray[np.bool_], reason: str | None = None) -> LossTable:
        """The rows where `mask` holds; with a reason the others are recorded as excluded for it."""
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


def load_table(
    source: str | Path | pd.DataFrame,
    mapping: Mapping[str, str] | None = None,
    count: str = "n_params_matmul",
    loss: str = "loss",
) -> LossTable:
    """Read `source` (CSV, parquet or a frame) into a LossTable.

    Own tables need no mapping; `count` chooses which parameter count is N. For foreign tables `mapping`
    names the columns ({"N": "params", "D": "tokens", "loss": "val", "C": "flops", ...}).
    C is 6·N·D where it is missing, D is C/(6·N).

    Raises:
        InputError: unreadable or empty file, missing column, no usable row.
    """
    frame = source if isinstance(source, pd.DataFrame) else read_frame(Path(source))
    if frame.empty:
        raise InputError("the table has no rows: expected one row a finished run with N, D and loss")
    columns = _columns(frame, mapping or {}, count, loss)
    numbers = {key: _numbers(frame, columns[key]) for key in ("N", "D", "C", "loss") if key in columns}
    n, losses = numbers["N"], numbers["loss"]
    d = numbers["D"] if "D" in numbers else numbers["C"] / (6 * n)
    c = numbers["C"] if "C" in numbers else 6 * n * d

    def optional(key: str) -> Array | None:
        return _numbers(frame, columns[key]) if key in columns else None

    def words(key: str) -> list[str] | None:
        return frame[columns[key]].astype(str).tolist() if key in columns else None

    rows = np.arange(len(frame), dtype=np.int64)
    seeds = optional("seed")
    table = LossTable(
        n=n,
        d=d,
        c=c,
        loss=losses,
        loss_sem=optional("sem"),
        weights=optional("weight"),
        cluster=_codes(frame, columns.get("cluster")),
        seed=None if seeds is None else np.nan_to_num(seeds, nan=-1).astype(np.int64),
        count="N" if "N" in (mapping or {}) else columns["N"],
        role=words("role"),
        unique_d=optional("unique"),
        row=rows,
        rung=words("rung"),
    )
    reasons = _reasons(frame, table, columns)
    excluded = tuple(Excluded(row, reason) for row, reason in enumerate(reasons) if reason)
    kept = np.array([reason is None for reason in reasons])
    limits = _limits(optional("unigram"), optional("vocab"), kept)
    usable = replace(table.select(kept), excluded=excluded, limits=limits)
    if len(usable) == 0:
        raise InputError(
            f"none of the {len(frame)} rows can be used; the first is left out because: {reasons[0]}"
        )
    return usable


def read_frame(path: Path) -> pd.DataFrame:
    """The table of a .csv or .parquet file."""
    if not path.exists():
        raise InputError(f"there is no file {path}: give the path of a .csv or .parquet table")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path)
    except (OSError, ValueError, UnicodeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"cannot read {path} as a .csv or .parquet table: {reason}") from error


def _columns(frame: pd.DataFrame, mapping: Mapping[str, str], count: str, loss: str) -> dict[str, str]:
    """Which column of the frame holds which quantity."""
    unknown = sorted(set(mapping) - set(MAPPED))
    if unknown:
        raise InputError(f"--map does not know {', '.join(unknown)}: the left sides are {', '.join(MAPPED)}")
    wanted = {"loss": loss, **mapping}
    defaults = {"N": count, **OWN_COLUMNS}
    for key, name in defaults.items():
        for candidate in (name, key):
            if key not in wanted and candidate in frame.columns:
                wanted[key] = candidate
    wanted.setdefault("N", count)
    if "D" not in wanted and "C" not in wanted:
        wanted["D"] = OWN_COLUMNS["D"]
    missing = {key: name for key, name in wanted.items() if name not in frame.columns}
    if missing:
        lacking = ", ".join(f"{name!r} for {key}" for key, name in missing.items())
        example = ",".join(f"{key}=COLUMN" for key in missing)
        there = ", ".join(map(str, frame.columns))
        raise InputError(f"no column {lacking}: type --map {example} with columns out of: {there}")
    return wanted


def _numbers(frame: pd.DataFrame, column: str) -> Array:
    """A column as floats; what is not a number becomes NaN and is excluded with a reason later."""
    return pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=float, na_value=np.nan)


def _limits(
    unigram: Array | None, vocab: Array | None, kept: NDArray[np.bool_]
) -> tuple[float, float] | None:
    """The loss of a unigram model and the logarithm of the vocabulary, where all kept rows agree."""
    if unigram is None or vocab is None or not kept.any():
        return None
    no_data = np.log(np.maximum(vocab[kept], 1.0))
    no_size = unigram[kept]
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
    """Cluster codes; a row without a cluster is one of its own."""
    if column is None:
        return np.arange(len(frame), dtype=np.int64)
    codes = pd.factorize(frame[column])[0].astype(np.int64)
    alone = codes < 0
    codes[alone] = codes.max() + 1 + np.arange(alone.sum())
    return codes


def _reasons(frame: pd.DataFrame, table: LossTable, columns: Mapping[str, str]) -> list[str | None]:
    """Why a row is left out, or None for the rows to keep."""

    def of_row(row: int) -> str | None:
        stated = frame["excluded_reason"].iloc[row] if "excluded_reason" in frame else None
        if stated is not None and not pd.isna(stated) and str(stated):
            return str(stated)
        if "status" in frame and frame["status"].iloc[row] != "done":
            return f"run {frame['status'].iloc[row]}"
        if table.role is not None and table.role[row] in ROLE_REASONS:
            return ROLE_REASONS[table.role[row]]
        if "cooled" in frame and not frame["cooled"].iloc[row]:
            return "learning rate not cooled down"
        for key, values in (("N", table.n), ("D", table.d), ("C", table.c), ("loss", table.loss)):
            if not np.isfinite(values[row]):
                return f"{columns.get(key, key)} is not a number"
            if values[row] <= 0:
                return f"{columns.get(key, key)} is {values[row]:g}, expected a positive number"
        return None

    return [of_row(row) for row in range(len(frame))]
