"""Answers of every law at many budgets, computed beforehand: a page without Python reads between them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.arrays import Array
from analysis.averaging.average import LawAverage, average_laws
from analysis.averaging.quantities import averaged_frontier, frontiers_by_law
from analysis.intervals import LEVEL
from analysis.laws import family
from analysis.records.frontier import FrontierRow
from analysis.tables.table import LossTable
from harness.records.errors import InputError
from harness.records.number_text import si

# Over the measured range and this factor beyond the largest run; a page says from where it extrapolates.
BEYOND = 1000.0
STEPS = 6  # budgets of a decade: read between two in logs, N* is off by less than a thousandth
# Redrawn losses of a law at most, and the fewest and the most draws, whatever a file asks for.
DRAWN_ROWS, FEWEST, MOST = 400_000, 40, 1000
FEWEST_SIZES, MOST_SIZES = 4, 8  # of a table of which each size is left out once
LEFT_OUT_DRAWS = 200


@dataclass(frozen=True)
class LawAnswers:
    """What one law, or all laws together, say about budgets and about the runs.

    Attributes:
        name: of the law, without the constants of its corpus; None for all laws together.
        weight: share of the law in the average; None for all laws together, and with a size left out.
        frontier: the best use of each budget, ascending.
        predicted: loss of the runs of the table, nats per token [rows].
        left_out: the size whose runs the law did not see; None if it saw all.
    """

    name: str | None
    weight: float | None
    frontier: tuple[FrontierRow, ...]
    predicted: Array
    left_out: str | None = None


def answers_of_laws(
    table: LossTable, laws: Sequence[str], *, resamples: int, level: float = LEVEL, seed: int = 0
) -> tuple[LawAnswers, ...]:
    """Weigh laws on a table and answer for all of them together, then for each by falling weight.

    With the resamples and the seed of a study the sizes and tokens are those of its frontier.

    Args:
        table: the fitted rows.
        laws: names of laws that the table can determine.
        resamples: redrawn estimates of each law, fewer on a long table.
        level: share of the intervals.
        seed: of starts and draws.

    Raises:
        InputError: the table cannot hold one of the laws.
    """
    draws = max(min(resamples, DRAWN_ROWS // len(table), MOST), FEWEST)
    average = average_laws(table, laws, resamples=draws, seed=seed)
    together, alone = frontiers_by_law(average, table, budgets(table), level)
    each = [
        LawAnswers(
            family(entry.name), entry.weight, alone[entry.name], _of_runs(average.alone(entry.name), table)
        )
        for entry in average.laws
    ]
    return LawAnswers(None, None, together, _of_runs(average, table)), *each


def answers_without_each_size(
    table: LossTable, law: str, *, resamples: int, level: float = LEVEL, seed: int = 0
) -> tuple[LawAnswers, ...]:
    """Answer by one law fitted without the runs of each size in turn, smallest first.

    There are none if the sizes are too few to leave one out, or so many that none weighs much. Predictions
    are for all runs, so those of the size left out test the law.

    Args:
        table: the fitted rows.
        law: its name.
        resamples: redrawn estimates of each fit.
        level: share of the intervals.
        seed: of starts and draws.
    """
    sizes = np.unique(table.n)
    if not FEWEST_SIZES <= len(sizes) <= MOST_SIZES:
        return ()
    found = []
    for size in sizes:
        # Some law of many parameters may need every size.
        with contextlib.suppress(InputError):
            seen = table.select(table.n != size)
            average = average_laws(seen, [law], resamples=min(resamples, LEFT_OUT_DRAWS), seed=seed)
            frontier = averaged_frontier(average, table, budgets(table), level)
            name = _size_name(table, size)
            found.append(LawAnswers(family(law), None, frontier, _of_runs(average, table), name))
    return tuple(found)


def _size_name(table: LossTable, size: float) -> str:
    """Return the rung of a size, or its count if rows of the size have several names or none."""
    rungs = set(np.array(table.rung)[table.n == size].tolist()) if table.rung else set()
    return str(rungs.pop()) if len(rungs) == 1 else f"{si(size)} parameters"


def budgets(table: LossTable) -> Array:
    """Return the budgets that are answered [flops], FLOPs."""
    first, last = float(table.c.min()), float(table.c.max()) * BEYOND
    return np.geomspace(first, last, int(STEPS * np.log10(last / first)) + 2)


def _of_runs(average: LawAverage, table: LossTable) -> Array:
    """Return the median loss of the draws for each row of the table [rows]."""
    return average.new_runs(table.n, table.d, table.c)[0]
