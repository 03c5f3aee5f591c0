"""Files of chosen cells: cells of a grid, which `harness.sweep` trains, or a table for other trainers."""

from __future__ import annotations

from pathlib import Path

from analysis.design.choose import Choice, ChosenCell
from harness.config.cells_file import cells_text
from harness.records.files import write_atomic


def write_grid(path: Path, choice: Choice, folder: str, command: str) -> None:
    """Write the cells as a file that extends a sweep: `+grid=cells cells=FILE`."""
    entries: dict[tuple[int, int, int], list[int]] = {}
    for cell in choice.cells:
        size, seed = cell.trunk.size, cell.trunk.seed
        assert size.d_model is not None
        assert size.n_layers is not None
        assert seed is not None
        entries.setdefault((size.d_model, size.n_layers, seed), []).append(round(cell.n_tokens))
    cells = [
        {"d_model": width, "n_layers": depth, "n_tokens": sorted(ends), "seeds": [seed]}
        for (width, depth, seed), ends in sorted(entries.items())
    ]
    notes = [
        f"Made by: {command}",
        f"Expected: the standard error of the loss at {choice.target.flops:.3g} FLOPs falls from "
        f"{100 * choice.error_before:.2g} to {100 * choice.error_after:.2g} %, for {choice.price:.3g}.",
    ]
    write_atomic(path, cells_text(folder, cells, notes).encode())


def write_runs(path: Path, choice: Choice) -> None:
    """Write the cells as a table of N, D and FLOPs, for another trainer."""
    rows = ["N,D,flops,branch_of"]
    rows += [
        f"{cell.trunk.size.n:.6g},{cell.n_tokens:.6g},{cell.price:.6g},{_trunk(cell)}"
        for cell in choice.cells
    ]
    write_atomic(path, ("\n".join(rows) + "\n").encode())


def _trunk(cell: ChosenCell) -> str:
    """Return the longest run of the trunk that a cell branches from; empty for a new one."""
    return f"{cell.trunk.ends[-1]:.6g}" if cell.trunk.ends else ""
