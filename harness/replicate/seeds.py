"""Seeds of replications: every seed of a grid moves by the same amount, and no two replications share one."""

from __future__ import annotations

from dataclasses import replace

from harness.config.schema import GridCells, SweepSettings
from harness.config.settings import plain
from harness.config.values import typed
from harness.grid.cells import DEFAULT_SEED, chosen_cells
from harness.grid.expansion import check_seeds

# Replications lie at least so far apart in their seeds; a grid of larger seeds takes the next power of ten.
STRIDE = 1000


def seed_stride(cells: GridCells) -> int:
    """Return the distance between the seeds of two replications: a power of ten above every seed."""
    stride = STRIDE
    while stride <= max(_seeds(cells)):
        stride *= 10
    return stride


def _seeds(cells: GridCells) -> list[int]:
    """Return all seeds of a grid."""
    listed = [cells.seeds or [DEFAULT_SEED], cells.fit_seeds or []]
    listed += [each.seeds for each in cells.extra or []]
    listed += [each.seeds for each in cells.cells or []]
    listed += [each.seeds for each in cells.references or []]
    return [seed for seeds in listed for seed in seeds]


def replicated(settings: SweepSettings, number: int, *, references: bool) -> SweepSettings:
    """Return the settings of a replication of a sweep.

    Args:
        settings: settings of the sweep.
        number: which replication, from 1; its seeds are those of the sweep plus `number` times the stride.
        references: whether to train the cosine references, too.
    """
    cells = chosen_cells(settings.grid, settings.budget)
    check_seeds(cells)  # as typed: an error must not name moved seeds
    if not references:
        cells = replace(cells, references=[])
    shift = number * seed_stride(cells)

    def moved(seeds: list[int]) -> list[int]:
        return [seed + shift for seed in seeds]

    grid = replace(
        settings.grid,
        seeds=moved(cells.seeds or [DEFAULT_SEED]),
        fit_seeds=None if cells.fit_seeds is None else moved(cells.fit_seeds),
        extra=None if cells.extra is None else [replace(e, seeds=moved(e.seeds)) for e in cells.extra],
        cells=None if cells.cells is None else [replace(c, seeds=moved(c.seeds)) for c in cells.cells],
        references=[replace(r, seeds=moved(r.seeds)) for r in cells.references or []],
    )
    return replace(settings, grid=grid)


def overrides_of(settings: SweepSettings) -> list[str]:
    """Return the overrides that give the cells of a replication, as typed on the command line."""
    grid = plain(settings.grid)
    named = [
        name for name in ("seeds", "fit_seeds", "extra", "cells", "references") if grid[name] is not None
    ]
    return [f"grid.{name}={typed(grid[name])}" for name in named]
