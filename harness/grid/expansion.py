"""Expansion of a grid into cells: those of its lists and arms, checked, each once, and some held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from harness.config.arms import arm_settings
from harness.config.cells_file import FILE_GRIDS
from harness.config.schema import ExtraCells, GridCells, OptimSettings, SweepSettings
from harness.config.values import typed
from harness.grid import rules
from harness.grid.builder import CellBuilder
from harness.grid.cells import DEFAULT_SEED, Cell, chosen_cells
from harness.grid.holdout import hold_out
from harness.grid.rules import Rung
from harness.recipe.schedule import branch_start, check_reachable
from harness.recipe.spec import DataSpec, RunSpec
from harness.records.columns import ARM_ROLE
from harness.records.errors import InputError


def expand(settings: SweepSettings, data: DataSpec, vocab_size: int) -> list[Cell]:
    """Return all cells of the chosen grid and budget, each once, by width, depth, seed and token count.

    Args:
        settings: the whole configuration of the sweep.
        data: which tokens are read and scored.
        vocab_size: number of token ids, the separator included.

    Raises:
        InputError: the grid has no cells, a rung or token count is impossible, the hold-out leaves nothing to
            fit, or seeds are given that cannot be added. Also two arms that train the same runs.
    """
    arms = arm_settings(settings)
    if arms:
        return _expand_arms(arms, data, vocab_size)
    chosen = chosen_cells(settings.grid, settings.budget)
    check_seeds(chosen)
    _check_batches(chosen, settings.optim)
    builder = CellBuilder(settings, data, vocab_size, chosen)
    cells, listed = _each_once(builder.cells()), builder.listed()
    if not cells and not listed:
        name = settings.grid.name
        give = f"add {name}=FILE.yaml" if name in FILE_GRIDS else "give grid.rungs=[…] and grid.n_tokens=[…]"
        raise InputError(f"grid {name} has no cells: {give}")
    for cell in [*cells, *listed]:
        _check_cell(settings, cell)
    marked = hold_out(cells, chosen.holdout_factor) if cells else []
    return _each_once([*marked, *builder.repeated(marked), *listed])


def _expand_arms(arms: Mapping[str, SweepSettings], data: DataSpec, vocab_size: int) -> list[Cell]:
    """Return the cells of the base arm, and for each other arm those of the same rungs, tokens and seeds.

    Runs of an arm have its overrides in their recipe and nothing else: another sweep has the same run ids.
    """
    (base, settings), *others = arms.items()
    cells = [replace(cell, arm=base) for cell in expand(settings, data, vocab_size)]
    copied = [cell for cell in cells if cell.role in ("fit", "holdout")]
    places: dict[tuple[Rung, int], list[int]] = {}
    for cell in copied:
        rung = Rung.of_model(cell.spec.model, settings.model)
        places.setdefault((rung, cell.spec.seed), []).append(cell.n_tokens)
    smallest = CellBuilder(
        settings, data, vocab_size, chosen_cells(settings.grid, settings.budget)
    ).smallest_tokens
    usual = settings.model.n_layers
    extra = [
        # A rung of the usual depth, or of the usual heads, has the arm's own.
        ExtraCells(
            rung.d_model,
            n_tokens,
            [seed],
            None if rung.n_layers == usual else rung.n_layers,
            rung.n_heads,
            rung.n_kv_heads,
        )
        for (rung, seed), n_tokens in places.items()
    ]
    seen = {cell.key: base for cell in cells}
    for name, own in others:
        builder = CellBuilder(own, data, vocab_size, GridCells(extra=extra))
        # All arms warm up alike, whichever cells they share.
        builder.smallest_tokens = smallest
        found = [replace(cell, role=ARM_ROLE, arm=name) for cell in _each_once(builder.cells())]
        for cell in found:
            _check_cell(own, cell)
            if cell.key in seen:
                raise InputError(
                    f"arms {seen[cell.key]} and {name} train the same runs, expected overrides that differ; "
                    "take one of them out of grid.arms"
                )
        seen |= {cell.key: name for cell in found}
        cells += found
    return cells


def check_seeds(chosen: GridCells) -> None:
    """Raise InputError if there is no seed, or seeds of the fitted cells are of all cells or fit none."""
    if chosen.seeds == []:
        raise InputError(f"grid.seeds is [], expected one seed or more; type grid.seeds=[{DEFAULT_SEED}]")
    further, seeds = chosen.fit_seeds or [], chosen.seeds or [DEFAULT_SEED]
    twice = sorted(set(further) & set(seeds))
    if twice:
        rest = [seed for seed in further if seed not in twice]
        raise InputError(
            f"seeds other than those of grid.seeds={typed(seeds)} were expected in grid.fit_seeds, and "
            f"{typed(twice)} stand in both; type grid.fit_seeds={typed([*rest, max(seeds + further) + 1])}"
        )
    if further and chosen.lr_scale:
        raise InputError(
            f"grid.fit_seeds={typed(further)} repeat fitted cells and a grid of learning rates has none; "
            "type grid.seeds instead, and grid.fit_seeds=[]"
        )
    if chosen.cells and chosen.lr_scale:
        raise InputError(
            "grid.cells are fitted or forecast and a grid of learning rates is neither; list them under "
            "another grid, or give grid.cells=[]"
        )


def _check_batches(chosen: GridCells, optim: OptimSettings) -> None:
    """Raise InputError if batches are swept and rates are not, D chooses them too, or one is listed twice."""
    sizes = chosen.batch_sizes
    if sizes is None:
        return
    if not chosen.lr_scale:
        raise InputError(
            f"grid.batch_sizes={typed(sizes)} are swept with learning rates, and this grid sweeps none; use "
            f"+grid=lr, or optim.batch_size={max(sizes, default=1)} for one batch"
        )
    if optim.batch_size_tokens_exponent:
        raise InputError(
            f"grid.batch_sizes={typed(sizes)} lists the batches, and optim.batch_size_tokens_exponent="
            f"{optim.batch_size_tokens_exponent:g} lets D choose them; use optim.batch_size_tokens_exponent=0"
        )
    if len(set(sizes)) < max(len(sizes), 1):
        raise InputError(
            f"grid.batch_sizes={typed(sizes)} was given, expected one batch or more, each once; type "
            f"grid.batch_sizes={typed(sorted(set(sizes)) or [2, 4, 8])}"
        )


def _check_cell(settings: SweepSettings, cell: Cell) -> None:
    """Raise InputError for a cell that cannot be trained, or that `strict` refuses."""
    check_reachable(cell.spec, cell.n_tokens)
    _check_warmup(settings, cell)
    if settings.strict:
        _check_vocab(cell.spec)


def _check_vocab(spec: RunSpec) -> None:
    """Raise InputError for a vocabulary above the limit of a rung, which the plan notes without `strict`."""
    model, limit = spec.model, rules.vocab_limit(spec.model)
    if model.vocab_size > limit:
        # The least whole number of heads that is wide enough.
        width = -(-model.vocab_size * model.n_heads // limit) * (model.d_model // model.n_heads)
        raise InputError(
            f"rung {spec.rung} has a vocabulary of {model.vocab_size:,}, expected at most "
            f"{rules.MAX_VOCAB_FACTOR}·layers·d_model = {limit:,} with strict=true; type rungs of d_model "
            f"{width:,} or more, give a smaller vocabulary, or type strict=false"
        )


def _check_warmup(settings: SweepSettings, cell: Cell) -> None:
    """Raise InputError if a warm-up given in tokens leaves no step at the peak rate before the cooldown."""
    spec, given = cell.spec, settings.optim.warmup_tokens
    at_peak = branch_start(spec, cell.n_tokens) if spec.schedule.has_trunk else spec.n_steps(cell.n_tokens)
    if given is not None and spec.schedule.warmup_steps >= at_peak:
        raise InputError(
            f"optim.warmup_tokens={given:g} is no shorter than the {at_peak * spec.batch_tokens} tokens "
            f"before the cooldown of rung {spec.rung} at n_tokens={cell.n_tokens}; use at most "
            f"{at_peak * spec.batch_tokens // 2}, or optim.warmup_tokens=null"
        )


def _each_once(cells: list[Cell]) -> list[Cell]:
    """Return cells by width, depth, seed and token count; of equal cells the first."""
    # Reversed, so that the first stays: the rectangle goes before extras and references.
    unique = {cell.key: cell for cell in reversed(cells)}
    return sorted(
        unique.values(),
        key=lambda c: (c.spec.model.d_model, c.spec.model.n_layers, c.spec.seed, c.n_tokens, c.key),
    )
