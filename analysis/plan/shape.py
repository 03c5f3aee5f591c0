"""From a wanted size and compute to a run that the recipe of a sweep can train: shape, tokens, rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from harness.config.schema import ExtraCells, SweepSettings
from harness.config.settings import load
from harness.config.values import typed
from harness.grid.cells import DEFAULT_SEED, Cell, chosen_cells, expand
from harness.grid.ladder import width_unit
from harness.grid.rounding import rounded
from harness.grid.rules import Rung, model_spec
from harness.recipe import counting
from harness.recipe.spec import DataSpec, ModelSpec
from harness.records.errors import InputError
from harness.records.sweep_file import SweepRecord

COUNTERS: dict[str, Callable[[ModelSpec], int]] = {
    "n_params": counting.n_params,
    "n_params_matmul": counting.n_params_matmul,
    "n_params_body": counting.n_params_body,
}
WIDEST = 2**16
RECIPES = ("fit", "holdout")  # roles of cells that the hold-out divides


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep's own recipe.

    Attributes:
        cell: the run with its token count.
        n: its parameters under the count of the fit.
        overrides: settings that add it to the sweep and leave the other cells and their roles as they are.
        epochs: passes over the training text.
    """

    cell: Cell
    n: int
    overrides: tuple[str, ...]
    epochs: float


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
    added = ExtraCells(rung.d_model, [tokens], [seed], rung.n_layers)
    grid = replace(settings.grid, extra=[*(chosen.extra or []), added], references=[], arms=None)
    settings, _ = rounded(replace(settings, grid=grid))
    cells = [
        cell
        for cell in expand(settings, data_of(record), vocab_size)
        if cell.spec.model == model and cell.spec.seed == seed
    ]
    cell = min(cells, key=lambda each: abs(math.log(each.n_tokens / tokens)))
    overrides = [f"grid.extra={typed([_plain(each) for each in (settings.grid.extra or [])])}"]
    if chosen.holdout_factor is not None:
        # The limit of the hold-out is a share of the largest compute, which this run may raise.
        largest = max(each.flops for each in record.cells if each.role in RECIPES)
        factor = chosen.holdout_factor * max(1.0, cell.flops / largest)
        overrides.append(f"grid.holdout_factor={factor:.6g}")
    epochs = cell.n_tokens / record.corpus.n_train_tokens
    return PlannedRun(cell, COUNTERS[count](model), tuple(overrides), epochs)


def _nearest(settings: SweepSettings, vocab_size: int, count: str, n: float) -> Rung:
    """Return the rung whose size is nearest, as deep as the sweep's rungs of its width are."""
    chosen = chosen_cells(settings.grid, settings.budget)
    usual = settings.model.n_layers
    shapes = chosen.ladder.shapes if chosen.ladder else []
    # Given shapes show the ladder's own ratio of width to depth; its largest one is the nearest to a plan.
    widest = max(shapes, key=lambda shape: shape.d_model, default=None)
    aspect = widest.d_model / widest.n_layers if widest else chosen.ladder.aspect if chosen.ladder else 1.0

    def rung(width: int) -> Rung:
        if chosen.ladder is None:
            return Rung(width, usual, usual)
        return Rung(width, max(1, round(width / aspect)), usual)

    def size(width: int) -> int:
        return COUNTERS[count](model_spec(rung(width), settings.model, vocab_size, settings.optim.transfer))

    unit = width_unit(settings.model)
    best, width = unit, unit
    while width <= WIDEST:
        if abs(math.log(size(width) / n)) <= abs(math.log(size(best) / n)):
            best = width
        if size(width) > n:
            return rung(best)
        width += unit
    raise InputError(f"{n:.3g} parameters need a width above {WIDEST}, expected less: ask for a smaller run")


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


def _plain(cells: ExtraCells) -> dict[str, object]:
    found = {"d_model": cells.d_model, "n_tokens": cells.n_tokens, "seeds": cells.seeds}
    return found | ({} if cells.n_layers is None else {"n_layers": cells.n_layers})
