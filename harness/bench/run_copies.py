"""Copies of a trained run under the ids of other seeds, with the files that training would have left.

Losses of a copy differ from those of its original by the noise of a seed, and every checksum is its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from harness.recipe.spec import Job, RunSpec
from harness.records.files import arrow_bytes, json_text, read_table, write_atomic
from harness.records.json_files import read_checked, with_check
from harness.records.paths import RunFolder

NOISE = 0.005  # of log losses: about that of a seed at these sizes
LOSSES = ("loss", "train_loss", "eval_loss")
FOLDERS = ("curves", "evals", "items")


@dataclass(frozen=True)
class Original:
    """Files of a finished run, read once.

    Attributes:
        root: its folder.
        rung: name of its model size.
        jsons: content of state.json and provenance.json, by name.
        points: content of the files of its end points, by token count.
        tables: its tables, by folder and name.
    """

    root: Path
    rung: str
    jsons: Mapping[str, Any]
    points: Mapping[int, dict[str, Any]]
    tables: Mapping[tuple[str, str], pa.Table]


def original(run: RunFolder) -> Original:
    """Return the files of a run that was trained to its end."""
    points = [read_checked(path) for path in sorted(run.points.glob("*.json"))]
    tables = {
        (folder, path.name): pa.Table.from_pandas(read_table(path), preserve_index=False)
        for folder in FOLDERS
        for path in sorted((run.root / folder).glob("*.parquet"))
    }
    jsons = {path.name: read_checked(path) for path in (run.state, run.provenance)}
    return Original(
        run.root, points[0]["rung"], jsons, {point["n_tokens"]: point for point in points}, tables
    )


def copy_run(source: Original, spec: RunSpec, target: RunFolder) -> None:
    """Write the files of a run of another seed.

    Args:
        source: the trained run.
        spec: recipe of the copy, which differs in the seed alone.
        target: its folder.
    """
    shift = float(np.exp(NOISE * np.random.default_rng(spec.seed).standard_normal()))
    ids = {point["point_id"]: spec.point_id(tokens) for tokens, point in source.points.items()}
    own = {"run_id": spec.run_id, "trunk_id": spec.run_id, "seed": spec.seed}
    _write(target.spec, spec.to_dict())
    for (folder, name), table in source.tables.items():
        named = f"{ids[Path(name).stem]}.parquet" if Path(name).stem in ids else name
        data = arrow_bytes(_moved(table, spec.run_id, ids, shift))
        write_atomic(target.root / folder / named, data, synced=False)
    for point in source.points.values():
        row = {**point, **own, "point_id": ids[point["point_id"]], "loss": point["loss"] * shift}
        _write(target.point(row["point_id"]), row)
    if (source.root / "lease").is_dir():
        shutil.copytree(source.root / "lease", target.lease)
    for name, content in source.jsons.items():
        _write(target.root / name, content)


def _moved(table: pa.Table, run_id: str, points: Mapping[str, str], shift: float) -> pa.Table:
    """Return the rows of a copy: its own ids, and losses times a factor."""
    columns = {
        "run_id": [run_id] * len(table),
        "point_id": [points.get(each) for each in table["point_id"].to_pylist()],
    }
    columns |= {name: pc.multiply(table[name], shift) for name in LOSSES if name in table.column_names}
    for name, values in columns.items():
        field = table.schema.field(name)
        table = table.set_column(
            table.schema.get_field_index(name),
            field,
            pa.chunked_array([pa.array(values, field.type)]) if isinstance(values, list) else values,
        )
    return table


def _write(path: Path, content: Any) -> None:
    # Not synced: the disk would be waited for a hundred thousand times.
    text = json_text(with_check(content) if isinstance(content, dict) else content)
    write_atomic(path, text, synced=False)


def copy_runs(originals: Mapping[str, Original], jobs: list[Job], runs: Path, processes: int) -> None:
    """Write a copy for each job, from the original of its rung.

    Args:
        originals: trained runs by rung.
        jobs: the runs to write.
        runs: folder with a folder a run.
        processes: processes that write.
    """
    work = [(originals[job.spec.rung], job.spec, RunFolder(runs / job.spec.run_id)) for job in jobs]
    with get_context("spawn").Pool(processes) as pool:
        pool.starmap(copy_run, work, chunksize=50)
