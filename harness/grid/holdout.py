"""The cells that a sweep holds out: those of largest compute, which the sealed forecast predicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from harness.grid.cells import Cell
from harness.recipe import counting
from harness.records.errors import InputError

# From this factor beyond the largest fitted compute on, a held-out cell counts as far.
FAR_FACTOR = 10.0
DIGITS = range(1, 17)


def hold_out(cells: list[Cell], factor: float | None) -> list[Cell]:
    """Mark cells above 1/`factor` of the largest compute as held out; a factor of 1 or less marks none.

    Only cells with the role `fit` are marked or counted.
    """
    if factor is None or factor <= 1:
        return cells
    candidates = [cell.flops for cell in cells if cell.role == "fit"]
    if not candidates:
        raise InputError(
            f"grid.holdout_factor={factor} needs cells to fit and this grid has none; "
            "set it to 1, which holds nothing out"
        )
    # A forecast extrapolates in compute, so the cut is in FLOPs and not at random.
    limit = max(candidates) / factor
    marked = [
        replace(cell, role="holdout") if cell.role == "fit" and cell.flops > limit else cell for cell in cells
    ]
    if not any(cell.role == "fit" for cell in marked):
        raise InputError(
            f"grid.holdout_factor={factor} leaves no cell to fit; lower it (1 holds nothing out)"
        )
    return marked


@dataclass(frozen=True)
class Reach:
    """How far held-out cells lie beyond the fitted ones.

    Attributes:
        n_cells: held-out cells.
        beyond_n: those with more parameters than any fitted cell.
        beyond_d: those with more training tokens than any fitted cell.
        beyond_both: those with more of both.
        factor: largest compute held out over the largest fitted one.
        far: cells at FAR_FACTOR times the largest fitted compute, or beyond.
    """

    n_cells: int
    beyond_n: int
    beyond_d: int
    beyond_both: int
    factor: float
    far: int

    @property
    def extrapolates(self) -> bool:
        """Whether cells lie beyond the fitted N, and cells beyond the fitted D."""
        return self.beyond_n > 0 and self.beyond_d > 0


def reach(cells: list[Cell]) -> Reach | None:
    """Return how far the hold-out of a plan reaches; None if nothing is held out."""
    fitted = [cell for cell in cells if cell.role == "fit"]
    held = [cell for cell in cells if cell.role == "holdout"]
    if not fitted or not held:
        return None
    most_n = max(counting.n_params(cell.spec.model) for cell in fitted)
    most_d, most_c = max(cell.n_tokens for cell in fitted), max(cell.flops for cell in fitted)
    beyond = [(counting.n_params(c.spec.model) > most_n, c.n_tokens > most_d) for c in held]
    return Reach(
        n_cells=len(held),
        beyond_n=sum(n for n, _ in beyond),
        beyond_d=sum(d for _, d in beyond),
        beyond_both=sum(n and d for n, d in beyond),
        factor=max(cell.flops for cell in held) / most_c,
        far=sum(cell.flops >= FAR_FACTOR * most_c for cell in held),
    )


def extrapolating_factor(cells: list[Cell], enough: Callable[[list[Cell]], bool]) -> float | None:
    """Return the smallest `grid.holdout_factor` whose hold-out goes beyond the fitted N and the fitted D.

    Args:
        cells: cells of the plan, whatever is held out of them now.
        enough: whether the fitted cells of a plan suffice for a forecast.

    Returns:
        The factor, in few digits; None if no factor does.
    """
    unmarked = [replace(cell, role="fit") if cell.role == "holdout" else cell for cell in cells]
    # Seeds of a cell go the same way, so one of them stands for all.
    places = list({(c.spec.model, c.n_tokens): c for c in unmarked if c.role == "fit"}.values())
    falling = sorted({cell.flops for cell in places}, reverse=True)
    for above, below in pairwise(falling):
        # Factors between these two hold out all that costs more than `below`.
        low, high = falling[0] / above, falling[0] / below
        middle = (low * high) ** 0.5
        factor = next(f for digits in DIGITS if low < (f := float(f"{middle:.{digits}g}")) < high)
        found = reach(hold_out(places, factor))
        if found and found.extrapolates and enough(hold_out(unmarked, factor)):
            return factor
    return None
