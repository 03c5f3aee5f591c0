"""Answers of every law at many budgets, computed beforehand: a page without Python reads between them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.approaches.slices import rows_by_flops
from analysis.arrays import Array, Mask
from analysis.averaging.average import LawAverage, average_laws
from analysis.averaging.quantities import averaged_frontier, averaged_irreducible, frontiers_by_law
from analysis.frontier import table_cost
from analysis.intervals import LEVEL
from analysis.laws import family
from analysis.prediction.demand import DemandTable, demand_table
from analysis.prediction.predictor import Predictor
from analysis.records.averages import AveragedRecord
from analysis.records.frontier import FrontierRow
from analysis.tables.table import LossTable
from harness.records.errors import InputError
from harness.records.number_text import power_of_ten, si

# Over the measured range and this factor beyond the largest run; a page says from where it extrapolates.
BEYOND = 1000.0
STEPS = 6  # budgets of a decade: read between two in logs, N* is off by less than a thousandth
# Redrawn losses of a law at most, and the fewest and the most draws, whatever a file asks for.
DRAWN_ROWS, FEWEST, MOST = 400_000, 40, 1000
FEWEST_PARTS, MOST_PARTS = 4, 8  # sizes or budgets of a table of which each is left out once
LEFT_OUT_DRAWS = 100  # of each law
FEWEST_OF_SLICE = 3  # sizes at one budget; with fewer the budgets of a grid are bands of compute
BANDS = 2  # of a decade of compute
# Inference tokens, in multiples of D*, for which the cheapest run is known: none, and evenly spaced in
# ln(FIRST_DEMAND + r) up to MOST_DEMAND. At every DEMAND_EVERY-th budget, two decades apart: the factors on
# N* and D* hardly change with the budget.
FIRST_DEMAND, MOST_DEMAND, DEMANDS, DEMAND_EVERY = 0.1, 1e4, 12, 2 * STEPS
# Sizes and tokens of a surface: around the runs, and as far beyond them as BEYOND times the compute leads if
# three quarters of it go into one of the two. On the cubic between them a loss is off by a ten-thousandth.
AROUND, GROWTH, GRID_STEPS, MOST_OF_GRID = 5.0, BEYOND**0.75, 5, 40


@dataclass(frozen=True)
class LawAnswers:
    """What one law, or all laws together, say about budgets and about the runs.

    Attributes:
        name: of the law, without the constants of its corpus; None for all laws by weight.
        weight: share of the law in the average; None for all laws together, and with a part left out.
        frontier: the best use of each budget, ascending.
        predicted: loss of the runs of the table, nats per token [rows].
        surface: loss over the grid of sizes and tokens, nats per token [sizes, tokens].
        irreducible: E, nats per token.
        demand: cheapest runs with inference at some of the budgets and at `demands` times their D*.
        part: "size" or "budget" if the law did not see the runs of one; None if it saw all.
        left_out: name of that size or budget.
        unseen: those runs [rows]; None if it saw all.
    """

    name: str | None
    weight: float | None
    frontier: tuple[FrontierRow, ...]
    predicted: Array
    surface: Array
    irreducible: AveragedRecord
    demand: DemandTable
    part: str | None = None
    left_out: str | None = None
    unseen: Mask | None = None


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
    average = weighed(table, laws, resamples=resamples, seed=seed)
    together, alone = frontiers_by_law(average, table, budgets(table), level)
    rest = {entry.name: average.alone(entry.name) for entry in average.laws}
    each = [
        _answers(rest[entry.name], table, alone[entry.name], level, name=entry.name, weight=entry.weight)
        for entry in average.laws
    ]
    return _answers(average, table, together, level), *each


def weighed(table: LossTable, laws: Sequence[str], *, resamples: int, seed: int = 0) -> LawAverage:
    """Weigh laws on a table with as many redrawn estimates as a page takes; arguments as above."""
    draws = max(min(resamples, DRAWN_ROWS // len(table), MOST), FEWEST)
    return average_laws(table, laws, resamples=draws, seed=seed)


def answers_with_a_part_left_out(
    table: LossTable, laws: Sequence[str], *, resamples: int, level: float = LEVEL, seed: int = 0
) -> tuple[LawAnswers, ...]:
    """Answer over the laws, weighed without the runs of each size in turn, then of each budget.

    There are none if sizes or budgets are too few to leave one out, or so many that none weighs much.
    Predictions are for all runs, so those of the part left out test the law.

    Args:
        table: the fitted rows.
        laws: names of laws that the table can determine.
        resamples: redrawn estimates of each law, LEFT_OUT_DRAWS at most.
        level: share of the intervals.
        seed: of starts and draws.
    """
    sizes = {_size_name(table, size): table.n == size for size in np.unique(table.n)}
    found = []
    for part, each in (("size", sizes), ("budget", budget_parts(table))):
        if not FEWEST_PARTS <= len(each) <= MOST_PARTS:
            continue
        for name, unseen in each.items():
            # Some law of many parameters may need every part.
            with contextlib.suppress(InputError):
                draws = min(resamples, LEFT_OUT_DRAWS)
                average = average_laws(table.select(~unseen), laws, resamples=draws, seed=seed)
                frontier = averaged_frontier(average, table, budgets(table), level)
                known = _answers(average, table, frontier, level)
                found.append(replace(known, part=part, left_out=name, unseen=unseen))
    return tuple(found)


def budget_parts(table: LossTable) -> dict[str, Mask]:
    """Return {name: rows} of the budgets of a table, smallest first.

    They are its IsoFLOP budgets if all rows lie on such, else bands of compute of half a decade.
    """
    rows = [np.isin(np.arange(len(table)), own) for own in rows_by_flops(table.c)]
    if all(len(np.unique(table.n[own])) >= FEWEST_OF_SLICE for own in rows):
        return {f"C near {power_of_ten(float(np.median(table.c[own])))}": own for own in rows}
    first, last = float(table.c.min()), float(table.c.max())
    n_bands = max(1, round(BANDS * np.log10(last / first)))
    edges = np.geomspace(first, last, n_bands + 1)
    band = np.clip(np.searchsorted(edges, table.c, side="right") - 1, 0, n_bands - 1)
    return {
        f"C from {power_of_ten(edges[i])} to {power_of_ten(edges[i + 1])}": band == i for i in np.unique(band)
    }


def demands() -> Array:
    """Return the inference tokens for which the cheapest runs are computed, in multiples of D*."""
    top = np.log1p(MOST_DEMAND / FIRST_DEMAND)
    return np.asarray(FIRST_DEMAND * np.expm1(np.linspace(0, top, DEMANDS)))


def _answers(
    average: LawAverage,
    table: LossTable,
    frontier: tuple[FrontierRow, ...],
    level: float,
    *,
    name: str | None = None,
    weight: float | None = None,
) -> LawAnswers:
    known = frontier[::DEMAND_EVERY]
    n, d, flops = (np.array([getattr(row, field) for row in known]) for field in ("n_opt", "d_opt", "flops"))
    asked = Predictor(average, table, table_cost(table), level)
    demand = demand_table(asked, n, d, flops, d[:, None] * demands())
    surface = _over_grid(average, table)
    e = averaged_irreducible(average, level)
    predicted = average.new_runs(table.n, table.d, table.c)[0]
    return LawAnswers(family(name) if name else None, weight, frontier, predicted, surface, e, demand)


def _size_name(table: LossTable, size: float) -> str:
    """Return the rung of a size, or its count if rows of the size have several names or none."""
    rungs = set(np.array(table.rung)[table.n == size].tolist()) if table.rung else set()
    return str(rungs.pop()) if len(rungs) == 1 else f"{si(size)} parameters"


def budgets(table: LossTable) -> Array:
    """Return the budgets that are answered [flops], FLOPs."""
    first, last = float(table.c.min()), float(table.c.max()) * BEYOND
    return np.geomspace(first, last, int(STEPS * np.log10(last / first)) + 2)


def grid(table: LossTable) -> tuple[Array, Array]:
    """Return the sizes and the tokens over which surfaces are computed, evenly spaced in logs."""

    def spaced(values: Array) -> Array:
        first, last = float(values.min()) / AROUND, float(values.max()) * GROWTH
        return np.geomspace(first, last, min(int(GRID_STEPS * np.log10(last / first)) + 2, MOST_OF_GRID))

    return spaced(table.n), spaced(table.d)


def _over_grid(average: LawAverage, table: LossTable) -> Array:
    """Return the median loss of the draws for each size and number of tokens of the grid [sizes, tokens]."""
    n, d = (each.ravel() for each in np.meshgrid(*grid(table), indexing="ij"))
    loss = average.new_runs(n, d, table_cost(table)(n) * d)[0]
    return loss.reshape([len(each) for each in grid(table)])
