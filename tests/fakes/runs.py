"""Files of the runs of a small plan, in whatever state a test asks for; nothing is trained."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.records.files import write_json
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from harness.records.run_files import RunState, RunStatus
from harness.records.status.lease_file import Lease
from tests.fakes.record import cell, sweep_record

CELLS = tuple(cell(run, n, rung) for run, rung in [("aa", "d16"), ("bb", "d32")] for n in (1, 2))


def planned_sweep(root: Path) -> SweepFolder:
    """A sweep of CELLS of which no run has begun."""
    made = SweepFolder(root)
    write_record(made.sweep, sweep_record(cells=CELLS))
    return made


def state(folder: SweepFolder, status: str, age: float = 0.0, run: str = "aa", **more: Any) -> None:
    """Write the state of a run, as of `age` seconds ago."""
    said = RunState(status=RunStatus(status), updated=time.time() - age, **more)
    write_record(folder.run(run).state, said)


def finish(folder: SweepFolder, *points: str, run: str = "aa") -> None:
    """Write the files of end points of a run."""
    for point in points:
        write_json(folder.run(run).point(point), {})


def hold(folder: SweepFolder, age: float = 0.0, released: bool = False) -> None:
    """A lease of the first run, by another host, last touched `age` seconds ago."""
    path = folder.run("aa").lease / "1.json"
    write_json(path, asdict(Lease("x", "elsewhere", "another", 1, "1", released)))
    os.utime(path, (time.time() - age, time.time() - age))
