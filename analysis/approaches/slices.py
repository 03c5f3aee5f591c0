"""IsoFLOP slices of a loss table: the sizes seen at one training budget.

A slice is a linear map from the log losses of all rows to log losses at one budget. So the noise of a row
reaches every slice that uses the row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.sparse import csr_array

from analysis.arrays import Array, Index, groups

TOLERANCE = 0.05  # half width of a budget in log C
SPLINE_REACH = 40  # cells on each side: what a cubic spline takes from farther ones is below rounding
SHIFT_FLOOR = 1e-9  # rows this close to the budget in log C are on it


@dataclass(frozen=True)
class Slice:
    """Sizes at one budget; the slice's log losses are `weights @ log(loss)[rows] + shift`.

    Attributes:
        log_c: log of the budget.  log_n, log_d: of the sizes [sizes].
        weights: [sizes, rows of the slice].  rows: their positions in the table.  shift: [sizes].
    """

    log_c: float
    log_n: Array
    log_d: Array
    weights: csr_array
    rows: Index
    shift: Array

    def log_loss(self, log_loss: Array) -> Array:
        """Map log losses [rows of the table] to the slice [sizes]."""
        return self.noise(log_loss) + self.shift

    def noise(self, shocks: Array) -> Array:
        """Map noise of log losses [rows of the table(, draws)] to the slice [sizes(, draws)]."""
        return np.asarray(self.weights @ shocks[self.rows])


def rows_by_flops(c: Array, tolerance: float = TOLERANCE) -> list[Index]:
    """Group rows into budgets: windows of ± `tolerance` in log C, opened from the smallest C upwards."""
    order = np.argsort(c, kind="stable")
    log_c = np.log(c[order])
    budgets: list[list[int]] = []
    start = -np.inf
    for row, value in zip(order, log_c, strict=True):
        if value - start > 2 * tolerance + SHIFT_FLOOR:
            budgets.append([])
            start = value
        budgets[-1].append(int(row))
    return [np.array(rows) for rows in budgets]


def measured_slices(n: Array, d: Array, c: Array, loss: Array, tolerance: float = TOLERANCE) -> list[Slice]:
    """Return one slice a budget from rows that were trained at that budget.

    A row off the centre of its budget by δ in log C is moved there along dlog L/dlog C of the lowest losses.
    By the envelope theorem that is also the slope at fixed N, exactly so at the optimum. Rows of one size at
    one budget (seeds) are averaged.
    """
    budgets = rows_by_flops(c, tolerance)
    slope = _frontier_slope(c, loss, budgets)
    return [_measured(n, d, c, rows, slope) for rows in budgets]


def _frontier_slope(c: Array, loss: Array, budgets: list[Index]) -> float:
    centres = np.array([np.log(c[rows]).mean() for rows in budgets])
    lowest = np.array([np.log(loss[rows]).min() for rows in budgets])
    if len(budgets) < 2:
        return 0.0
    return float(np.polyfit(centres, lowest, 1)[0])


def _measured(n: Array, d: Array, c: Array, rows: Index, slope: float) -> Slice:
    centre = float(np.log(c[rows]).mean())
    by_size = groups(n[rows])
    sizes = n[rows][[each[0] for each in by_size]]
    shift, log_d = np.zeros(len(sizes)), np.zeros(len(sizes))
    for i, own in enumerate(by_size):
        same = rows[own]
        off = centre - np.log(c[same]).mean()
        shift[i] = slope * off if abs(off) > SHIFT_FLOOR else 0.0
        log_d[i] = np.log(d[same]).mean() + off
    return Slice(centre, np.log(sizes), log_d, _averages(by_size), rows, shift)


def _averages(members: list[Index]) -> csr_array:
    """Return the matrix [groups, rows] that averages the rows of each group; each row is in one group."""
    sizes = np.array([len(rows) for rows in members])
    shape = (len(members), int(sizes.sum()))
    return csr_array((np.repeat(1 / sizes, sizes), np.concatenate(members), np.cumsum([0, *sizes])), shape)


@dataclass(frozen=True)
class _Size:
    """Cells of one size along C, and its rows of the table.

    Attributes:
        log_c, log_d: of the cells [cells].  rows: positions in the table.
        cell: cell of every row [rows].  weight: share of the row in its cell [rows].
    """

    log_n: float
    log_c: Array
    log_d: Array
    rows: Index
    cell: Index
    weight: Array

    def brackets(self, log_c: float) -> bool:
        return bool(self.log_c[0] <= log_c <= self.log_c[-1])

    def shares(self, log_c: Array) -> Array:
        """Return the weights of the cells [budgets, cells] that interpolate log loss to these budgets."""
        found = np.zeros((len(log_c), len(self.log_c)))
        for first, budgets in _windows(self.log_c, log_c):
            x = self.log_c[first : first + 2 * SPLINE_REACH]
            spline = make_interp_spline(x, np.eye(len(x)), k=min(3, len(x) - 1))
            found[budgets, first : first + len(x)] = spline(log_c[budgets])
        return found


def _windows(cells: Array, budgets: Array) -> list[tuple[int, Index]]:
    """Return the first cell to interpolate from, and the budgets there; one entry unless cells are many."""
    first = np.clip(np.searchsorted(cells, budgets) - SPLINE_REACH, 0, max(len(cells) - 2 * SPLINE_REACH, 0))
    return [(int(first[rows[0]]), rows) for rows in groups(first)]


def interpolated_slices(n: Array, d: Array, c: Array, min_sizes: int, per_doubling: int = 2) -> list[Slice]:
    """Slice a rectangle of N × D at budgets between its cells, interpolating log L over log C at each size.

    Budgets are the multiples of 2^(1/`per_doubling`) at which at least `min_sizes` sizes are bracketed.
    Sizes enter and leave as C changes, so the exponent of the optima is biased: see `isoflop`.
    """
    sizes = [_size(n, d, c, rows) for rows in groups(n)]
    sizes = [size for size in sizes if len(size.log_c) >= 2 and np.all(np.diff(size.log_c) > 0)]
    step = np.log(2) / per_doubling
    first, last = np.ceil(np.log(c.min()) / step), np.floor(np.log(c.max()) / step)
    pieces: dict[float, list[tuple[_Size, Array]]] = {
        log_c: [] for log_c in (step * np.arange(first, last + 1)).tolist()
    }
    for size in sizes:
        inside = [log_c for log_c in pieces if size.brackets(log_c)]
        if inside:
            for log_c, share in zip(inside, size.shares(np.array(inside)), strict=True):
                pieces[log_c].append((size, share))
    return [_interpolated(log_c, found) for log_c, found in pieces.items() if len(found) >= min_sizes]


def _size(n: Array, d: Array, c: Array, rows: Index) -> _Size:
    tokens, cell, many = np.unique(d[rows], return_inverse=True, return_counts=True)
    weight = 1 / many[cell]
    log_c = np.bincount(cell, weight * np.log(c[rows])).astype(float)
    return _Size(float(np.log(n[rows[0]])), log_c, np.log(tokens), rows, cell, weight)


def _interpolated(log_c: float, pieces: list[tuple[_Size, Array]]) -> Slice:
    ends = np.cumsum([0, *(len(size.rows) for size, _ in pieces)])
    weights = np.concatenate([share[size.cell] * size.weight for size, share in pieces])
    return Slice(
        log_c,
        np.array([size.log_n for size, _ in pieces]),
        np.array([float(share @ size.log_d) for size, share in pieces]),
        csr_array((weights, np.arange(len(weights)), ends), (len(pieces), len(weights))),
        np.concatenate([size.rows for size, _ in pieces]),
        np.zeros(len(pieces)),
    )
