"""Rollout: fit the cells below a compute and predict the cells above it, for every compute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.arrays import Array, Index, Mask, groups
from analysis.laws import find_law
from analysis.records.fits import RolloutRow
from analysis.solve.problem import Problem
from analysis.tables.table import LossTable

# Forecasts rest on few cells whose seed noise is many times Huber's δ. There that loss is all but least
# absolute deviations and wastes a third of the information. Most of the noise is common to the points of a
# trunk, so slopes along D are known better than levels.
FORECAST_ESTIMATOR = "gls"
SPARE_CELLS = 2  # cells beyond the number of parameters that a cut must leave to the fit
STARTS = 16
MAX_PREDICTED = 2_000  # cells above one compute; a table with more of them is a table of curves

MAX_CUTS = 16  # cuts of a contest on a table of separate runs, each with a compute of its own


@dataclass(frozen=True, slots=True)
class Rolled:
    """A cell predicted from the cells with C up to `c_fit`.

    Attributes:
        law: its name.  c_fit: largest fitted C, FLOPs.  n_fit: fitted cells.
        n, d, c: size (parameters), tokens and FLOPs of the predicted cell.
        loss: measured, geometric mean over seeds, nats per token.  predicted: nats per token.
        row: the first row of the cell in the table.
    """

    law: str
    c_fit: float
    n_fit: int
    n: float
    d: float
    c: float
    loss: float
    predicted: float
    row: int

    @property
    def factor(self) -> float:
        """C over the largest fitted C."""
        return self.c / self.c_fit

    @property
    def error(self) -> float:
        """ln(loss/predicted)."""
        return float(np.log(self.loss) - np.log(self.predicted))


def cuts(table: LossTable, laws: Sequence[str]) -> Array:
    """Return the computes that leave each law two fitted cells more than parameters, and cells to predict."""
    need = max(find_law(law).n_free for law in laws) + SPARE_CELLS
    of_cell = np.sort([table.c[rows].max() for rows in groups(table.cell)])
    fitted = np.searchsorted(of_cell, of_cell, side="right")
    enough = (fitted >= need) & (of_cell < of_cell[-1])
    rising = np.argsort(table.c)
    below = np.searchsorted(table.c[rising], of_cell, side="right") - 1
    for axis in (table.n[rising], table.d[rising]):
        varies = np.maximum.accumulate(axis) > np.minimum.accumulate(axis)
        enough &= varies[below]
    return np.unique(of_cell[enough])


def thinned(at: Array) -> Array:
    """Return MAX_CUTS of the computes of cuts at most, evenly by rank."""
    taken = min(len(at), MAX_CUTS)
    return np.asarray(at[((np.arange(taken) + 0.5) * len(at) / max(taken, 1)).astype(int)])


def rollout(
    table: LossTable, law: str, at: Array | None = None, seed: int = 0, estimator: str = FORECAST_ESTIMATOR
) -> list[Rolled]:
    """Fit the rows with C ≤ c and predict the other cells, for every c of `at`; all fits run as one batch.

    Args:
        table: finished runs; several seeds of a cell count as one, by their geometric mean.
        law: name of the law.
        at: computes c, FLOPs; all usable ones (`cuts`) by default.
        seed: of the starts.
        estimator: as for `fit_law`.
    """
    chosen = cuts(table, [law]) if at is None else at
    if len(chosen) == 0:
        return []
    found = find_law(law)
    problem = Problem(found, table, estimator)
    starts = found.starts(table, np.random.default_rng(seed), STARTS)
    below = (table.c <= chosen[:, None] * (1 + 1e-12)) * problem.weights
    solved = problem.solve(np.tile(starts, (len(chosen), 1)), np.repeat(below, STARTS, axis=0))
    lowest = solved.objective.reshape(len(chosen), STARTS).argmin(axis=1) + STARTS * np.arange(len(chosen))
    rolled: list[Rolled] = []
    for c_fit, used, theta in zip(chosen, below > 0, solved.theta[lowest], strict=True):
        n_fit = len(np.unique(table.cell[used]))
        rolled += _predicted(problem, theta, float(c_fit), n_fit, _cells_above(table, used))
    return rolled


def rollout_rows(table: LossTable, rolled: Sequence[Rolled]) -> list[RolloutRow]:
    """Return the predictions of a rollout as rows of fits.json."""
    return [
        RolloutRow(
            law=entry.law,
            c_fit=entry.c_fit,
            n_fit=entry.n_fit,
            factor=entry.factor,
            n_tokens=entry.d,
            rung=table.rung[entry.row] if table.rung else None,
            n_params=entry.n,
            loss=entry.loss,
            predicted=entry.predicted,
            low=None,
            high=None,
            error=entry.error,
        )
        for entry in rolled
    ]


def rollout_rms(rolled: Sequence[Rolled]) -> float | None:
    """Return the pooled RMS of log-loss errors; None without a prediction."""
    return float(np.sqrt(np.mean([entry.error**2 for entry in rolled]))) if rolled else None


def _cells_above(table: LossTable, used: Mask) -> list[Index]:
    """Return the row numbers of every cell without a fitted row; of many cells, some spread evenly."""
    fitted = np.bincount(table.cell[used], minlength=table.n_cells) > 0
    above = np.flatnonzero(~fitted[table.cell])
    cells = [above[rows] for rows in groups(table.cell[above])]
    if len(cells) <= MAX_PREDICTED:
        return cells
    return [cells[i] for i in np.linspace(0, len(cells) - 1, MAX_PREDICTED).round().astype(int)]


def _predicted(
    problem: Problem, theta: Array, c_fit: float, n_fit: int, cells: Sequence[Index]
) -> Iterator[Rolled]:
    """Yield the prediction of every cell, given by its rows."""
    table, law = problem.table, problem.law.name
    first = np.array([rows[0] for rows in cells])
    unique = None if table.unique_d is None else table.unique_d[first]
    predicted = problem.law.value(theta, table.n[first], table.d[first], table.c[first], unique)
    log_loss = np.log(table.loss)
    for rows, row, expected in zip(cells, first.tolist(), predicted.tolist(), strict=True):
        loss = float(np.exp(np.mean(log_loss[rows])))
        n, d, c = float(table.n[row]), float(table.d[row]), float(table.c[row])
        yield Rolled(law, c_fit, n_fit, n, d, c, loss, expected, row)
