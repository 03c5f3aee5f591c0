"""A sweep that is killed, resumed, widened or moved ends with the tables of one that was not."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.grid.expansion import expand
from harness.recipe.spec import RunSpec
from harness.records.files import write_json
from harness.records.json_files import read_checked
from harness.records.paths import SweepFolder
from harness.runs.collect import write_tables
from harness.sweep import __main__ as sweep
from tests import small_sweeps
from tests.small_sweeps import LONG, SMALL, THREE_SEEDS, assert_same_runs, point_times, train

PAIR = [LONG, "grid.seeds=[0,1]", "launcher.checkpoint_seconds=0.2", "launcher.n_workers=2"]


def test_an_added_seed_trains_only_its_cells(long_sweep: Path, tmp_path: Path, data_cache: Path) -> None:
    results = tmp_path / "wider"
    shutil.copytree(long_sweep, results)
    before = point_times(results)
    done = train(results, data_cache, LONG, "grid.seeds=[0,1,2,3]")
    assert "8 cells, 2 to train" in done.stdout
    after = point_times(results)
    assert len(before) == 6
    assert len(after) == 8
    assert before.items() <= after.items()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def start(results: Path, cache: Path) -> subprocess.Popen[str]:
    """The sweep of two seeds, up to a moment in the middle of a run that it has saved."""
    parts = set(results.glob("runs/*/curves/*"))
    process = small_sweeps.start(results, cache, *PAIR)
    wait_for(lambda: bool(set(results.glob("runs/*/curves/*")) - parts), process)
    return process


def alive(pid: int) -> bool:
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout.strip() not in ("", "Z", "ZN", "Zs", "ZNs")


def workers(results: Path) -> list[int]:
    """Processes of runs that have begun."""
    states = [json.loads(path.read_text()) for path in results.glob("runs/*/state.json")]
    return [state["pid"] for state in states if "pid" in state]


def test_interrupted_then_killed_then_finished_equals_undisturbed(
    long_sweep: Path, tmp_path: Path, data_cache: Path
) -> None:
    process = start(tmp_path, data_cache)
    begun = workers(tmp_path)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130
    assert errors == "interrupted; the state is saved, the same command goes on from here\n"
    assert begun
    assert not [pid for pid in begun if alive(pid)]

    kept = point_times(tmp_path)
    process = start(tmp_path, data_cache)
    begun = workers(tmp_path)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in begun) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in begun if alive(pid)]

    kept |= point_times(tmp_path)
    done = train(tmp_path, data_cache, *PAIR)
    assert done.returncode == 0
    assert kept.items() <= point_times(tmp_path).items()
    assert_same_runs(tmp_path, long_sweep, 2)


def test_a_folder_of_another_place_or_mesh_is_the_same_recipe(
    long_sweep: Path, tmp_path: Path, data_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(long_sweep, moved)
    arguments = [
        *SMALL,
        LONG,
        THREE_SEEDS,
        "mesh.data=2",
        "dry_run=true",
        f"results_dir={moved}",
        f"cache_dir={data_cache}",
    ]
    assert sweep.main(arguments) == 0
    assert "6 cells, 0 to train" in capsys.readouterr().out


def test_fits_of_other_points_are_removed(long_sweep: Path, tmp_path: Path) -> None:
    """A sweep that was widened, or killed before its fits, does not show those of the table before."""
    shutil.copytree(long_sweep, tmp_path / "copy")
    folder = SweepFolder(tmp_path / "copy")
    path = next(folder.runs.glob("*/spec.json"))
    data = RunSpec.from_dict(read_checked(path)).data
    cells = expand(small_sweeps.settings(LONG, THREE_SEEDS), data, small_sweeps.VOCAB)
    write_json(folder.fits, {})
    assert len(write_tables(folder, cells, "smoke", [])) == 6
    assert folder.fits.exists()
    assert len(write_tables(folder, cells[:3], "smoke", [])) == 3
    assert not folder.fits.exists()
