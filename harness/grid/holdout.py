"""The cells that a sweep holds out: those of largest compute, which the sealed forecast predicts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.records.errors import InputError

if TYPE_CHECKING:
    from harness.grid.cells import Cell


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
