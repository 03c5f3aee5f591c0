"""Curve of one task along one axis, and the choice of the rows that form it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd

from analysis.arrays import Array, Codes
from analysis.emergence.read import AXES, EXACT, SMOOTH, by_task
from analysis.emergence.statistics.sharpness import Design
from analysis.emergence.statistics.width import JumpGrid
from analysis.records.emergence import Axis
from harness.records.errors import InputError

SAME = 1e-6  # relative difference below which two sizes count as equal


@dataclass(frozen=True)
class Curve:
    """One task × length along one axis.

    Attributes:
        task: name of the task.
        length: length of its problems; 0 if it has none.
        axis: the measure of scale.
        at: value of the axis [sizes], smallest model first: parameters, FLOPs, tokens or nats per token.
        x: position of the sizes in decades [sizes], ascending.
        rows: rows of `Evaluations.frame`, with a column `size` that indexes `at`.
    """

    task: str
    length: float
    axis: Axis
    at: Array
    x: Array
    rows: pd.DataFrame

    @property
    def n_sizes(self) -> int:
        return len(self.at)

    @cached_property
    def n_seeds(self) -> Array:
        """Seeds by size, as floats: they are weights of the fits."""
        return np.asarray(self.rows.groupby("size").size().to_numpy(float))

    @property
    def design(self) -> Design:
        """Positions and weights of the sizes, for the sup-F test."""
        return _design(*self._sizes)

    @property
    def jump_grid(self) -> JumpGrid:
        """Jumps on smooth laws for these sizes."""
        return _jump_grid(*self._sizes)

    @property
    def _sizes(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return tuple(self.x.tolist()), tuple(self.n_seeds.tolist())

    def mean(self, column: str) -> Array:
        """Return the mean over seeds by size; NaN for a size without values."""
        return np.asarray(self.rows.groupby("size")[column].mean().to_numpy(float))

    @cached_property
    def ln_nll(self) -> Array:
        """Mean of ln NLL over the seeds of each size: the unit of analysis of every test."""
        return np.asarray(np.log(self.rows[SMOOTH]).groupby(self.rows["size"]).mean().to_numpy(float))

    @property
    def has_exact(self) -> bool:
        """Whether every row has exact match."""
        return bool(self.rows[EXACT].notna().all())

    @property
    def chance(self) -> float | None:
        """Exact match of guessing; None if the table does not say."""
        return _only(self.rows["chance_exact"])

    @property
    def chance_nll(self) -> float | None:
        """NLL of guessing, nats per token; None if the table does not say."""
        return _only(self.rows["chance_nll"])

    @property
    def n_items(self) -> int | None:
        """Number of test items; None if the table does not say."""
        found = _only(self.rows["n_items"])
        return None if found is None else int(found)

    @property
    def split(self) -> str | None:
        """`test` for problems held out from training, `seen` for trained ones; None if unknown."""
        known = self.rows["split"].dropna()
        return str(known.iloc[0]) if len(known) else None

    @cached_property
    def seed_sd(self) -> float | None:
        """The pooled standard deviation of ln NLL between seeds; None without repetitions."""
        groups = np.log(self.rows[SMOOTH]).groupby(self.rows["size"])
        freedom = int((groups.size() - 1).sum())
        if freedom < 1:
            return None
        return float(np.sqrt(((groups.size() - 1) * groups.var().fillna(0)).sum() / freedom))


@lru_cache(maxsize=64)
def _design(x: tuple[float, ...], n_seeds: tuple[float, ...]) -> Design:
    """Return the design of these sizes, which many tasks share; its bases are computed once."""
    return Design(np.array(x), np.array(n_seeds))


@lru_cache(maxsize=64)
def _jump_grid(x: tuple[float, ...], n_seeds: tuple[float, ...]) -> JumpGrid:
    return JumpGrid(_design(x, n_seeds))


def _only(column: pd.Series) -> float | None:
    """Return the value that all rows of a curve share."""
    known = column.dropna()
    return float(known.iloc[0]) if len(known) else None


def curves(frame: pd.DataFrame, axis: Axis) -> Iterator[Curve]:
    """Yield the curve of every task × length along `axis`; rows without a positive NLL are left out.

    Raises:
        InputError: the axis does not vary.
    """
    chosen = on_axis(frame, axis)
    span = _span(chosen)
    for task, length, rows in by_task(chosen):
        rows = rows[rows[SMOOTH] > 0]
        if len(rows):
            yield _curve(task, length, axis, rows, span)


def _span(frame: pd.DataFrame) -> float:
    """Return the decades of N, or else of C, that the models span; the unit of the loss axis."""
    for axis in ("N", "C"):
        values = frame[axis].dropna()
        if len(values) and values.max() > values.min():
            return float(np.log10(values.max() / values.min()))
    return 1.0


def _curve(task: str, length: float, axis: Axis, rows: pd.DataFrame, span: float) -> Curve:
    """Group the rows of one task by size, and place the sizes along the axis."""
    # Seeds of one size share N (or D) exactly, but neither the loss nor, in some tables, C.
    unit = Axis.D if axis == Axis.D else Axis.N if rows["N"].notna().all() else axis
    codes = _codes(rows[unit].to_numpy(float))
    at = rows[axis].groupby(codes).mean().to_numpy(float)
    x = np.log10(at)
    if axis == Axis.LOSS:
        # The loss falls as models grow: turned round, and scaled to decades of N at the average rate.
        x = (at.max() - at) / max(float(np.ptp(at)), 1e-12) * span
    order = np.argsort(x)
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order))
    placed = rows.assign(size=rank[codes]).sort_values(["size", "seed"], kind="stable")
    return Curve(task, length, axis, at[order], x[order], placed)


def _codes(values: Array) -> Codes:
    """Return an integer label for each value, ascending from 0; nearly equal values share one."""
    order = np.argsort(values)
    jumps = np.diff(values[order]) > SAME * np.abs(values[order][1:])
    codes = np.empty(len(values), np.int64)
    codes[order] = np.concatenate([[0], np.cumsum(jumps)])
    return codes


def varied_axes(frame: pd.DataFrame) -> dict[Axis, str]:
    """Return the axes that the table varies, each with the quantity that stays constant along it."""
    found = {}
    for axis in AXES:
        known = frame[axis].notna().all()
        if not known or frame[axis].nunique() < 2:
            continue
        try:
            rows = on_axis(frame, axis)
        except InputError:
            continue
        if rows[axis].nunique() > 1:
            found[axis] = constant(rows, axis)
    return found


def on_axis(frame: pd.DataFrame, axis: Axis) -> pd.DataFrame:
    """Return the rows of one line of runs along `axis`.

    Along N, C and the loss every size counts at the largest D that all sizes share, or else at its own
    largest D. Along D the size with the most token counts is taken, and of several the largest.

    Raises:
        InputError: the axis does not vary.
    """
    if frame[axis].isna().any() or frame[axis].nunique() < 2:
        raise InputError(f"this table does not vary {axis}: use one of the axes {_varied(frame)}", "axis")
    if axis == Axis.D:
        counts = frame.groupby("N", dropna=False)["D"].nunique()
        if counts.max() < 2:
            raise InputError(
                f"no size was trained on several token counts: use one of the axes {_varied(frame)}", "axis"
            )
        best = counts[counts == counts.max()].index.max()
        return frame if pd.isna(best) else frame[frame["N"] == best]
    if frame["D"].isna().any() or frame["N"].isna().any():
        return frame
    shared = set.intersection(*(set(rows["D"]) for _, rows in frame.groupby("N")))
    if shared:
        return frame[frame["D"] == max(shared)]
    return frame[frame["D"] == frame.groupby("N")["D"].transform("max")]


def _varied(frame: pd.DataFrame) -> str:
    return ", ".join(a for a in AXES if frame[a].nunique() > 1) or "none: add runs"


def constant(rows: pd.DataFrame, axis: Axis) -> str:
    """Return the quantity that stays constant along the axis, in words."""
    if axis == Axis.D:
        n = rows["N"].dropna().unique()
        return f"N = {n[0]:.4g}" if len(n) == 1 else "nothing that the table names"
    d = rows["D"].dropna()
    if d.empty:
        return "nothing that the table names"
    if d.nunique() == 1:
        return f"D = {d.iloc[0]:.4g} tokens at every size"
    return f"nothing: D grows from {d.min():.4g} to {d.max():.4g} tokens along with N"
