"""Seeds of replications are disjoint from each other and from those of the experiment."""

from __future__ import annotations

import pytest

from harness.config.settings import load
from harness.grid.cells import Cell
from harness.replicate.seeds import STRIDE, overrides_of, replicated, seed_stride
from tests.small_sweeps import grid_cells


def seeds(grid: str, *overrides: str) -> set[int]:
    return {cell.spec.seed for cell in grid_cells(grid, *overrides)}


@pytest.mark.parametrize("grid", ["chinchilla", "smoke", "isoflop", "emergence", "lr"])
def test_every_seed_moves_and_none_is_shared(grid: str) -> None:
    settings = load([f"+grid={grid}"])
    numbers = (1, 2, 20)
    own = [seeds(grid, *overrides_of(replicated(settings, n, references=False))) for n in numbers]
    default = seeds(grid, "grid.references=[]")
    for number, found in zip(numbers, own, strict=True):
        assert found == {seed + number * STRIDE for seed in default}
    assert len(set.union(default, *own)) == 4 * len(default)


def test_only_the_seeds_differ() -> None:
    settings = load(["+grid=chinchilla"])
    twin = grid_cells("chinchilla", *overrides_of(replicated(settings, 3, references=True)))
    default = grid_cells("chinchilla")

    def without_seed(cells: list[Cell]) -> list[str]:
        specs = [cell.spec.to_dict() | {"seed": cell.spec.seed % STRIDE} for cell in cells]
        return sorted(f"{spec} {cell.n_tokens} {cell.role}" for spec, cell in zip(specs, cells, strict=True))

    assert without_seed(twin) == without_seed(default)
    assert {cell.role for cell in twin} == {"fit", "holdout", "reference"}
    assert not set.intersection(*({cell.spec.run_id for cell in cells} for cells in (twin, default)))


def test_references_are_left_out_unless_asked_for() -> None:
    settings = load(["+grid=chinchilla"])
    cells = grid_cells("chinchilla", *overrides_of(replicated(settings, 1, references=False)))
    assert {cell.role for cell in cells} == {"fit", "holdout"}


def test_large_seeds_take_a_larger_stride() -> None:
    settings = load(["+grid=smoke", "grid.seeds=[0,1000]"])
    assert seed_stride(settings.grid) == 10_000
    assert seeds("smoke", *overrides_of(replicated(settings, 2, references=False))) == {20_000, 21_000}


@pytest.mark.parametrize("grid", ["chinchilla", "isoflop", "lr"])
def test_the_recorded_command_gives_the_same_settings(grid: str) -> None:
    own = replicated(load([f"+grid={grid}"]), 4, references=True)
    assert load([f"+grid={grid}", *overrides_of(own)]) == own
