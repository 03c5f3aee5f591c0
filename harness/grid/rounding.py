"""Widths and token counts as a grid can have them: the nearest to those that were asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from harness.config.schema import GridCells, ModelSettings, Shape, SweepSettings
from harness.grid.cells import chosen_cells
from harness.grid.token_rules import free_batch_size
from harness.recipe.schedule import FEWEST_INTERVALS, is_reachable, nearest_reachable
from harness.recipe.spec import SEPARATE_SCHEDULES
from harness.records.errors import InputError

WIDTHS, COUNTS = "d_model", "n_tokens"


def rounded(settings: SweepSettings) -> tuple[SweepSettings, list[str]]:
    """Return settings whose grid has only widths and token counts that can be had, and what was changed.

    A width is a whole number of heads, a token count a whole number of logging intervals, at least four. With
    `strict` nothing changes, and `expand` refuses what it cannot have.

    Args:
        settings: the whole configuration.

    Returns:
        The settings, and a sentence for each kind of number that was rounded.

    Raises:
        InputError: token counts of one list would become the same, so that cells were lost.
    """
    if settings.strict:
        return settings, []
    changed: dict[str, dict[int, int]] = {WIDTHS: {}, COUNTS: {}}
    model = settings.model
    cells = chosen_cells(settings.grid, settings.budget)
    for counts in _listed(cells):
        _check_apart(settings, cells, counts)
    _check_widths_apart(cells, model)
    nearest: dict[str, Callable[[int], int]] = {
        WIDTHS: lambda width: _whole_heads(width, model),
        COUNTS: lambda count: nearest_reachable(count, _raster(settings, count, cells)),
    }

    def near(kind: str, value: int) -> int:
        found = nearest[kind](value)
        if found != value:
            changed[kind][value] = found
        return found

    grid = _rounded_cells(settings.grid, near)
    chosen = settings.grid.budgets.get(settings.budget)
    if chosen is not None:
        grid = replace(grid, budgets=settings.grid.budgets | {settings.budget: _rounded_cells(chosen, near)})
    rasters = {f"{_raster(settings, count, cells):,}" for count in changed[COUNTS]}
    whole = {
        WIDTHS: f"heads of {model.head_dim}",
        COUNTS: f"logging intervals of {' and '.join(sorted(rasters))} tokens, at least four",
    }
    notes = [
        f"{kind} {', '.join(f'{was:,} became {now:,}' for was, now in found.items())}: whole {whole[kind]}; "
        "strict=true refuses instead"
        for kind, found in changed.items()
        if found
    ]
    return replace(settings, grid=grid), notes


def _check_widths_apart(cells: GridCells, model: ModelSettings) -> None:
    """Raise InputError if two rungs of other widths would become one, with what keeps them apart."""
    shapes = cells.ladder.shapes if cells.ladder is not None else []
    asked = [Shape(width) for width in cells.rungs or []]
    asked += [shape for shape in shapes if shape.n_heads is None]
    ends: dict[Shape, list[int]] = {}
    for shape in asked:
        nearest = replace(shape, d_model=_whole_heads(shape.d_model, model))
        ends.setdefault(nearest, []).append(shape.d_model)
    for nearest, widths in ends.items():
        *before, last = sorted(set(widths))
        if not before:
            continue
        exact = math.gcd(*(shape.d_model for shape in asked))
        smaller = "" if exact % 2 else f"model.head_dim={exact}, with which all can be had, or "
        raise InputError(
            f"d_model {', '.join(map(str, before))} and {last} would become the same {nearest.d_model}: a "
            f"width takes whole heads of {model.head_dim}; type {smaller}widths {model.head_dim} apart"
        )


def _listed(cells: GridCells) -> list[list[int]]:
    """Return the lists of token counts that cells of trunks name."""
    return [cells.n_tokens or [], *(each.n_tokens for each in [*(cells.extra or []), *(cells.cells or [])])]


def _counts(cells: GridCells) -> list[int]:
    """Return the token counts that cells of trunks name."""
    return [n for counts in _listed(cells) for n in counts]


def _check_apart(settings: SweepSettings, cells: GridCells, counts: list[int]) -> None:
    """Raise InputError if token counts of one list have the same nearest one, with what keeps them apart."""
    ends: dict[int, list[int]] = {}
    for count in sorted(set(counts)):
        ends.setdefault(nearest_reachable(count, _raster(settings, count, cells)), []).append(count)
    end, same = next(((end, found) for end, found in ends.items() if len(found) > 1), (0, []))
    if not same:
        return
    raster, seq_len, interval = (
        _raster(settings, end, cells),
        settings.model.seq_len,
        settings.grid.log_interval,
    )
    size = raster // (seq_len * interval)
    *before, last = (f"{count:,}" for count in same)
    lower = _lower(settings, cells, counts, size)
    ways = f"type {' or '.join(lower)}, with which all can be had, or" if lower else "type"
    raise InputError(
        f"n_tokens {', '.join(before)} and {last} would become the same {end:,}: a run takes whole logging "
        f"intervals, at least four, and one is {raster:,} tokens ({size} sequences of {seq_len} × "
        f"grid.log_interval={interval}); {ways} token counts {raster:,} apart from "
        f"{FEWEST_INTERVALS * raster:,} on"
    )


def _lower(settings: SweepSettings, cells: GridCells, counts: list[int], size: int) -> list[str]:
    """Return the overrides of one key each with which a run can end at all of the token counts.

    Args:
        settings: the whole configuration.
        cells: cells of the grid.
        counts: token counts that are asked for.
        size: sequences of a batch now.
    """
    seq_len, interval = settings.model.seq_len, settings.grid.log_interval
    keys = {"optim.batch_size": (size, seq_len * interval), "grid.log_interval": (interval, size * seq_len)}
    if cells.batch_sizes or settings.optim.batch_size_tokens_exponent:
        del keys["optim.batch_size"]
    found = []
    for key, (now, tokens) in keys.items():
        fitting = (n for n in range(now - 1, 0, -1) if all(is_reachable(c, n * tokens) for c in counts))
        found += [f"{key}={value}" for value in [next(fitting, None)] if value]
    return found


def _raster(settings: SweepSettings, count: int, cells: GridCells) -> int:
    """Return the tokens of a logging interval; by the rule of the batch those of the longest run of a trunk.

    The batch is halved until the smallest run has four intervals: a small run would grow otherwise. If a grid
    lists batches, intervals of all of them end there.
    """
    alone = settings.optim.schedule in SEPARATE_SCHEDULES
    ends = [count] if alone else [count, *_counts(cells)]
    interval = settings.model.seq_len * settings.grid.log_interval
    if cells.batch_sizes:
        return math.lcm(*cells.batch_sizes) * interval
    size = free_batch_size(settings.optim, max(ends), settings.model.seq_len)
    while (
        settings.optim.batch_size_tokens_exponent
        and size > 1
        and FEWEST_INTERVALS * size * interval > min(ends)
    ):
        size //= 2
    return size * interval


def _whole_heads(width: int, model: ModelSettings) -> int:
    # Odd heads are a mistake that no width mends.
    return max(1, round(width / model.head_dim)) * model.head_dim if model.head_dim % 2 == 0 else width


def _rounded_cells(cells: Any, near: Callable[[str, int], int]) -> Any:
    """Return cells of a grid with each width and token count replaced by the nearest one.

    A width whose heads are given, or that names such a rung, stays: its heads may be of any width.
    """
    found: dict[str, Any] = {}
    shapes = cells.ladder.shapes if cells.ladder is not None else []
    kept = {shape.d_model for shape in shapes if shape.n_heads is not None}

    def width(listed: Any) -> int:
        own = listed.n_heads is not None or listed.d_model in kept
        return int(listed.d_model) if own else near(WIDTHS, listed.d_model)

    if cells.rungs is not None:
        found["rungs"] = [near(WIDTHS, width) for width in cells.rungs]
    if cells.n_tokens is not None:
        found["n_tokens"] = [near(COUNTS, count) for count in cells.n_tokens]
    if cells.ladder is not None:
        rungs = [
            each if each.n_heads is not None else replace(each, d_model=near(WIDTHS, each.d_model))
            for each in shapes
        ]
        found["ladder"] = replace(cells.ladder, shapes=rungs)
    for name in ("extra", "cells"):
        if getattr(cells, name) is not None:
            found[name] = [
                replace(
                    each,
                    d_model=width(each),
                    n_tokens=[near(COUNTS, n) for n in each.n_tokens],
                )
                for each in getattr(cells, name)
            ]
    if cells.references is not None:
        found["references"] = [
            replace(each, d_model=near(WIDTHS, each.d_model), n_tokens=near(COUNTS, each.n_tokens))
            for each in cells.references
        ]
    return replace(cells, **found)
