"""Trained cells that a plan drops or trains anew: how many they are, why, and what keeps them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.config.schema import SweepSettings
from harness.config.settings import plain
from harness.config.values import typed
from harness.grid.cells import DEFAULT_SEED, Cell, chosen_cells
from harness.grid.expansion import expand
from harness.recipe.spec import DataSpec
from harness.records.errors import Damaged, InputError
from harness.records.json_files import read_checked
from harness.records.paths import SweepFolder
from harness.records.sweep_file import SweepCell, SweepRecord

# Lists of a grid that name its cells one by one.
LISTS = ("rungs", "n_tokens", "flops", "seeds", "fit_seeds")
# Other keys that decide which cells it has.
OTHERS = ("extra", "references", "lr_scale", "max_flops", "ladder", "tokens_per_param")


def notes_on_trained(
    folder: SweepFolder,
    record: SweepRecord | None,
    settings: SweepSettings,
    data: DataSpec,
    vocab_size: int,
    cells: list[Cell],
) -> list[str]:
    """Return a sentence on trained cells that leave the tables, and one on cells that are trained again.

    Tables without the runs behind them, as a clone has them, are written over: then one sentence says so.

    Args:
        folder: folder of the sweep.
        record: record of earlier invocations; None if there was none.
        settings: resolved settings.
        data: the data part of every run's recipe.
        vocab_size: number of token ids.
        cells: cells of the plan.
    """
    if folder.points.exists() and not folder.runs.exists():
        return [
            f"{folder.root} holds tables without their runs, and this sweep writes over them; to keep them "
            "give another results_dir"
        ]
    if record is None:
        return []
    planned = {cell.spec.point_id(cell.n_tokens) for cell in cells}
    gone = [
        cell
        for cell in record.cells
        if cell.point_id not in planned and folder.run(cell.run_id).point(cell.point_id).exists()
    ]
    places = {(c.arm, c.spec.rung, c.spec.seed, c.n_tokens): c for c in reversed(cells)}
    again = [cell for cell in gone if _place(cell) in places]
    left = [cell for cell in gone if cell not in again]
    notes = []
    if again:
        twin = places[_place(again[0])]
        notes.append(
            f"{len(again)} trained cells are trained again: {_reason(folder, record, again[0], twin)}"
        )
    if left:
        notes.append(
            f"{len(left)} trained cells of {folder.root} are not in this plan and leave its tables "
            f"({_described(left)}); {_way_to_keep(record, settings, data, vocab_size, left)}"
        )
    return notes


def _place(cell: SweepCell) -> tuple[str | None, str, int, int]:
    """Return the arm, rung, seed and token count of a recorded cell."""
    return cell.arm, cell.rung, cell.seed, cell.n_tokens


def _described(cells: list[SweepCell]) -> str:
    """Return the rungs and seeds of cells in a few words."""
    rungs = ", ".join(dict.fromkeys(cell.rung for cell in cells))
    seeds = ", ".join(map(str, sorted({cell.seed for cell in cells})))
    return f"{rungs}; seed {seeds}"


def _reason(folder: SweepFolder, record: SweepRecord, before: SweepCell, now: Cell) -> str:
    """Return why a cell has another run than before, and what would keep the old one."""
    elsewhere = "or give another results_dir"
    try:
        spec = read_checked(folder.run(before.run_id).spec)
    except Damaged:
        return f"their recipe is another one; leave out what changes it, {elsewhere}"
    old, new = _flat(spec), _flat(now.spec.to_dict())
    if old.get("schedule.warmup_steps") != new.get("schedule.warmup_steps"):
        smallest = min(cell.n_tokens for cell in record.cells)
        return (
            f"the warm-up, a share of the grid's smallest token count, is "
            f"{new['schedule.warmup_steps']} steps and was {old['schedule.warmup_steps']}; keep {smallest:,} "
            f"the smallest, {elsewhere}"
        )
    key = next((key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)), "recipe")
    return f"{key} is {new.get(key)} and was {old.get(key)}; change it back, {elsewhere}"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dicts as one dict with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def _way_to_keep(
    record: SweepRecord, settings: SweepSettings, data: DataSpec, vocab_size: int, left: list[SweepCell]
) -> str:
    """Return the overrides under which a plan keeps these cells, if a plan with them does keep them."""
    before, now = _chosen(record), plain(chosen_cells(settings.grid, settings.budget))
    wanted: dict[str, Any] = {}
    for key in LISTS:
        old, new = before.get(key) or [], now[key] or []
        if set(old) - set(new):
            wanted[key] = sorted({*old, *new})
    if before.get("seeds") is None and now["seeds"]:
        wanted["seeds"] = sorted({DEFAULT_SEED, *now["seeds"]})
    # A seed of all cells is a seed of the fitted ones already, and a plan refuses to name it twice.
    seeds, further = (wanted.get(key) or now[key] or [] for key in ("seeds", "fit_seeds"))
    if set(further) & set(seeds):
        wanted["fit_seeds"] = [seed for seed in further if seed not in seeds]
    others = {key: (_stated(before.get(key)), _stated(now[key])) for key in OTHERS}
    wanted |= {key: old for key, (old, new) in others.items() if old != new and old}
    # Objects of the grid file are taken from it; a list of the record has plain numbers only.
    kept = {key: value for key, value in wanted.items() if key in LISTS}
    try:
        cells = expand(replace(settings, grid=replace(settings.grid, **kept)), data, vocab_size)
    except InputError:
        cells = []
    found = {cell.spec.point_id(cell.n_tokens) for cell in cells}
    if kept and all(cell.point_id in found for cell in left):
        return f"to keep them type {' '.join(f'grid.{key}={typed(value)}' for key, value in kept.items())}"
    changed = " and ".join(f"grid.{key}" for key in wanted)
    back = f"leave {changed} as before, or " if changed else ""
    return f"to keep them {back}give another results_dir"


def _stated(value: Any) -> Any:
    """Return a value without entries that are null, which records of earlier versions lack."""
    if isinstance(value, dict):
        return {key: _stated(entry) for key, entry in value.items() if entry is not None}
    return [_stated(entry) for entry in value] if isinstance(value, list) else value


def _chosen(record: SweepRecord) -> dict[str, Any]:
    """Return what the grid of a record has for each of its keys, from its budget if it has none itself."""
    grid = record.config.get("grid", {})
    preset = (grid.get("budgets") or {}).get(record.budget) or {}
    return {key: preset.get(key) if grid.get(key) is None else grid[key] for key in (*LISTS, *OTHERS)}
