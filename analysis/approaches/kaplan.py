"""Kaplan's one-axis power laws: L(N) at the largest D, L(D) at the largest N, L(C) along the lower edge.

Each law is fitted with and without an irreducible loss. The fits rest on few rows and have no intervals.

References: Kaplan et al. 2020, arXiv:2001.08361, section 3, exponents .076, .095 and .050.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from analysis.approaches.envelope import lower_hull
from analysis.approaches.parametric import fit_law
from analysis.arrays import Array, Mask, groups
from analysis.intervals import LEVEL
from analysis.laws import find_law
from analysis.records.fit import KaplanRecord
from analysis.result import Fit
from analysis.tables.table import LossTable, TableLike, as_table
from harness.records.errors import InputError

PUBLISHED = {"kaplan_n": 0.076, "kaplan_d": 0.095, "kaplan_c": 0.050}
WANTED_VALUES = 5  # of the free axis on the line; with fewer lines than that, as many as there are
SAME = 0.05  # tokens this close in log D count as one token count


@dataclass(frozen=True)
class Line:
    """The rows on which a one-axis law is fitted: what is constant there, and a mask."""

    law: str
    constant: str
    value: float | None
    rows: Mask


def fit_kaplan(
    table: TableLike,
    *,
    mapping: Mapping[str, str] | None = None,
    estimator: str = "huber",
    level: float = LEVEL,
    seed: int = 0,
    axes: str = "ndc",
) -> list[Fit]:
    """Fit the power laws L(N), L(D) and L(C), each without and with an offset.

    Args:
        table: finished runs: a LossTable, or a frame or path that `load_table` reads.
        mapping: columns of a foreign table, as for `load_table`.
        estimator: as for `fit_law`.
        level: share that the result states; the fits have no intervals, because bootstraps of five rows do
            not cover.
        seed: of the random starts.
        axes: wanted laws by their axes: letters out of n, d and c.

    Returns:
        Up to six fits; a law with too few rows is left out. `kaplan` says what is constant along the line.

    Raises:
        InputError: no line has enough rows for any law.

    References: Kaplan et al. 2020, arXiv:2001.08361, equations 1.1 to 1.3.

    Examples:
        >>> import analysis as sl, numpy as np, pandas as pd
        >>> n = np.geomspace(1e6, 1e9, 7)
        >>> runs = pd.DataFrame({"N": n, "D": 1e10, "loss": (8.8e13 / n) ** 0.076})
        >>> print(f"L(N) falls as N^-{sl.fit_kaplan(runs, axes='n')[0].params['alpha']:.3f}")
        L(N) falls as N^-0.076
    """
    table = as_table(table, mapping, axes="")
    fits = []
    for line in lines(table):
        if line.law[-1] not in axes or line.law[-1] in table.absent:
            continue
        if line.law == "kaplan_c" and not _has_edge(table):
            continue
        for law in (line.law, f"{line.law}_offset"):
            if _distinct(table, line) <= len(find_law(law).params):
                continue
            fit = fit_law(
                table.select(line.rows), law, estimator=estimator, resamples=0, level=level, seed=seed
            )
            record = KaplanRecord(line.constant, line.value, PUBLISHED[line.law])
            fits.append(replace(fit, approach="kaplan", kaplan=record))
    if not fits:
        raise InputError(
            "expected at least three sizes at one token count, three token counts at one size or three "
            "points on the lower edge of the losses: add runs, or use the parametric approach",
            "approach",
        )
    return fits


def lines(table: LossTable) -> list[Line]:
    """Return the three lines of a table: largest D, largest N, lower edge."""
    alike = np.round(np.log(table.d) / SAME)
    tokens = _line_with_most(alike, table.n)
    largest = _line_with_most(table.n, alike)
    edge = np.zeros(len(table), bool)
    edge[lower_hull(np.log(table.c), np.log(table.loss))] = True
    return [
        Line("kaplan_n", "tokens", _constant(table, "d", table.d[tokens]), tokens),
        Line("kaplan_d", "parameters", _constant(table, "n", table.n[largest]), largest),
        Line("kaplan_c", "lower edge of the losses against compute", None, edge),
    ]


def _constant(table: LossTable, axis: str, values: Array) -> float | None:
    return None if axis in table.absent else float(np.median(values))


def _has_edge(table: LossTable) -> bool:
    """Return whether runs compete at one compute; with one size, or one token count, C follows the other."""
    if "c" in table.absent:
        return False
    return bool(table.absent) or bool(np.ptp(table.n) > 0 and np.ptp(np.log(table.d)) >= SAME)


def _line_with_most(constant: Array, free: Array) -> Mask:
    """Return the rows at the largest constant value with WANTED_VALUES free values, or with the most."""
    values = np.unique(constant)
    found = np.array([len(np.unique(free[rows])) for rows in groups(constant)])
    wanted = min(WANTED_VALUES, int(found.max()))
    return np.asarray(constant == values[found >= wanted].max())


def _distinct(table: LossTable, line: Line) -> int:
    axis = {"kaplan_n": table.n, "kaplan_d": table.d, "kaplan_c": table.c}[line.law]
    return len(np.unique(axis[line.rows]))
