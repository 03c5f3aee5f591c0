"""Folders of many finished runs: one is written by hand, the others are copies of it under their own ids."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.bench.run_copies import copy_run, original
from harness.grid.cells import Cell, jobs
from harness.recipe.schedule import TRUNK, branch_start
from harness.recipe.spec import RunSpec
from harness.records.columns import CURVE_COLUMNS, EVAL_COLUMNS, ITEM_COLUMNS, as_table
from harness.records.files import write_json, write_table
from harness.records.json_files import write_record
from harness.records.paths import RunFolder, SweepFolder
from harness.records.run_files import RunState, RunStatus
from harness.records.sweep_file import SweepCell
from harness.runs.finished import RESTS_ON, rests_on_recipe
from tests.fakes.points import write_point
from tests.fakes.record import sweep_record
from tests.small_sweeps import small_cells

opened: list[str] | None = None


def many_runs(root: Path, n: int) -> tuple[SweepFolder, list[Cell]]:
    """A sweep of `n` finished runs of one size with two end points each, and its cells."""
    folder = SweepFolder(root)
    cells = small_cells(f"grid.seeds={list(range(n))}".replace(" ", ""))
    first, *others = sorted(jobs(cells), key=lambda job: job.spec.seed)
    write_run(folder, first.spec, first.n_tokens)
    source = original(folder.run(first.spec.run_id))
    for job in others:
        copy_run(source, job.spec, folder.run(job.spec.run_id))
    write_record(folder.sweep, sweep_record(cells=tuple(map(_record, cells))))
    return folder, cells


def write_run(folder: SweepFolder, spec: RunSpec, n_tokens: tuple[int, ...]) -> None:
    """The files of a finished run with task evaluations, whose loss falls with the step."""
    run = folder.run(spec.run_id)
    write_json(run.spec, spec.to_dict())
    write_record(run.state, RunState(status=RunStatus.DONE))
    write_json(run.provenance, [])
    last = max(branch_start(spec, tokens) for tokens in n_tokens)
    _write_part(run, spec, TRUNK, None, 0, last)
    for tokens in n_tokens:
        point_id, end = spec.point_id(tokens), spec.n_steps(tokens)
        _write_part(run, spec, f"branch-{tokens}", point_id, branch_start(spec, tokens), end)
        row = {"run_id": spec.run_id, "point_id": point_id, "n_tokens": tokens, "task": "copy", "value": 0.5}
        tables = {run.point_evals(point_id): EVAL_COLUMNS, run.point_items(point_id): ITEM_COLUMNS}
        for path, columns in tables.items():
            write_table(path, as_table([dict.fromkeys(columns, 1) | _texts(columns) | row], columns))
        rests_on = {RESTS_ON: rests_on_recipe(spec, tokens, ()).to_dict()}
        own = {"trunk_id": spec.run_id, "seed": spec.seed, "rung": spec.rung, "n_steps": end}
        write_point(folder, spec, tokens, **own, **rests_on)


def _texts(columns: dict[str, str]) -> dict[str, str]:
    return {name: "x" for name, kind in columns.items() if kind == "string"}


def _write_part(
    run: RunFolder, spec: RunSpec, segment: str, point_id: str | None, first: int, last: int
) -> None:
    steps = range(first + spec.log_interval, last + 1, spec.log_interval)
    rows: list[dict[str, Any]] = [
        {"run_id": spec.run_id, "point_id": point_id, "step": step, "n_tokens": step * spec.batch_tokens,
         "flops": 1.0, "train_loss": 2 + step**-0.5, "eval_loss": 2 + step**-0.5, "hidden_lr": 0.01,
         "grad_norm": 1.0, "tokens_per_second": 9.0}
        for step in steps
    ]  # fmt: skip
    write_table(run.curve_part(segment, steps[0], steps[-1]), as_table(rows, CURVE_COLUMNS))


def _record(cell: Cell) -> SweepCell:
    return SweepCell(
        run_id=cell.spec.run_id,
        point_id=cell.spec.point_id(cell.n_tokens),
        rung=cell.spec.rung,
        seed=cell.spec.seed,
        n_tokens=cell.n_tokens,
        flops=cell.flops,
        role=cell.role,
    )


def _note(event: str, details: tuple[Any, ...]) -> None:
    if opened is not None and event == "open" and str(details[1] or "r").startswith("r"):
        opened.append(str(details[0]))


sys.addaudithook(_note)


@contextmanager
def files_opened(root: Path) -> Iterator[list[str]]:
    """The files below a folder that a `with` block opens to read, one entry an opening."""
    global opened
    opened, found = [], []
    try:
        yield found
    finally:
        found += [path for path in opened if path.startswith(str(root))]
        opened = None
