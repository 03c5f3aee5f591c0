"""How far a hold-out reaches beyond the fitted cells, and the factor that takes it beyond N and D."""

from __future__ import annotations

import pytest

from harness.grid.holdout import extrapolating_factor, reach
from tests.small_sweeps import grid_cells, small_cells

# By hand: d32 costs 3.33 times what d16 does, so C is 1, 2, 4 for d16 and 3.33, 6.67, 13.3 for d32.
SQUARE = ("grid.rungs=[16,32]", "grid.n_tokens=[4096,8192,16384]")


@pytest.mark.parametrize(
    ("factor", "counts", "reached"),
    [
        (1.5, (1, 0, 0, 0), 2.0),  # the corner alone
        (2.5, (2, 0, 0, 0), 10 / 3),
        (3.5, (3, 0, 2, 0), 4.0),  # the largest count of both sizes, of which the smaller is no larger N
        (5.0, (4, 3, 2, 1), 20 / 3),  # all of d32
        (8.0, (5, 3, 4, 2), 40 / 3),  # all but the smallest cell
    ],
)
def test_reach_counts_cells_beyond_the_fitted_ones(
    factor: float, counts: tuple[int, ...], reached: float
) -> None:
    found = reach(small_cells(*SQUARE, f"grid.holdout_factor={factor}", "grid.seeds=[0,1]"))
    assert found is not None
    # Two seeds of each.
    assert (found.n_cells, found.beyond_n, found.beyond_d, found.beyond_both) == tuple(2 * n for n in counts)
    assert found.factor == pytest.approx(reached)
    assert found.far == (2 if factor == 8 else 0)
    assert found.extrapolates == (factor >= 5)


@pytest.mark.parametrize("budget", ["quick", "standard", "full"])
def test_every_budget_of_the_default_grid_extrapolates_to_thirty_times_the_compute(budget: str) -> None:
    found = reach(grid_cells("chinchilla", f"budget={budget}"))
    assert found is not None
    assert found.extrapolates
    assert found.beyond_both
    assert found.factor >= 30
    assert found.far >= 4


def test_nothing_held_out_reaches_nowhere() -> None:
    assert reach(small_cells(*SQUARE)) is None


@pytest.mark.parametrize("factor", ["null", "1.5", "5"])
def test_the_smallest_factor_that_extrapolates(factor: str) -> None:
    """Between 4, which holds out the first cell of d32, and 6.67, which holds out one of d16 more."""
    made = small_cells(*SQUARE, f"grid.holdout_factor={factor}")
    assert extrapolating_factor(made, lambda _: True) == 5.0
    # A factor that leaves too few cells to fit is none.
    assert extrapolating_factor(made, lambda cells: sum(c.role == "fit" for c in cells) >= 3) is None
    line = extrapolating_factor(small_cells("grid.n_tokens=[4096,8192,16384]"), lambda _: True)
    assert line is None
