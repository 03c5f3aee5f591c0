"""A run killed again and again, and a run of two processes, end with the tables of an undisturbed one."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

from harness.data.build import DataConfig
from harness.engine.mesh import MeshConfig
from harness.launch.worker import WorkerConfig
from harness.recipe.spec import Job
from harness.records.paths import RunFolder
from harness.weights.kept import read_kept
from tests import ROOT, preloaded
from tests.quick_compilation import FLAGS
from tests.recipes import collected, train
from tests.run_process import ENDS, SPEC, start, start_two, two_processes
from tests.small_sweeps import environment

DEVICES = "--xla_force_host_platform_device_count"


def run_folder(root: Path) -> Path:
    return root / "runs" / SPEC.run_id


def tables(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Points and curve without what tells of speed."""
    return collected(root, [SPEC], ENDS)


def file_bytes(frame: pd.DataFrame) -> bytes:
    """A table as its parquet file holds it."""
    file = io.BytesIO()
    frame.to_parquet(file, index=False)
    return file.getvalue()


def finish(*processes: subprocess.Popen[str]) -> str:
    """Wait for processes to end well; the last line of the first."""
    spoken = [process.communicate(timeout=300) for process in processes]
    assert all(process.returncode == 0 for process in processes), spoken
    return spoken[0][0].strip().split("\n")[-1]


def whole(root: Path, mesh: MeshConfig) -> list[pd.DataFrame]:
    """Tables of the run that nobody disturbed, trained by this process."""
    assert train(run_folder(root / "whole"), SPEC, ENDS, mesh=mesh) == "done"
    return tables(root / "whole")


@pytest.mark.parametrize(("mesh", "n_kills"), [(MeshConfig(), 4), (MeshConfig(data=2, fsdp=2), 2)], ids=str)
def test_a_run_killed_again_and_again_gives_the_same_bytes(
    tmp_path: Path, data_cache: Path, mesh: MeshConfig, n_kills: int
) -> None:
    """SIGKILL between steps and in the middle of saves, on the trunk and in both branches."""
    draw = random.Random(n_kills)
    moments = [draw.randint(2, 7) for _ in range(n_kills)]
    codes = finish(start(run_folder(tmp_path), data_cache, mesh.data, mesh.fsdp, [*moments, 0]))
    assert codes.split() == ["-9"] * n_kills + ["0"]
    for mine, theirs in zip(tables(tmp_path), whole(tmp_path, mesh), strict=True):
        assert file_bytes(mine) == file_bytes(theirs)


def kill_two_in_a_branch(root: Path, cache: Path, mesh: MeshConfig) -> None:
    """Two processes, both killed once a branch has been saved."""
    processes = start_two(run_folder(root), cache, mesh.data, mesh.fsdp)
    deadline = time.monotonic() + 200
    while not list(run_folder(root).glob("checkpoints/branch-*/*/manifest.json")):
        assert all(process.poll() is None for process in processes), processes[0].communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for process in processes:
        process.kill()
    for process in processes:
        process.communicate()


def assert_close(root: Path, other: list[pd.DataFrame]) -> None:
    """The same steps, and losses to 1e-5."""
    (points, curve), (points_of_other, curve_of_other) = tables(root), other
    assert list(curve.step) == list(curve_of_other.step)
    np.testing.assert_allclose(curve.train_loss, curve_of_other.train_loss, rtol=0, atol=1e-5)
    np.testing.assert_allclose(points.loss, points_of_other.loss, rtol=0, atol=1e-5)


def test_two_processes_train_as_one_and_go_on_after_both_were_killed(
    tmp_path: Path, data_cache: Path
) -> None:
    mesh = MeshConfig(fsdp=2)
    finish(*start_two(run_folder(tmp_path), data_cache, mesh.data, mesh.fsdp))
    assert_close(tmp_path, whole(tmp_path, mesh))
    kill_two_in_a_branch(tmp_path / "killed", data_cache, mesh)
    finish(*start_two(run_folder(tmp_path / "killed"), data_cache, mesh.data, mesh.fsdp))
    assert RunFolder(run_folder(tmp_path / "killed")).read_state().retries == 1
    for mine, theirs in zip(tables(tmp_path / "killed"), tables(tmp_path), strict=True):
        assert file_bytes(mine) == file_bytes(theirs)


def start_worker(root: Path, cache: Path, n_devices: int, **changes: str) -> subprocess.Popen[str]:
    """A worker of a sweep whose mesh splits the batch over two devices, with one job; it compiles quickly."""
    data = asdict(DataConfig("synthetic", 32, synthetic_tokens=100_000, min_eval_tokens=8_224))
    config = WorkerConfig(str(root), str(cache), data, SPEC.model.seq_len, 2048, 512, {"data": 2}, {}, 60.0)
    config = replace(config, kept=(SPEC.point_id(ENDS[-1]),))
    root.mkdir(exist_ok=True)
    # A file for each of a pair: the second must not empty what the first still reads.
    lines = root / f"lines-{changes.get('HARNESS_PROCESS', 'alone')}"
    lines.write_text("\n".join([config.to_line(), json.dumps({"jobs": [Job(SPEC, ENDS).to_dict()]}), ""]))
    with open(lines) as given:
        return preloaded.Popen(
            [sys.executable, "-m", "harness.launch.worker"],
            cwd=ROOT,
            env=environment(cache, XLA_FLAGS=f"{DEVICES}={n_devices} {FLAGS}", **changes),
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def start_pair(root: Path, cache: Path) -> list[subprocess.Popen[str]]:
    """Two workers with a device each, as a launcher starts them."""
    return [start_worker(root, cache, 1, **said) for said in two_processes()]


def statuses(workers: list[subprocess.Popen[str]]) -> list[str]:
    """What each answers in its one line, whatever libraries print."""
    try:
        spoken = [worker.communicate(timeout=200) for worker in workers]
    except subprocess.TimeoutExpired:
        ended = [worker.poll() for worker in workers]
        for worker in workers:
            worker.kill()
        raise AssertionError([ended, *(worker.communicate() for worker in workers)]) from None
    assert all(worker.returncode == 0 for worker in workers), spoken
    return [json.loads(output)["outcomes"][0]["status"] for output, _ in spoken]


def test_workers_with_a_coordinator_train_stop_and_go_on_together(tmp_path: Path, data_cache: Path) -> None:
    assert statuses([start_worker(tmp_path / "one", data_cache, 2)]) == ["done"]
    pair, run = start_pair(tmp_path, data_cache), RunFolder(run_folder(tmp_path))
    while not run.state.exists():
        assert all(worker.poll() is None for worker in pair), pair[0].communicate()
        time.sleep(0.05)
    assert run.read_state().pid == pair[0].pid
    pair[1].terminate()
    assert statuses(pair) == ["interrupted", "interrupted"]
    assert statuses(start_pair(tmp_path, data_cache)) == ["done", "done"]
    assert_close(tmp_path, tables(tmp_path / "one"))
    kept = [RunFolder(run_folder(root)) for root in (tmp_path, tmp_path / "one")]
    mine, theirs = (read_kept(run.point_weights(SPEC.point_id(ENDS[-1]))).params for run in kept)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), mine, theirs)
