"""What happens to a sweep on a real machine: processes are killed at random, two people start it at once, the
disk is full, the folder is read-only. Each time the tables are those of an undisturbed sweep."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.records.paths import SweepFolder
from harness.records.status.lease_file import highest, path_of
from harness.records.status.rows import run_rows
from harness.sweep import __main__ as sweep
from tests.small_sweeps import LONG, SMALL, assert_same_runs, point_times, start, train

TWO = [LONG, "grid.seeds=[0,1]", "launcher.checkpoint_seconds=0.25"]
STUBBORN = [*TWO, "launcher.n_workers=2", "launcher.max_attempts=1000"]


def test_two_drivers_at_once_train_each_run_once(long_sweep: Path, tmp_path: Path, data_cache: Path) -> None:
    """A run writes its recipe when it begins: that file is made once."""
    drivers = [start(tmp_path, data_cache, *TWO, "launcher.n_workers=1") for _ in range(2)]
    recipes: dict[Path, set[int]] = {}
    while any(driver.poll() is None for driver in drivers):
        for path in tmp_path.glob("runs/*/spec.json"):
            with contextlib.suppress(FileNotFoundError):
                recipes.setdefault(path, set()).add(path.stat().st_ino)
        time.sleep(0.01)
    spoken = [driver.communicate() for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], spoken
    assert [len(found) for found in recipes.values()] == [1, 1]
    assert [run.state.retries for run in run_rows(SweepFolder(tmp_path))] == [0, 0]
    assert_same_runs(tmp_path, long_sweep, 2)


def workers_of(driver: subprocess.Popen[str]) -> list[int]:
    command = ["pgrep", "-P", str(driver.pid), "python"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def traces(results: Path) -> dict[Path, int]:
    """What runs have written, and when."""
    found = {}
    for path in [
        *results.glob("runs/*/curves/*.parquet"),
        *results.glob("runs/*/checkpoints/*/*/manifest.json"),
    ]:
        with contextlib.suppress(FileNotFoundError):
            found[path] = path.stat().st_mtime_ns
    return found


def has_moved(driver: subprocess.Popen[str], results: Path, before: dict[Path, int]) -> bool:
    """Wait until runs have written something new; False where the driver has ended."""
    deadline = time.monotonic() + 300
    while driver.poll() is None:
        if not traces(results).items() <= before.items():
            return True
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return False


@pytest.mark.parametrize(
    ("n_kills", "n_tokens"), [(5, 131_072), pytest.param(50, 2_097_152, marks=pytest.mark.slow)]
)
def test_killed_at_random_again_and_again(
    long_sweep: Path, tmp_path: Path, data_cache: Path, n_kills: int, n_tokens: int
) -> None:
    """Workers and, less often, the driver, each time after the runs got on a little."""
    overrides, expected = STUBBORN, long_sweep
    if n_tokens != 131_072:
        longer = ["data.max_epochs=100", f"grid.n_tokens=[16384,{n_tokens}]"]
        overrides, expected = [*STUBBORN, *longer], tmp_path / "expected"
        assert train(expected, data_cache, *overrides).returncode == 0
    results, draw, killed = tmp_path / "killed", random.Random(n_kills), 0
    driver = start(results, data_cache, *overrides)
    while killed < n_kills and has_moved(driver, results, traces(results)):
        time.sleep(draw.random() * 0.1)
        kept = point_times(results)
        victim = draw.choice([driver.pid, *workers_of(driver) * 2])
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            killed += 1
        if victim == driver.pid:
            driver.communicate()
            driver = start(results, data_cache, *overrides)
        assert kept.items() <= point_times(results).items()
    _, errors = driver.communicate(timeout=500)
    assert driver.returncode == 0, errors
    assert killed == n_kills
    assert sum(run.state.retries for run in run_rows(SweepFolder(results))) > 0
    assert_same_runs(results, expected, 2)


@contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[None]:
    """Something mounted at a folder; skips where that is not allowed."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting takes root: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_fails_runs_with_the_reason_and_they_go_on_once_there_is_room(
    long_sweep: Path, tmp_path: Path, data_cache: Path
) -> None:
    results, overrides = tmp_path / "small", (*TWO, "launcher.n_workers=1")
    with mounted(results, "-t", "tmpfs", "-o", "size=4m", "tmpfs"):
        (results / "ballast").write_bytes(bytes(3_850_000))
        done = train(results, data_cache, *overrides, "launcher.max_attempts=2")
        assert done.returncode in (1, 2), done.stdout
        assert "Traceback" not in done.stderr
        said = done.stdout.replace("\n", " ") + done.stderr
        assert "No space left on device" in said or "the disk is full" in said
        (results / "ballast").unlink()
        again = train(results, data_cache, *overrides)
        assert again.returncode == 0, again.stdout + again.stderr
        assert_same_runs(results, long_sweep, 2)
        assert not list(results.rglob("*.tmp"))


def test_a_read_only_folder_is_one_sentence(
    tmp_path: Path, data_cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.sweep.sweep.matmul_rate", lambda: 1e10)
    results = tmp_path / "results"
    with mounted(results, "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs"):
        assert sweep.main([*SMALL, f"results_dir={results}", f"cache_dir={data_cache}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: the folder is read-only (")
    assert "give another results_dir" in error
    assert error.count("\n") == 1


LONGER = ["grid.n_tokens=[16384,1048576]", "data.max_epochs=100", "grid.seeds=[0,1,2]"]
DAY = 86_400.0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data_cache: Path) -> Path:
    """The sweep that the next test disturbs."""
    results = tmp_path_factory.mktemp("chaos") / "undisturbed"
    done = train(results, data_cache, *STUBBORN, *LONGER)
    assert done.returncode == 0, done.stderr
    return results


def held_leases(results: Path) -> dict[Path, int]:
    """The lease that counts of each run that is being trained, and the process that holds it."""
    found = {}
    for folder in results.glob("runs/*/lease"):
        with contextlib.suppress(OSError, ValueError):
            path = path_of(folder, highest(folder))
            lease = json.loads(path.read_text())
            if not lease["released"] and Path(f"/proc/{lease['pid']}").exists():
                found[path] = lease["pid"]
    return found


def outlive(path: Path, pid: int) -> bool:
    """Stop a worker until its lease has run out and another one has taken the run, then let it go on.

    The lease is made older instead of waiting; False where nobody took the run within seconds.
    """
    os.kill(pid, signal.SIGSTOP)
    try:
        os.utime(path, (time.time() - DAY, time.time() - DAY))
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            if highest(path.parent) > int(path.stem):
                time.sleep(0.3)  # so that both have reason to write
                return True
            time.sleep(0.02)
        return False
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_chaos_on_one_folder_leaves_the_tables_of_an_undisturbed_sweep(
    seed: int, undisturbed: Path, tmp_path: Path, data_cache: Path
) -> None:
    """Three drivers; workers stopped for longer than their lease, one killed, and clocks that jump."""
    draw, results = random.Random(seed), tmp_path / "chaos"
    drivers = [start(results, data_cache, *STUBBORN, *LONGER) for _ in range(3)]
    done = dict.fromkeys(("outlived", "jumped", "killed"), 0)
    while done["outlived"] < 3 or not done["killed"] or not done["jumped"]:
        if not any(has_moved(driver, results, traces(results)) for driver in drivers):
            break
        with contextlib.suppress(IndexError, OSError):
            path, pid = draw.choice(list(held_leases(results).items()))
            what = draw.choice(["outlived", "outlived", "jumped", *([] if done["killed"] else ["killed"])])
            if what == "outlived":
                done[what] += outlive(path, pid)
            elif what == "jumped":
                # The clock of the host that touches the lease is ahead or behind.
                at = time.time() + draw.choice([-DAY, DAY])
                os.utime(path, (at, at))
                done[what] += 1
            else:
                os.kill(pid, signal.SIGKILL)
                done[what] += 1
    spoken = [driver.communicate(timeout=500) for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0, 0], spoken
    print(seed, done)
    assert done["outlived"] + done["jumped"] + done["killed"] >= 3
    assert_same_runs(results, undisturbed, 3)
