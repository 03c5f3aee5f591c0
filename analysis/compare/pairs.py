"""Rows of two arms that differ in nothing but the recipe: the same size, token count and seed.

What such rows have in common cancels in their difference: the lack of fit of a law at that cell, the order of
the data, and part of the noise of a seed.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.arrays import Array, Codes, Index
from analysis.tables.table import LossTable

SHARED = 0.5  # of the cells of the smaller arm that the other must have for rows to be paired
FEWEST_CELLS = 4  # that are paired
SAME_LADDER = 2.0  # sizes of equal rank are one rung if they differ by less than this factor


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows [pairs].

    Attributes:
        first: rows of the base arm.  second: rows of the other arm.
        trunk: code of the pair of trunks whose noise a pair shares.
        by_seed: whether both rows of each pair have the same seed.
        n_cells: cells with a pair.
    """

    first: Index
    second: Index
    trunk: Codes
    by_seed: bool
    n_cells: int


def find_pairs(first: LossTable, second: LossTable) -> Pairs | None:
    """Return the pairs of two arms; None if too few cells are the same.

    Seeds that both arms have are paired. If they have none in common, the rows of a cell are paired in order.

    Args:
        first: finished runs of the base arm.
        second: finished runs of the other arm.
    """
    names = _sizes(first, second)
    if names is None:
        return None
    rows = [_by_cell(name, table.d) for name, table in zip(names, (first, second), strict=True)]
    shared = [cell for cell in rows[0] if cell in rows[1]]
    if len(shared) < max(FEWEST_CELLS, SHARED * min(map(len, rows))):
        return None
    by_seed = [_by_seed(first, second, rows[0][cell], rows[1][cell]) for cell in shared]
    seeded = any(by_seed)
    if not seeded:
        by_seed = [
            list(zip(_in_order(first, rows[0][cell]), _in_order(second, rows[1][cell]), strict=False))
            for cell in shared
        ]
    one, two = np.array([pair for found in by_seed for pair in found]).T
    trunks = np.column_stack([first.cluster[one], second.cluster[two]])
    codes = np.unique(trunks, axis=0, return_inverse=True)[1].ravel().astype(np.int64)
    return Pairs(one, two, codes, seeded, sum(bool(found) for found in by_seed))


def _sizes(first: LossTable, second: LossTable) -> tuple[Sequence[Hashable], Sequence[Hashable]] | None:
    """Return a name of the size of each row, equal in both arms for the same rung; None if none is shared.

    Arms may differ in the parameters of a rung. Names of rungs tell it, else equal N, else the rank of N.
    """
    if first.rung is not None and second.rung is not None and set(first.rung) & set(second.rung):
        return first.rung, second.rung
    if np.isin(first.n, second.n).any():
        return first.n.tolist(), second.n.tolist()
    ladders = [np.unique(table.n) for table in (first, second)]
    if len(ladders[0]) != len(ladders[1]):
        return None
    apart = np.abs(np.log(ladders[1] / ladders[0]))
    if (apart >= np.log(SAME_LADDER)).any():
        return None
    ranks = [np.searchsorted(sizes, table.n) for sizes, table in zip(ladders, (first, second), strict=True)]
    return ranks[0].tolist(), ranks[1].tolist()


def _by_cell(names: Sequence[Hashable], d: Array) -> dict[tuple[Hashable, float], list[int]]:
    """Return the rows of each cell of rung and token count."""
    cells: dict[tuple[Hashable, float], list[int]] = {}
    for row, (name, tokens) in enumerate(zip(names, d.tolist(), strict=True)):
        cells.setdefault((name, tokens), []).append(row)
    return cells


def _by_seed(first: LossTable, second: LossTable, one: list[int], two: list[int]) -> list[tuple[int, int]]:
    """Return the pairs of rows of a cell that have the same seed."""
    if first.seed is None or second.seed is None:
        return []
    place = {int(first.seed[row]): row for row in one if first.seed[row] >= 0}
    others = {int(second.seed[row]): row for row in two if second.seed[row] >= 0}
    return [(row, others[seed]) for seed, row in sorted(place.items()) if seed in others]


def _in_order(table: LossTable, rows: list[int]) -> list[int]:
    """Return the rows of a cell by seed, so that every cell pairs the same trunks."""
    seeds = table.seed
    return rows if seeds is None else sorted(rows, key=lambda row: (int(seeds[row]), row))
