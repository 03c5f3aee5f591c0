"""Which end points keep their parameters, within the disk that a sweep may use for them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.grid.cells import Cell
from harness.recipe import counting
from harness.records.errors import Damaged
from harness.records.paths import SweepFolder
from harness.records.run_files import RunStatus
from harness.runs.finished import read_point_file

STORED_BYTES = {"fp32": 4, "bf16": 2}
# Bytes of a file besides parameters: names, shapes and recipe, and the tokenizer as a text within a text.
HEADER_BYTES, QUOTED = 6_000, 2
VERIFIED_BYTES = 2e9  # of kept parameters, which take some seconds to read


@dataclass(frozen=True)
class KeepPlan:
    """End points whose parameters are kept.

    Attributes:
        cells: their cells.
        left_out: cells that were asked for and do not fit.
        n_bytes: size of all files, those included that earlier plans left.
        needed: the same if nothing were left out.
    """

    cells: tuple[Cell, ...] = ()
    left_out: tuple[Cell, ...] = ()
    n_bytes: int = 0
    needed: int = 0

    @property
    def point_ids(self) -> tuple[str, ...]:
        """Ids of the end points."""
        return tuple(cell.spec.point_id(cell.n_tokens) for cell in self.cells)


def plan_keeping(
    folder: SweepFolder,
    cells: Sequence[Cell],
    which: str,
    budget: float,
    precision: str,
    tokenizer_bytes: int = 0,
) -> KeepPlan:
    """Return the end points that keep their parameters.

    The last point of each rung comes first, that of the largest rung before others. The other points follow,
    those of larger rungs and of more tokens before others. A point that does not fit is left out.

    Args:
        folder: folder of the sweep, whose kept parameters count.
        cells: cells of the plan.
        which: `none`, `last`, `points`, or `auto` for all points of the largest rung and the last of each
            other.
        budget: bytes of disk.
        precision: `fp32` or `bf16`, of the stored parameters.
        tokenizer_bytes: length of the tokenizer's definition, which every file holds.
    """
    last = last_points(cells)
    largest = max((_size(cell) for cell in cells), default=0)
    wanted = {
        "none": [],
        "last": last,
        "points": cells,
        "auto": [*last, *(c for c in cells if _size(c) == largest and c.role != "reference")],
    }[which]
    first = {cell.key for cell in last}
    ordered = sorted(
        {cell.key: cell for cell in wanted}.values(),
        key=lambda c: (c.key not in first, -_size(c), -c.n_tokens),
    )
    kept, left_out = [], []
    total = needed = _left_by_others(folder, ordered)
    for cell in ordered:
        size = _size(cell) * STORED_BYTES[precision] + HEADER_BYTES + QUOTED * tokenizer_bytes
        needed += size
        if total + size > budget:
            left_out.append(cell)
        else:
            kept.append(cell)
            total += size
    return KeepPlan(tuple(kept), tuple(left_out), total, needed)


def last_points(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells with the most tokens of each rung; references are left out if there are others."""
    rungs: dict[str, list[Cell]] = {}
    for cell in cells:
        rungs.setdefault(cell.spec.rung, []).append(cell)
    found = []
    for own in rungs.values():
        own = [cell for cell in own if cell.role != "reference"] or own
        most = max(cell.n_tokens for cell in own)
        found += [cell for cell in own if cell.n_tokens == most]
    return found


def keep_lines(
    folder: SweepFolder, plan: KeepPlan, open_cells: Sequence[Cell], which: str, budget_gb: float
) -> list[str]:
    """Return sentences on what is kept, what does not fit, and what was trained without being kept.

    Args:
        folder: folder of the sweep.
        plan: end points that are kept.
        open_cells: cells that are still to be trained.
        which: value of the key `keep`.
        budget_gb: value of the key `keep_gb`.
    """
    lines = []
    if open_cells and (plan.cells or plan.left_out):
        lines.append(
            f"the parameters of {len(plan.cells)} end points are kept, {_megabytes(plan.n_bytes)} of "
            f"keep_gb={budget_gb:g} (keep={which}: {_by_rung(plan.cells) or 'none fits'})"
        )
    if open_cells and plan.left_out:
        lines.append(
            f"of the end points of keep={which} {len(plan.left_out)} do not fit into keep_gb={budget_gb:g} "
            f"and are not kept ({_by_rung(plan.left_out)}); all need "
            f"keep_gb={_rounded_up(plan.needed / 1e9)}"
        )
    still_open = {cell.key for cell in open_cells}
    finished = [cell for cell in plan.cells if cell.key not in still_open and _has_parameters(folder, cell)]
    gone = [cell for cell in finished if not os.path.lexists(_weights(folder, cell))]
    if gone:
        lines.append(
            f"the parameters of {len(gone)} finished end points of keep={which} are not there "
            f"({_by_rung(gone)}); {_way_out(folder, gone)}"
        )
    damaged = _damaged(folder, [cell for cell in finished if cell not in gone])
    if damaged:
        error = damaged[0][1]
        lines.append(
            f"the parameters of {len(damaged)} finished end points of keep={which} cannot be read "
            f"({_by_rung([cell for cell, _ in damaged])}; {error.path}: {error.reason}); "
            f"{_way_out(folder, [cell for cell, _ in damaged])}"
        )
    return lines


def _way_out(folder: SweepFolder, cells: Sequence[Cell]) -> str:
    """Return what trains end points again."""
    point = folder.run(cells[0].spec.run_id).point(cells[0].spec.point_id(cells[0].n_tokens))
    if len(cells) == 1:
        return f"to train it again, delete {point} and give the same command"
    return f"to train one again, delete its file, such as {point}, and give the same command"


def _damaged(folder: SweepFolder, cells: Sequence[Cell]) -> list[tuple[Cell, Damaged]]:
    """Return the cells whose kept parameters cannot be read, with the reason.

    Up to VERIFIED_BYTES are read whole. Of files beyond, only that they are whole and of their end point is
    seen, because reading them may take minutes; a flipped bit in them is noticed by what uses the model.
    """
    from harness.weights.kept import check_kept, check_place, read_card

    found, n_bytes = [], 0
    for cell in cells:
        path = _weights(folder, cell)
        n_bytes += path.lstat().st_size
        try:
            if n_bytes <= VERIFIED_BYTES:
                check_kept(path)
            else:
                check_place(path, read_card(path))
        except Damaged as error:
            found.append((cell, error))
    return found


def _weights(folder: SweepFolder, cell: Cell) -> Path:
    """Return the file of the kept parameters of an end point."""
    return folder.run(cell.spec.run_id).point_weights(cell.spec.point_id(cell.n_tokens))


def _has_parameters(folder: SweepFolder, cell: Cell) -> bool:
    """Return whether an end point was reached: one that diverged has no parameters to keep."""
    run, point_id = folder.run(cell.spec.run_id), cell.spec.point_id(cell.n_tokens)
    try:
        return read_point_file(run.point(point_id), run.run_id, point_id).get("status") == RunStatus.DONE
    except Damaged:
        return False


def _size(cell: Cell) -> int:
    return counting.n_params(cell.spec.model)


def _left_by_others(folder: SweepFolder, chosen: Sequence[Cell]) -> int:
    """Return the bytes of kept parameters that the plan does not ask for; none of them is deleted."""
    own = {cell.spec.point_id(cell.n_tokens) for cell in chosen}
    there = folder.runs.glob("*/weights/*.safetensors")
    return sum(path.stat().st_size for path in there if path.stem not in own)


def _by_rung(cells: Sequence[Cell]) -> str:
    """Return the number of cells of each rung, such as `5 of d96, 1 of d64`."""
    counts: dict[str, int] = {}
    for cell in cells:
        counts[cell.spec.rung] = counts.get(cell.spec.rung, 0) + 1
    return ", ".join(f"{n} of {rung}" for rung, n in counts.items())


def _megabytes(n_bytes: float) -> str:
    return f"{n_bytes / 1e6:.3g} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:.3g} GB"


def _rounded_up(value: float) -> str:
    """Return a number of two digits that is not below `value`."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / unit) * unit:.2g}"
