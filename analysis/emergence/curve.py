"""One task at one length along one axis: values by size and seed, and what is at fault with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.arrays import Array, Codes
from analysis.emergence.read import EXACT, SMOOTH, by_task
from analysis.emergence.statistics.sharpness import Design
from harness.records.errors import InputError

SAME = 1e-6  # relative difference below which two sizes are one


@dataclass(frozen=True)
class Curve:
    """One task × length on one axis.

    Attributes:
        at: value of the axis by size (N, C, D, or loss in nats per token), in the order of growing models.
        x: position in decades, ascending.
        rows: of the frame of `Evaluations`, with `size`, the index into `at`.
    """

    task: str
    length: float
    axis: str
    at: Array
    x: Array
    rows: pd.DataFrame

    @property
    def n_sizes(self) -> int:
        return len(self.at)

    @property
    def n_seeds(self) -> Array:
        return np.asarray(self.rows.groupby("size").size().to_numpy(float))

    @property
    def design(self) -> Design:
        return Design(self.x, self.n_seeds)

    def mean(self, column: str) -> Array:
        """Mean over seeds by size; nan where a size has none."""
        return np.asarray(self.rows.groupby("size")[column].mean().to_numpy(float))

    @property
    def ln_nll(self) -> Array:
        """Mean over seeds of ln NLL by size."""
        return np.asarray(np.log(self.rows[SMOOTH]).groupby(self.rows["size"]).mean().to_numpy(float))

    @property
    def has_exact(self) -> bool:
        return bool(self.rows[EXACT].notna().all())

    @property
    def chance(self) -> float | None:
        """Exact match of a guesser; None where the table does not say."""
        return _only(self.rows["chance_exact"])

    @property
    def chance_nll(self) -> float | None:
        return _only(self.rows["chance_nll"])

    @property
    def n_items(self) -> int | None:
        found = _only(self.rows["n_items"])
        return None if found is None else int(found)

    @property
    def split(self) -> str | None:
        """Which problems were asked: held out from training (`test`) or `seen`; None where unknown."""
        known = self.rows["split"].dropna()
        return str(known.iloc[0]) if len(known) else None

    def seed_sd(self) -> float | None:
        """Standard deviation of ln NLL between seeds of one size, pooled; None without repetitions."""
        groups = np.log(self.rows[SMOOTH]).groupby(self.rows["size"])
        freedom = int((groups.size() - 1).sum())
        if freedom < 1:
            return None
        return float(np.sqrt(((groups.size() - 1) * groups.var().fillna(0)).sum() / freedom))


def _only(column: pd.Series) -> float | None:
    known = column.dropna()
    return float(known.iloc[0]) if len(known) else None


def curves(frame: pd.DataFrame, axis: str) -> Iterator[Curve]:
    """Every task × length along `axis`; rows without a smooth value are left out."""
    chosen = on_axis(frame, axis)
    span = _span(chosen)
    for task, length, rows in by_task(chosen):
        rows = rows[rows[SMOOTH] > 0]
        if len(rows):
            yield _curve(task, length, axis, rows, span)


def _span(frame: pd.DataFrame) -> float:
    """Decades of N (or else C) that the models span: what a span of loss is worth."""
    for axis in ("N", "C"):
        values = frame[axis].dropna()
        if len(values) and values.max() > values.min():
            return float(np.log10(values.max() / values.min()))
    return 1.0


def _curve(task: str, length: float, axis: str, rows: pd.DataFrame, span: float) -> Curve:
    unit = "D" if axis == "D" else "N" if rows["N"].notna().all() else axis
    codes = _codes(rows[unit].to_numpy(float))
    at = rows[axis].groupby(codes).mean().to_numpy(float)
    x = np.log10(at)
    if axis == "loss":  # falls as models grow: turned, and stretched to the decades of N that it took
        x = (at.max() - at) / max(float(np.ptp(at)), 1e-12) * span
    order = np.argsort(x)
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order))
    placed = rows.assign(size=rank[codes]).sort_values(["size", "seed"], kind="stable")
    return Curve(task, length, axis, at[order], x[order], placed)


def _codes(values: Array) -> Codes:
    """0, 1, 2 … for equal values, smallest first."""
    order = np.argsort(values)
    jumps = np.diff(values[order]) > SAME * np.abs(values[order][1:])
    codes = np.empty(len(values), np.int64)
    codes[order] = np.concatenate([[0], np.cumsum(jumps)])
    return codes


def varied_axes(frame: pd.DataFrame) -> dict[str, str]:
    """Axes that the table varies, with what was held on each in words."""
    found = {}
    for axis in ("N", "C", "D", "loss"):
        known = frame[axis].notna().all()
        if not known or frame[axis].nunique() < 2:
            continue
        try:
            rows = on_axis(frame, axis)
        except InputError:
            continue
        if rows[axis].nunique() > 1:
            found[axis] = held(rows, axis)
    return found


def on_axis(frame: pd.DataFrame, axis: str) -> pd.DataFrame:
    """The rows that make a line along `axis`.

    N, C and loss: each size at the largest token count that all sizes share, or else at its own largest. D:
    the size with the most token counts, the largest of these.

    Raises:
        InputError: the axis does not vary.
    """
    if frame[axis].isna().any() or frame[axis].nunique() < 2:
        raise InputError(f"this table does not vary {axis}: type --axis with one of {_varied(frame)}")
    if axis == "D":
        counts = frame.groupby("N", dropna=False)["D"].nunique()
        if counts.max() < 2:
            raise InputError(f"no size was trained on several token counts: type --axis {_varied(frame)}")
        best = counts[counts == counts.max()].index.max()
        return frame if pd.isna(best) else frame[frame["N"] == best]
    if frame["D"].isna().any() or frame["N"].isna().any():
        return frame
    shared = set.intersection(*(set(rows["D"]) for _, rows in frame.groupby("N")))
    if shared:
        return frame[frame["D"] == max(shared)]
    return frame[frame["D"] == frame.groupby("N")["D"].transform("max")]


def _varied(frame: pd.DataFrame) -> str:
    return ", ".join(a for a in ("N", "C", "D", "loss") if frame[a].nunique() > 1) or "none: add runs"


def held(rows: pd.DataFrame, axis: str) -> str:
    """What stays the same along the axis, in words."""
    if axis == "D":
        n = rows["N"].dropna().unique()
        return f"N = {n[0]:.4g}" if len(n) == 1 else "nothing that the table names"
    d = rows["D"].dropna()
    if d.empty:
        return "nothing that the table names"
    if d.nunique() == 1:
        return f"D = {d.iloc[0]:.4g} tokens at every size"
    return f"nothing: D grows from {d.min():.4g} to {d.max():.4g} tokens along with N"
