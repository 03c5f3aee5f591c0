"""The printed recipe of each rung, if it follows depth, batch or D: one row a recipe."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from harness.grid.cells import Cell
from harness.records.number_text import DASH, si

COLUMNS = (
    "rung",
    "D",
    "batch",
    "tokens",
    "hidden lr",
    "embed lr",
    "head lr",
    "gain lr",
    "beta2",
    "decay",
    "warm-up",
)
RECIPES = ("fit", "holdout")  # roles of cells whose rates are those of the recipe


def print_recipes(console: Console, cells: Sequence[Cell]) -> None:
    """Print batch, rates, beta2, weight decay of hidden matrices and warm-up steps of each recipe."""
    rows = recipe_rows(cells)
    if not rows:
        return
    table = Table(title="recipes", title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "rung" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def recipe_rows(cells: Sequence[Cell]) -> list[list[str]]:
    """Return one row a recipe, whatever its seeds; D is that of the run, or `all` of a trunk."""
    rows: dict[tuple[str, ...], None] = {}
    for cell in cells:
        if cell.role in RECIPES:
            rows.setdefault(_row(cell))
    return [list(row) for row in rows]


def _row(cell: Cell) -> tuple[str, ...]:
    spec, optim, rates = cell.spec, cell.spec.optim, cell.spec.optim.lr
    decay = optim.weight_decay if optim.hidden_weight_decay is None else optim.hidden_weight_decay
    return (
        spec.rung,
        "all" if spec.schedule.has_trunk else si(cell.n_tokens),
        f"{optim.batch_size:,}",
        si(spec.batch_tokens),
        *(f"{rate:.2g}" for rate in (rates.hidden, rates.embed, rates.head, rates.gain)),
        f"{optim.beta2:.5g}",
        f"{decay:.2g}" if decay else DASH,
        f"{spec.schedule.warmup_steps:,}",
    )
