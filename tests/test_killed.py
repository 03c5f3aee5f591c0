"""A run killed again and again, and a run of two processes, end with the tables of an undisturbed one."""

from __future__ import annotations

import io
import random
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.collect import collect_curves, collect_points
from harness.grid import Cell
from harness.records import TIMING_COLUMNS, RunFolder, SweepFolder
from harness.train.mesh import MeshConfig
from tests.recipes import train
from tests.run_process import ENDS, SPEC, start, start_two


def run_folder(root: Path) -> Path:
    return root / "runs" / SPEC.run_id


def tables(root: Path) -> list[pd.DataFrame]:
    """Points and curve without what tells of speed."""
    cells = [Cell(SPEC, n, "fit") for n in ENDS]
    folder = SweepFolder(root)
    frames = collect_points(folder, cells, "test"), collect_curves(folder, cells)
    return [frame.drop(columns=[c for c in TIMING_COLUMNS if c in frame]) for frame in frames]


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


@pytest.mark.parametrize(("mesh", "n_kills"), [(MeshConfig(), 5), (MeshConfig(data=2, fsdp=2), 3)], ids=str)
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


@pytest.mark.parametrize("mesh", [MeshConfig(data=2), MeshConfig(fsdp=2)], ids=str)
def test_two_processes_train_as_one(tmp_path: Path, data_cache: Path, mesh: MeshConfig) -> None:
    """And where both are killed and started again, the bytes are those of the two undisturbed."""
    finish(*start_two(run_folder(tmp_path), data_cache, mesh.data, mesh.fsdp))
    points, curve = tables(tmp_path)
    points_of_one, curve_of_one = whole(tmp_path, mesh)
    assert list(curve.step) == list(curve_of_one.step)
    np.testing.assert_allclose(curve.train_loss, curve_of_one.train_loss, rtol=0, atol=1e-5)
    np.testing.assert_allclose(points.loss, points_of_one.loss, rtol=0, atol=1e-5)
    if mesh.fsdp == 2:
        kill_two_in_a_branch(tmp_path / "killed", data_cache, mesh)
        finish(*start_two(run_folder(tmp_path / "killed"), data_cache, mesh.data, mesh.fsdp))
        assert RunFolder(run_folder(tmp_path / "killed")).read_state()["retries"] == 1
        for mine, theirs in zip(tables(tmp_path / "killed"), (points, curve), strict=True):
            assert file_bytes(mine) == file_bytes(theirs)
