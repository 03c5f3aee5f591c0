"""Sweeps on a real Ray cluster of two nodes that the tests start: finished, and with a worker, the driver and
a node killed. Each time the tables are those of a sweep on this machine that nobody disturbed."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.launch.ray import cluster as ray_cluster
from harness.launch.ray.cluster import room
from harness.records.paths import SweepFolder
from harness.records.run_files import RunState
from harness.records.status.rows import RunRow, run_rows
from harness.sweep import __main__ as sweep
from tests import small_sweeps
from tests.preloaded import preload
from tests.quick_compilation import FLAGS
from tests.small_sweeps import LONG, SMALL, THREE_SEEDS, assert_same_runs, start, train

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="needs the extra ray: uv sync --extra ray")
TWO = [LONG, "grid.seeds=[0,1]"]
# So that a run which is stopped early and goes on is seen before it ends, on fast machines too.
OFTEN = "launcher.checkpoint_seconds=0.05"
# A lost node is noticed by the checks that it misses. Workers are not to wait for all other processes here.
QUICK_CHECKS = {
    "RAY_worker_niceness": "0",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    # Workers that wait for work which never comes.
    "RAY_prestart_worker_first_driver": "0",
}


def wait_for(condition: Callable[[], Any], driver: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert driver is None or driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def tree(root: int) -> list[int]:
    """A process and all below it."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


def kill_tree(root: int) -> None:
    for pid in tree(root):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Cluster:
    """Nodes of one core each on this host's own address: Ray replaces the loopback's by it."""

    def __init__(self, folder: Path):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("", 0))
            # The system's free ports lie above those that Ray gives to its workers.
            port = free.getsockname()[1]
        self.host = socket.gethostbyname(socket.gethostname())
        if self.host.startswith("127."):
            self.host = subprocess.check_output(["hostname", "-I"], text=True).split()[0]
        self.address = f"{self.host}:{port}"
        self.nodes: list[subprocess.Popen[bytes]] = []

    def begin(self) -> None:
        port = self.address.split(":")[1]
        self.add("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self.folder}/head")
        self.add(f"--address={self.address}")

    def add(self, *options: str) -> None:
        log = self.folder / f"{len(self.nodes)}.log"
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", *options, f"--node-ip-address={self.host}",
            "--num-cpus=1", "--object-store-memory=80000000", "--block",
        ]  # fmt: skip
        environment = dict(os.environ, RAY_USAGE_STATS_ENABLED="0") | QUICK_CHECKS
        with log.open("wb") as output:
            self.nodes.append(
                subprocess.Popen(
                    command, stdout=output, stderr=output, env=environment, start_new_session=True
                )
            )
        wait_for(lambda: "Ray runtime started" in log.read_text() or self.nodes[-1].poll() is not None)
        assert self.nodes[-1].poll() is None, log.read_text()

    def remove(self) -> None:
        """The last node is gone from one moment to the next, with all that runs there."""
        node = self.nodes.pop()
        kill_tree(node.pid)
        node.wait()


@pytest.fixture(scope="module")
def ray_nodes() -> Iterator[Cluster]:
    """One cluster for all tests; in a folder whose name is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    before = os.environ.get("RAY_AUTH_MODE")
    os.environ["RAY_AUTH_MODE"] = "disabled"
    cluster = Cluster(folder)
    preload("ray")
    try:
        cluster.begin()
        yield cluster
    finally:
        while cluster.nodes:
            cluster.remove()
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.pop("RAY_AUTH_MODE") if before is None else os.environ.update(RAY_AUTH_MODE=before)


def on(nodes: Cluster) -> list[str]:
    """The settings of a sweep on a cluster."""
    return ["launcher=ray", f"launcher.address={nodes.address}", "launcher.checkpoint_seconds=0.25"]


@pytest.fixture
def on_ray(ray_nodes: Cluster) -> list[str]:
    return on(ray_nodes)


def rows(results: Path) -> list[RunRow]:
    folder = SweepFolder(results)
    return run_rows(folder) if folder.sweep.exists() else []


def states(results: Path) -> list[RunState]:
    return [row.state for row in rows(results)]


def saved(results: Path) -> list[int]:
    """Worker processes whose runs are under way and have saved a part."""
    folder = SweepFolder(results)
    return [
        row.state.pid or 0
        for row in rows(results)
        if row.status == "running" and list(folder.run(row.run_id).checkpoints.glob("*/*/manifest.json"))
    ]


@pytest.mark.ray
@needs_ray
def test_three_runs_finish_on_two_warm_workers(
    on_ray: list[str], long_sweep: Path, tmp_path: Path, data_cache: Path
) -> None:
    short = ["grid.n_tokens=[16384]", THREE_SEEDS, "launcher.checkpoint_seconds=60"]
    done = train(tmp_path, data_cache, *on_ray, *short)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len({state.pid for state in states(tmp_path)}) <= 2
    mine, theirs = (small_sweeps.tables(results)[0] for results in (tmp_path, long_sweep))
    theirs = theirs[theirs.n_tokens == 16384].reset_index(drop=True)
    assert len(mine) == 3
    pd.testing.assert_frame_equal(mine, theirs, check_exact=True)


def failures(results: Path) -> list[str]:
    """Why attempts of the sweep's runs failed, sorted."""
    return sorted(failed.error for state in states(results) for failed in state.failures)


@pytest.fixture(scope="module")
def survivor(ray_nodes: Cluster, tmp_path_factory: pytest.TempPathFactory, data_cache: Path) -> Path:
    """Two runs: one worker is stopped, another killed, a node is lost, and then the driver is killed."""
    results = tmp_path_factory.mktemp("survivor")
    command = [*on(ray_nodes), *TWO]
    driver = start(results, data_cache, *command, OFTEN)
    wait_for(lambda: saved(results), driver)
    stopped = saved(results)[0]
    os.kill(stopped, signal.SIGTERM)
    wait_for(lambda: not Path(f"/proc/{stopped}").exists() and set(saved(results)) - {stopped}, driver)
    os.kill((set(saved(results)) - {stopped}).pop(), signal.SIGKILL)
    wait_for(lambda: failures(results), driver)

    wait_for(lambda: set(saved(results)) & set(tree(ray_nodes.nodes[-1].pid)), driver)
    ray_nodes.remove()
    wait_for(lambda: len(failures(results)) == 2, driver)
    driver.kill()
    driver.communicate()
    # On the node that is left.
    done = train(results, data_cache, *command, "launcher.n_workers=1")
    ray_nodes.add(f"--address={ray_nodes.address}")
    assert done.returncode == 0, done.stdout + done.stderr
    return results


@pytest.mark.ray
@needs_ray
def test_workers_are_stopped_and_killed_and_then_the_driver(survivor: Path, long_sweep: Path) -> None:
    """A worker that its node asks to stop saves; the run goes on, which is no failed attempt."""
    lost, killed = failures(survivor)
    assert "signal 9" in killed
    assert "signal 9" not in lost
    assert_same_runs(survivor, long_sweep, 2)


@pytest.mark.ray
@needs_ray
def test_a_node_is_removed_and_its_run_goes_on_on_another(survivor: Path) -> None:
    """The tables are compared above."""
    lost, _ = failures(survivor)
    assert "a worker on the Ray cluster was lost" in lost
    assert {row.status for row in rows(survivor)} == {"finished"}


@pytest.mark.ray
@needs_ray
def test_two_nodes_train_one_run_together(
    on_ray: list[str], long_sweep: Path, tmp_path: Path, data_cache: Path
) -> None:
    """Losses that differ from those of one device by rounding alone.

    The first end point is after 128 steps. After 1,024 steps rounding has grown to 2e-3 on some processors.
    """
    short = ["grid.n_tokens=[16384]", "grid.seeds=[0]", "launcher.checkpoint_seconds=60"]
    two = ["mesh.data=2", "launcher.nodes=2"]
    done = train(tmp_path, data_cache, *on_ray, *short, *two, XLA_FLAGS=FLAGS)
    assert done.returncode == 0, done.stdout + done.stderr
    mine, theirs = (small_sweeps.tables(results)[0] for results in (tmp_path, long_sweep))
    theirs = theirs[theirs.point_id.isin(mine.point_id)]
    assert len(mine) == 1
    assert mine.point_id.tolist() == theirs.point_id.tolist()
    np.testing.assert_allclose(mine.loss, theirs.loss, rtol=1e-4)


def refused(capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    assert sweep.main([*SMALL, "launcher=ray", *overrides]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


# A private cluster with one task; prints the addresses on which its processes listen.
LISTENING = """
import json, psutil
from harness.launch.ray.cluster import connect
connect(None)
import ray
ray.get(ray.remote(lambda: 0).remote())
found = [psutil.Process(), *psutil.Process().children(recursive=True)]
heard = [c.laddr.ip for p in found for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
ray.shutdown()
print(json.dumps(heard))
"""


@pytest.mark.ray
@needs_ray
def test_a_cluster_of_this_machine_alone_is_open_to_this_machine_alone(data_cache: Path) -> None:
    # Ray reads when it is imported to whom a cluster is open.
    done = small_sweeps.finish([sys.executable, "-c", LISTENING], data_cache, fresh=True)
    assert done.returncode == 0, done.stderr
    heard = json.loads(done.stdout.splitlines()[-1])
    assert len(heard) > 3
    assert {address.removeprefix("::ffff:") for address in heard} == {"127.0.0.1"}


@pytest.mark.ray
@needs_ray
def test_more_than_the_cluster_has_is_refused(on_ray: list[str], tmp_path: Path, data_cache: Path) -> None:
    done = train(tmp_path, data_cache, *on_ray, "launcher.gpus=8")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "needs 1 node(s) with 1 CPU, 8 GPU for a run, and the nodes of the cluster have 1 CPU; 1 CPU" in (
        done.stderr
    )
    assert done.stderr.count("\n") == 1


@needs_ray
def test_an_address_where_no_ray_answers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"launcher.address=127.0.0.1:{silent.getsockname()[1]}"
        assert "Connection refused" in refused(capsys, address)
        silent.listen()
        monkeypatch.setattr(ray_cluster, "ANSWER_SECONDS", 0.1)
        assert "no answer within 0.1 s" in refused(capsys, address)
    message = refused(capsys, "launcher.address=nowhere")
    assert "launcher.address=nowhere is no address of a Ray cluster; type auto or HOST:PORT" in message


def test_settings_that_ray_cannot_follow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda _: None)
    assert "type uv sync --extra ray" in refused(capsys)
    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda _: True)
    assert "ray job submit" in refused(capsys, "launcher.detach=true")
    assert "cannot share the 1 devices of the mesh evenly" in refused(capsys, "launcher.nodes=2")
    assert "launcher.resources.TPU=0 is out of range" in refused(capsys, "+launcher.resources.TPU=0")


@pytest.mark.parametrize(
    ("cores", "need", "n_processes", "expected"),
    [
        ([8, 8], {"CPU": 1.0}, 1, 16),
        ([8, 3, 0], {"CPU": 2.0}, 1, 5),
        ([8], {"CPU": 1.0}, 2, 0),
        # The large node holds one process of each run, whatever else is free there.
        ([8, 1, 2], {"CPU": 1.0}, 2, 3),
        ([4, 4, 4], {"CPU": 1.0}, 2, 6),
        ([4, 4], {"CPU": 1.0, "GPU": 1.0}, 1, 0),
    ],
)
def test_room_for_runs(cores: list[float], need: dict[str, float], n_processes: int, expected: int) -> None:
    assert room([{"CPU": float(n)} for n in cores], need, n_processes) == expected
