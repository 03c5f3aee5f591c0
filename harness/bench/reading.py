"""Cost of steps that read a folder of runs, each beside the plain reading of the files that it opened.

A step is measured in a process of its own, after its imports. The process notes which files below the folder
it opens. Another process then reads the same files by `json` and `pyarrow` alone, without a checksum: the
JSON as values, the parquet files as Arrow tables.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before the clock starts, and what is measured. `folder`, `arguments` and `more` are there; `more` takes
# further figures in CPU seconds.
STEPS: dict[str, tuple[str, str]] = {
    "status": ("from harness.status import main", "main([folder])"),
    "plan": ("from harness.sweep.__main__ import main", "main([*arguments, 'dry_run=true'])"),
    "tables": (
        """
from harness.config.settings import load
from harness.runs.collect import write_tables
from harness.sweep.sweep import Sweep
from harness.track.console import plain_console
sweep = Sweep(load(arguments), arguments, plain_console(file=open(os.devnull, "w")))
cells = sweep.prepare().plan.cells
""",
        "write_tables(sweep.folder, cells, 'smoke', [])",
    ),
    "second plan": ("from harness.sweep.__main__ import main", "main([*arguments, 'dry_run=true'])"),
    "table of a fit": (
        "from analysis.tables.table import load_table",
        "load_table(Path(folder) / 'points.parquet')",
    ),
    "served index": (
        "from analysis.serve.site import Site",
        "assert Site(Path(folder)).answer('/').status == 200",
    ),
    "served page": (
        "from analysis.serve.site import Site\nsite = Site(Path(folder))",
        "assert b'problem' not in site.answer('/api/sweep/' + Path(folder).name).body[:99]",
    ),
}
# Ten runs are unfinished here. A driver looks at all runs of its plan while it shows where they end, and it
# chooses the next of the runs that wait.
DRIVER = (
    """
from analysis.curves.watch import SweepWatch
from harness.grid.cells import job_flops, jobs
from harness.launch.interface import Handle
from harness.launch.queue import by_cost, next_pack, shape
from harness.config.settings import load
from harness.sweep.sweep import Sweep
from harness.track.console import plain_console
sweep = Sweep(load(arguments), arguments, plain_console(file=open(os.devnull, "w")))
packs = [(job,) for job in jobs(sweep.prepare().plan.cells)]
waiting = by_cost([Handle(pack, job_flops(pack[0]), False, lambda: None) for pack in packs])
watch = SweepWatch(Path(folder))
""",
    """
watch.look()
def timed(name, act):
    began = time.process_time()
    act()
    more[name] = time.process_time() - began
timed("look without news", watch.look)
part = sorted(next(iter(unfinished)).glob("curves/trunk-*.parquet"))[-1]
part.rename(part.with_suffix(".kept"))
timed("look at a curve that changed", watch.look)
part.with_suffix(".kept").rename(part)
timed("next of the waiting runs", lambda: next_pack(waiting, packs[-1], [shape(packs[0])]))
""",
)
RUNNER = """
import contextlib, json, os, resource, sys, time
from pathlib import Path
given = json.load(sys.stdin)
folder, arguments = given["folder"], given["arguments"]
unfinished = [Path(each) for each in given["unfinished"]]
opened, more = {}, {}
def note(event, details):
    if event == "open" and str(details[0]).startswith(folder) and str(details[1] or "r").startswith("r"):
        opened[str(details[0])] = opened.get(str(details[0]), 0) + 1
sys.addaudithook(note)
with contextlib.redirect_stdout(open(os.devnull, "w")):
    exec(given["before"])
    opened.clear()
    wall, cpu = time.perf_counter(), time.process_time()
    exec(given["step"])
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"cpu": cpu, "wall": wall, "peak_mb": peak, "more": more, "opened": opened}))
"""
PLAIN = """
import json, sys, time
from pathlib import Path
import pyarrow
from pyarrow import parquet
paths = [Path(each) for each in json.load(sys.stdin)]
wall, cpu = time.perf_counter(), time.process_time()
for path in paths:
    data = path.read_bytes()
    if path.suffix == ".parquet":
        parquet.ParquetFile(pyarrow.BufferReader(data)).read(use_threads=False)
    elif path.suffix == ".json":
        json.loads(data)
print(json.dumps({"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}))
"""


@dataclass(frozen=True)
class Cost:
    """What a step took.

    Attributes:
        cpu: CPU seconds, imports left out.
        wall: seconds by the clock.
        peak_mb: largest memory of the process, imports included.
        opened: how often each file below the folder was opened.
        more: CPU seconds of parts of the step, by name.
    """

    cpu: float
    wall: float
    peak_mb: float
    opened: Mapping[str, int]
    more: Mapping[str, float]


def cost(
    code: tuple[str, str], folder: Path, arguments: Sequence[str], unfinished: Sequence[Path] = ()
) -> Cost:
    """Return what a step takes in a process of its own.

    Args:
        code: what runs before the clock starts, and the step.
        folder: folder of the sweep.
        arguments: command line of the sweep.
        unfinished: folders of runs that are not finished.
    """
    given = {"before": code[0], "step": code[1], "folder": str(folder), "arguments": list(arguments)}
    return Cost(**_answer(RUNNER, given | {"unfinished": list(map(str, unfinished))}))


def plain_reading(paths: Sequence[str]) -> dict[str, float]:
    """Return CPU seconds and seconds by the clock of reading files without a checksum."""
    found: dict[str, float] = _answer(PLAIN, list(paths))
    return found


def _answer(script: str, given: Any) -> Any:
    """Return what a script prints as its last line, as JSON; raise RuntimeError if it fails."""
    with tempfile.TemporaryFile("w+") as told:
        json.dump(given, told)
        told.seek(0)
        done = subprocess.run(
            [sys.executable, "-c", script], stdin=told, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise RuntimeError(f"a step of the benchmark failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])
