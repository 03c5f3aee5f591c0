"""The printed plan: one row per cell, then cost, memory, time and the rules that its cells break."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from harness.execution.execution import Execution
from harness.grid import rules
from harness.grid.cells import Cell, job_tokens, trajectories
from harness.grid.holdout import FAR_FACTOR, extrapolating_factor, reach
from harness.grid.packs import Lanes, one_lane
from harness.plan.plan import Plan, workers_bytes
from harness.plan.recipe_table import print_recipes
from harness.recipe import counting
from harness.records.number_text import duration, given, si
from harness.track.console import print_notes

# A plan with more cells is printed with one row for all seeds of a cell.
MAX_ROWS = 100
# From so many layers on, the plan says how long they compile: 32 of d16 to d64 took 34 to 48 s on one core.
MANY_LAYERS, SECONDS_A_LAYER = 32, 1.2


COLUMNS = ["rung", "N", "matmul", "body", "D", "D/N", "FLOPs", "hidden lr", "steps", "seed", "role", "state"]


def tokens_saved(cells: list[Cell]) -> tuple[int, int]:
    """Return the tokens that the plan trains, and the tokens of a separate run for every cell."""
    return sum(job_tokens(job) for job in trajectories(cells)), sum(cell.n_tokens for cell in cells)


def print_plan(
    console: Console,
    plan: Plan,
    seconds: Callable[[], float],
    n_workers: int,
    lanes: Lanes = one_lane,
    notes: Sequence[str] = (),
    recipes: bool = False,
) -> None:
    """Print one row per cell (in a large plan one row for all its seeds), totals and broken rules.

    Args:
        console: where to print.
        plan: the plan.
        seconds: returns the estimated seconds, NaN if they are unknown; called last, because it may wait
            for a measurement.
        n_workers: workers that train at the same time.
        lanes: largest number of runs in one pack, by model.
        notes: what else to say about the plan, one sentence each.
        recipes: whether recipes follow more than the width, and are printed.
    """
    print_cells(console, plan, notes, recipes)
    memory = workers_bytes(plan.cells, n_workers, 1, lanes)
    estimate = seconds()
    time = (
        "for a time unknown, as this machine was not measured,"
        if not given(estimate)
        else (f"about {duration(estimate)}")
    )
    console.print(
        f"to train: {plan.open_flops:.2e} FLOPs with evaluations, {time} on "
        f"{n_workers} worker(s) with {memory / 1e9:.1f} GB"
    )
    print_tokens_saved(console, plan)


def print_cells(console: Console, plan: Plan, notes: Sequence[str] = (), recipes: bool = False) -> None:
    """Print one row per cell, then the recipes if asked, broken rules and notes."""
    title = f"{len(plan.cells)} cells, {len(plan.open_cells)} to train"
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    arms = any(cell.arm is not None for cell in plan.cells)
    for name in [*(["arm"] if arms else []), *COLUMNS]:
        left = name in ("arm", "rung", "role", "state")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for row in _rows(plan) if len(plan.cells) <= MAX_ROWS else _rows_of_seeds(plan):
        table.add_row(*row)
    console.print(table)
    if recipes:
        print_recipes(console, plan.cells)
    print_notes(console, [*rule_lines(plan.cells), *notes])


def print_tokens_saved(console: Console, plan: Plan) -> None:
    """Print what trunks with branches save."""
    trained, separate = tokens_saved(plan.cells)
    console.print(
        f"trunks with branches train {trained / 1e6:.1f} M tokens, separate runs would train "
        f"{separate / 1e6:.1f} M ({trained / separate:.2f})"
    )


def _rows(plan: Plan) -> Iterator[list[str]]:
    """Yield one row of the table per cell."""
    open_keys = {cell.key for cell in plan.open_cells}
    for cell in plan.cells:
        yield _row(cell, str(cell.spec.seed), "open" if cell.key in open_keys else "done")


def _rows_of_seeds(plan: Plan) -> Iterator[list[str]]:
    """Yield one row of the table per group of cells that differ only in their seed."""
    groups: dict[Any, list[Cell]] = {}
    for cell in plan.cells:
        alike = cell.arm, cell.spec.model, cell.n_tokens, cell.role, cell.spec.schedule.kind, cell.spec.optim
        groups.setdefault(alike, []).append(cell)
    open_keys = {cell.key for cell in plan.open_cells}
    for group in groups.values():
        n_open = sum(cell.key in open_keys for cell in group)
        seeds = f"{len(group)} seeds" if len(group) > 1 else str(group[0].spec.seed)
        yield _row(group[0], seeds, f"{n_open} open" if n_open else "done")


def _row(cell: Cell, seed: str, state: str) -> list[str]:
    """Return the row of a cell, with the texts of its seed and state."""
    model = cell.spec.model
    n = counting.n_params(model)
    return [
        *([cell.arm] if cell.arm is not None else []),
        cell.spec.rung,
        si(n),
        si(counting.n_params_matmul(model)),
        si(counting.n_params_body(model)),
        si(cell.n_tokens),
        f"{cell.n_tokens / n:.1f}",
        f"{cell.flops:.1e}",
        f"{cell.spec.optim.lr.hidden:.2g}",
        f"{cell.spec.n_steps(cell.n_tokens):,}",
        seed,
        cell.role,
        state,
    ]


def compile_notes(plan: Plan, execution: Execution, platform: str) -> list[str]:
    """Return a sentence if the open cells have so many layers that compiling them takes minutes.

    Args:
        plan: the plan.
        execution: options of execution; scanned layers are compiled once.
        platform: `cpu`, `gpu` or `tpu`, which decides whether layers are scanned by default.
    """
    scanned = platform != "cpu" if execution.scan_layers is None else execution.scan_layers
    layers = max((cell.spec.model.n_layers for cell in plan.open_cells), default=0)
    if scanned or layers < MANY_LAYERS:
        return []
    seconds = layers * SECONDS_A_LAYER
    return [
        f"compiling {layers:,} layers takes about {duration(seconds)} for each rung before its first step; "
        "execution.scan_layers=true compiles one for all"
    ]


def holdout_line(cells: list[Cell], enough: Callable[[list[Cell]], bool]) -> list[str]:
    """Return a sentence on whether the hold-out extrapolates, and what to type if it does not.

    Args:
        cells: cells of the plan.
        enough: whether the fitted cells of a plan suffice for a forecast.

    Returns:
        One sentence; none if nothing is held out.
    """
    found = reach(cells)
    if found is None:
        return []
    axes = " and ".join(name for name, n in (("N", found.beyond_n), ("D", found.beyond_d)) if n)
    counts = (
        f"of {found.n_cells} cells {found.beyond_n} lie beyond the largest fitted N, {found.beyond_d} beyond "
        f"the largest fitted D, {found.beyond_both} beyond both; they reach {found.factor:.3g} times the "
        f"largest fitted compute, {found.far} of them {FAR_FACTOR:g} times or more"
    )
    if found.extrapolates:
        return [f"the hold-out extrapolates in N and D: {counts}"]
    factor = extrapolating_factor(cells, enough)
    remedy = (
        "add a larger size to grid.rungs and a larger count to grid.n_tokens"
        if factor is None
        else f"type grid.holdout_factor={factor:g}"
    )
    how = f"in {axes} alone" if axes else "neither in N nor in D"
    return [f"the hold-out extrapolates {how}: {counts}; to go beyond both {remedy}"]


def rule_lines(cells: list[Cell]) -> list[str]:
    """Return one line per broken rule of the method: how many cells break it, and at which rungs."""
    broken: dict[str, list[str]] = {}
    for cell in cells:
        steps = cell.spec.n_steps(cell.n_tokens)
        schedule = cell.spec.schedule
        # Cosine and linear runs cool down all the way; schedule-free runs average instead.
        cooldown_frac = schedule.cooldown_frac if schedule.kind == "wsd" else 1.0
        breaks = rules.rule_breaks(steps, cooldown_frac, cell.spec.model)
        for text in breaks:
            broken.setdefault(text, []).append(cell.spec.rung)
    return [
        f"{len(rungs)} of {len(cells)} cells have {text} ({', '.join(dict.fromkeys(rungs))})"
        for text, rungs in broken.items()
    ]
