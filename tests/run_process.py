"""A process that trains the tiny run, alone or as one of several: its environment says which one it is.

    python -m tests.run_process FOLDER CACHE DATA FSDP [KILL_AT ...]

It saves at every logging interval. With KILL_AT it trains in one child after the other, and each kills itself
at that moment, counted over intervals and the middles of saves; at 0 it lives. The last line printed has the
exit codes.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

from harness.engine.compiled import use_cache
from harness.engine.distributed import initialize_from_environment
from harness.engine.mesh import MeshConfig
from harness.train import checkpoint
from tests import ROOT, preloaded
from tests.quick_compilation import without_optimisation
from tests.recipes import RASTER, model, run_spec, train
from tests.slurm_cluster import free_port

ENDS = (4 * RASTER, 8 * RASTER)
SPEC = run_spec(model=model(n_layers=1))


def start(
    folder: Path, cache: Path, data: int, fsdp: int, kill_at: list[int], **environment: str
) -> subprocess.Popen[str]:
    """Start such a process; it compiles into a cache of its own."""
    arguments = [str(argument) for argument in (folder, cache / "tests", data, fsdp, *kill_at)]
    return preloaded.Popen(
        [sys.executable, "-m", "tests.run_process", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def two_processes() -> list[dict[str, str]]:
    """What the environments of two processes that train together say."""
    common = {"HARNESS_COORDINATOR": f"127.0.0.1:{free_port()}", "HARNESS_PROCESSES": "2"}
    return [common | {"HARNESS_PROCESS": str(i)} for i in range(2)]


def start_two(folder: Path, cache: Path, data: int, fsdp: int) -> list[subprocess.Popen[str]]:
    """Start two processes with one device each that train the run together."""
    one = {"XLA_FLAGS": "--xla_force_host_platform_device_count=1 --xla_cpu_multi_thread_eigen=false"}
    return [start(folder, cache, data, fsdp, [], **one, **surroundings) for surroundings in two_processes()]


def train_here(folder: Path, mesh: MeshConfig, kill_at: int = 0) -> None:
    """Train to the end, or until the moment `kill_at`."""
    moments = itertools.count(1)

    def moment() -> bool:
        if next(moments) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    checksums = checkpoint.checksums
    checkpoint.checksums = lambda path: (moment(), checksums(path))[1]
    assert train(folder, SPEC, ENDS, mesh=mesh, seconds=0.0, should_stop=moment) == "done"


def train_in_child(folder: Path, mesh: MeshConfig, kill_at: int) -> int:
    """The same in a child, and its exit code; this process has not started JAX yet, so it may fork."""
    child = os.fork()
    if child == 0:
        train_here(folder, mesh, kill_at)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@without_optimisation()
def main() -> None:
    """Train as the arguments say, in programs that compile quickly."""
    folder, mesh = Path(sys.argv[1]), MeshConfig(int(sys.argv[3]), int(sys.argv[4]))
    use_cache(Path(sys.argv[2]))
    initialize_from_environment()
    if len(sys.argv) == 5:
        train_here(folder, mesh)
    else:
        print(*[train_in_child(folder, mesh, int(moment)) for moment in sys.argv[5:]])


if __name__ == "__main__":
    main()
