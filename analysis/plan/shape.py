"""From a wanted size and compute to a run that the recipe of a sweep can train: shape, tokens, rates."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from harness.config.schema import GridCells, ListedCells, Shape, SweepSettings
from harness.config.settings import load
from harness.config.values import typed
from harness.grid.cells import DEFAULT_SEED, Cell, chosen_cells
from harness.grid.expansion import expand
from harness.grid.ladder import width_unit
from harness.grid.rounding import rounded
from harness.grid.rules import Rung, model_spec
from harness.recipe import counting
from harness.recipe.spec import DataSpec
from harness.records.errors import InputError
from harness.records.number_text import si
from harness.records.sweep_file import SweepRecord

WIDEST = 2**16
SMALLER = 1.5  # a wanted size this much below the smallest model is not reached; neighbours differ by more


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep's own recipe.

    Attributes:
        cell: the run with its token count.
        n: its parameters under the count of the fit.
        listed: the run as an entry of `grid.cells`, held out: it is forecast before it is trained.
        earlier: entries that the sweep lists already.
        epochs: passes over the training text.
        max_epochs: how many the sweep allows.
    """

    cell: Cell
    n: int
    listed: ListedCells
    earlier: tuple[ListedCells, ...]
    epochs: float
    max_epochs: float

    @property
    def entry(self) -> dict[str, object]:
        """The run as it stands in a file of cells."""
        return _plain(self.listed)

    @property
    def overrides(self) -> tuple[str, ...]:
        """Settings that add the run to its sweep and leave all other cells and roles as they are."""
        return (f"grid.cells={typed([_plain(each) for each in (*self.earlier, self.listed)])}",)


def planned_run(record: SweepRecord, count: str, n: float, flops: float) -> PlannedRun:
    """Return the run nearest to a wanted size that spends a compute, by the rules of a sweep.

    Args:
        record: record of the sweep.
        count: column that counts N.
        n: wanted size, parameters.
        flops: compute to spend, FLOPs.

    Raises:
        InputError: no width in reach has the size, or the recipe cannot train the run.
    """
    settings = load([], record.config)
    vocab_size = record.corpus.vocab_size
    rung = _nearest(settings, vocab_size, count, n)
    model = model_spec(rung, settings.model, vocab_size, settings.optim.transfer)
    tokens = max(1, round(flops / counting.train_flops_token(model)))
    chosen = chosen_cells(settings.grid, settings.budget)
    seed = (chosen.seeds or [DEFAULT_SEED])[0]
    earlier = chosen.cells or []
    wanted = ListedCells(rung.d_model, [tokens], [seed], rung.n_layers, role="holdout")
    if any(shape.n_heads or shape.n_kv_heads for shape in _shapes(chosen)):
        # Without heads it would be the grid's own rung of that width and depth.
        wanted = replace(wanted, n_heads=model.n_heads, n_kv_heads=model.kv_heads)
    grid = replace(settings.grid, cells=[*earlier, wanted], references=[], arms=None)
    settings, _ = rounded(replace(settings, grid=grid))
    listed = (settings.grid.cells or [])[-1]
    (n_tokens,) = listed.n_tokens
    (cell,) = (
        cell
        for cell in expand(settings, data_of(record), vocab_size)
        if cell.spec.model == model and cell.spec.seed == seed and cell.n_tokens == n_tokens
    )
    epochs = cell.n_tokens / record.corpus.n_train_tokens
    size = counting.COUNTERS[count](model)
    return PlannedRun(cell, size, listed, tuple(earlier), epochs, settings.data.max_epochs)


def _nearest(settings: SweepSettings, vocab_size: int, count: str, n: float) -> Rung:
    """Return the rung whose size is nearest; its depth follows the rule of the sweep."""
    chosen = chosen_cells(settings.grid, settings.budget)
    usual = settings.model.n_layers
    shapes, sizes = _shapes(chosen), chosen.ladder.n_params_body if chosen.ladder else []
    # Given shapes show the ladder's own ratio of width to depth; its largest one is the nearest to a plan.
    widest = max(shapes, key=lambda shape: shape.d_model, default=None)
    aspect = chosen.ladder.aspect if chosen.ladder else 1.0
    if widest:
        aspect = widest.d_model / (widest.n_layers or usual)
    is_of_one_depth = not sizes and {shape.n_layers or usual for shape in shapes} <= {usual}

    def rung(width: int) -> Rung:
        if is_of_one_depth:
            return Rung(width, usual, usual)
        return Rung(width, max(1, round(width / aspect)), usual)

    def size(width: int) -> int:
        return counting.COUNTERS[count](
            model_spec(rung(width), settings.model, vocab_size, settings.optim.transfer)
        )

    unit = width_unit(settings.model)
    best, width = unit, unit
    if n < size(unit) / SMALLER:
        raise InputError(
            f"{si(n)} parameters are less than any model of this recipe has: ask for a run of "
            f"{size(unit):,}, which d_model={unit} has, or more"
        )
    while width <= WIDEST:
        if abs(math.log(size(width) / n)) <= abs(math.log(size(best) / n)):
            best = width
        if size(width) > n:
            return rung(best)
        width += unit
    raise InputError(f"{n:.3g} parameters need a width above {WIDEST}, expected less: ask for a smaller run")


def _shapes(cells: GridCells) -> list[Shape]:
    """Return the given shapes of a grid's ladder; none for a grid of widths."""
    return cells.ladder.shapes if cells.ladder else []


def data_of(record: SweepRecord) -> DataSpec:
    """Return the training and evaluation data of a sweep."""
    recipe = record.recipe
    return DataSpec(
        corpus_id=record.corpus.corpus_id,
        tokenizer_id=record.corpus.tokenizer_id,
        unigram_nats=recipe["data.unigram_nats"],
        eval_tokens=recipe["data.n_eval_tokens"],
        curve_eval_tokens=recipe["data.n_curve_eval_tokens"],
    )


def _plain(cells: ListedCells) -> dict[str, object]:
    found = {"d_model": cells.d_model, "n_tokens": cells.n_tokens, "seeds": cells.seeds, "role": cells.role}
    own = {"n_layers": cells.n_layers, "n_heads": cells.n_heads, "n_kv_heads": cells.n_kv_heads}
    return found | {name: value for name, value in own.items() if value is not None}
