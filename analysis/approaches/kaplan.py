"""Kaplan's one-axis power laws: L(N) at the largest D, L(D) at the largest N, L(C) along the lower edge.

Each with and without an irreducible loss. The fits rest on a handful of rows and carry no interval.

References: Kaplan et al. 2020, arXiv:2001.08361, section 3, exponents .076, .095 and .050.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analysis.approaches.envelope import lower_hull
from analysis.approaches.parametric import fit_law
from analysis.arrays import Array, Mask
from analysis.laws import find_law
from analysis.result import LEVEL, Fit
from analysis.tables.table import LossTable
from harness.records.errors import InputError

PUBLISHED = {"kaplan_n": 0.076, "kaplan_d": 0.095, "kaplan_c": 0.050}
WANTED_VALUES = 5  # of the free axis on the line; with fewer lines than that, as many as there are
SAME = 0.05  # tokens this close in log D count as one token count


@dataclass(frozen=True)
class Line:
    """The rows on which a one-axis law is fitted, in words and as a mask."""

    law: str
    constant: str
    value: float | None
    rows: Mask


def fit_kaplan(
    table: LossTable,
    estimator: str = "huber",
    level: float = LEVEL,
    seed: int = 0,
    axes: str = "ndc",
    **_resampling: int,
) -> list[Fit]:
    """Fit L(N), L(D) and L(C), each without and with an offset; laws with too few rows are left out.

    `axes` names the wanted laws by their axes, of N, D and C.
    `resamples`, which every approach is given, has no use here: bootstraps of five rows do not cover.

    The extra keys of the JSON: `constant` (what is constant on the line), `constant_value`, and
    `published_exponent` (Kaplan et al.).

    Raises:
        InputError: no line has enough rows for any law.
    """
    fits = []
    for line in lines(table):
        if line.law[-1] not in axes:
            continue
        for law in (line.law, f"{line.law}_offset"):
            if _distinct(table, line) <= len(find_law(law).params):
                continue
            fit = fit_law(table.select(line.rows), law, estimator, 0, level, seed)
            extra = {
                **fit.extra,
                "constant": line.constant,
                "constant_value": line.value,
                "published_exponent": PUBLISHED[line.law],
            }
            fits.append(replace(fit, approach="kaplan", extra=extra))
    if not fits:
        raise InputError(
            "expected at least three sizes at one token count, three token counts at one size or three "
            "points on the lower edge of the losses: add runs, or use --approach parametric"
        )
    return fits


def lines(table: LossTable) -> list[Line]:
    """The three lines of the table: largest D, largest N, lower edge."""
    groups = np.round(np.log(table.d) / SAME)
    tokens = _line_with_most(groups, table.n)
    largest = _line_with_most(table.n, groups)
    edge = np.zeros(len(table), bool)
    edge[lower_hull(np.log(table.c), np.log(table.loss))] = True
    return [
        Line("kaplan_n", "tokens", float(np.median(table.d[tokens])), tokens),
        Line("kaplan_d", "parameters", float(np.median(table.n[largest])), largest),
        Line("kaplan_c", "lower edge of the losses against compute", None, edge),
    ]


def _line_with_most(constant: Array, free: Array) -> Mask:
    """Rows at the largest constant value that has WANTED_VALUES of the free one, or the most there are."""
    values = np.unique(constant)
    found = np.array([len(np.unique(free[constant == value])) for value in values])
    wanted = min(WANTED_VALUES, int(found.max()))
    return np.asarray(constant == values[found >= wanted].max())


def _distinct(table: LossTable, line: Line) -> int:
    axis = {"kaplan_n": table.n, "kaplan_d": table.d, "kaplan_c": table.c}[line.law]
    return len(np.unique(axis[line.rows]))
