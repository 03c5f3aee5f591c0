"""IsoFLOP slices of a loss table: the sizes seen at one training budget.

A slice is a linear map from the log losses of all rows to log losses at one budget. So the noise of a row
reaches every slice that uses the row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import make_interp_spline

from analysis.arrays import Array, Index

TOLERANCE = 0.05  # half width of a budget in log C
SHIFT_FLOOR = 1e-9  # rows this close to the budget in log C are on it


@dataclass(frozen=True)
class Slice:
    """Sizes at one budget; the slice's log losses are `weights @ log(loss of the rows) + shift`."""

    log_c: float
    log_n: Array
    log_d: Array
    weights: Array
    shift: Array

    def log_loss(self, log_loss: Array) -> Array:
        """Map log losses [rows] or [rows, draws] to the slice [sizes] or [sizes, draws]."""
        shift = self.shift if log_loss.ndim == 1 else self.shift[:, None]
        return np.asarray(self.weights @ log_loss + shift)


def rows_by_flops(c: Array, tolerance: float = TOLERANCE) -> list[Index]:
    """Group rows into budgets: windows of ± `tolerance` in log C, opened from the smallest C upwards."""
    order = np.argsort(c, kind="stable")
    log_c = np.log(c[order])
    groups: list[list[int]] = []
    start = -np.inf
    for row, value in zip(order, log_c, strict=True):
        if value - start > 2 * tolerance + SHIFT_FLOOR:
            groups.append([])
            start = value
        groups[-1].append(int(row))
    return [np.array(group) for group in groups]


def measured_slices(n: Array, d: Array, c: Array, loss: Array, tolerance: float = TOLERANCE) -> list[Slice]:
    """Return one slice a budget from rows that were trained at that budget.

    A row off the centre of its budget by δ in log C is moved there along dlog L/dlog C of the lowest losses.
    By the envelope theorem that is also the slope at fixed N, exactly so at the optimum. Rows of one size at
    one budget (seeds) are averaged.
    """
    groups = rows_by_flops(c, tolerance)
    slope = _frontier_slope(c, loss, groups)
    return [_measured(n, d, c, rows, slope) for rows in groups]


def _frontier_slope(c: Array, loss: Array, groups: list[Index]) -> float:
    centres = np.array([np.log(c[rows]).mean() for rows in groups])
    lowest = np.array([np.log(loss[rows]).min() for rows in groups])
    if len(groups) < 2:
        return 0.0
    return float(np.polyfit(centres, lowest, 1)[0])


def _measured(n: Array, d: Array, c: Array, rows: Index, slope: float) -> Slice:
    centre = float(np.log(c[rows]).mean())
    sizes = np.unique(n[rows])
    weights = np.zeros((len(sizes), len(n)))
    shift, log_d = np.zeros(len(sizes)), np.zeros(len(sizes))
    for i, size in enumerate(sizes):
        same = rows[n[rows] == size]
        weights[i, same] = 1 / len(same)
        off = centre - np.log(c[same]).mean()
        shift[i] = slope * off if abs(off) > SHIFT_FLOOR else 0.0
        log_d[i] = np.log(d[same]).mean() + off
    return Slice(centre, np.log(sizes), log_d, weights, shift)


@dataclass(frozen=True)
class _Size:
    """Cells of one size along C, with the map from table rows to cells."""

    log_n: float
    log_c: Array
    log_d: Array
    weights: Array

    def at(self, log_c: float) -> tuple[Array, float]:
        """Return the weights of the rows [rows] and log D of this size, interpolated to a budget."""
        spline = make_interp_spline(self.log_c, np.eye(len(self.log_c)), k=min(3, len(self.log_c) - 1))
        share = np.asarray(spline(log_c))
        return share @ self.weights, float(share @ self.log_d)


def interpolated_slices(n: Array, d: Array, c: Array, min_sizes: int, per_doubling: int = 2) -> list[Slice]:
    """Slice a rectangle of N × D at budgets between its cells, interpolating log L over log C at each size.

    Budgets are the multiples of 2^(1/`per_doubling`) at which at least `min_sizes` sizes are bracketed.
    Sizes enter and leave as C changes, so the exponent of the optima is biased: see `isoflop`.
    """
    sizes = [_size(n, d, c, size) for size in np.unique(n)]
    sizes = [size for size in sizes if len(size.log_c) >= 2]
    step = np.log(2) / per_doubling
    first, last = np.ceil(np.log(c.min()) / step), np.floor(np.log(c.max()) / step)
    slices = []
    for log_c in step * np.arange(first, last + 1):
        present = [size for size in sizes if size.log_c[0] <= log_c <= size.log_c[-1]]
        if len(present) >= min_sizes:
            slices.append(_interpolated(present, float(log_c)))
    return slices


def _size(n: Array, d: Array, c: Array, size: float) -> _Size:
    rows = np.flatnonzero(n == size)
    tokens = np.unique(d[rows])
    weights = np.zeros((len(tokens), len(n)))
    for i, count in enumerate(tokens):
        same = rows[d[rows] == count]
        weights[i, same] = 1 / len(same)
    return _Size(float(np.log(size)), weights @ np.log(c), np.log(tokens), weights)


def _interpolated(present: list[_Size], log_c: float) -> Slice:
    pieces = [size.at(log_c) for size in present]
    return Slice(
        log_c,
        np.array([size.log_n for size in present]),
        np.array([log_d for _, log_d in pieces]),
        np.array([weights for weights, _ in pieces]),
        np.zeros(len(present)),
    )
