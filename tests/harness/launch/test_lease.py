"""One owner a run, whoever asks, and another one once the first is gone."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from harness.launch import lease
from harness.launch.lease import Held, held
from harness.records.paths import RunFolder
from harness.records.status.lease_file import (
    SAME_START_SECONDS,
    STALE_SECONDS,
    TICKS_PER_SECOND,
    Lease,
    holder,
)
from tests import ROOT


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def foreign(run: RunFolder, age: float, number: int = 1) -> Path:
    """A lease of another host that was last touched `age` seconds ago."""
    path = run.lease / f"{number}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(Lease("they", "elsewhere", "another system", 1, "0"))))
    os.utime(path, (time.time() - age,) * 2)
    return path


def numbers(run: RunFolder) -> list[str]:
    return sorted(path.name for path in run.lease.iterdir())


def test_one_process_at_a_time(run: RunFolder) -> None:
    assert holder(run) is None
    with held(run):
        mine = holder(run)
        assert mine
        assert mine.pid == os.getpid()
        with pytest.raises(Held), held(run):
            pass
    assert holder(run) is None
    with held(run):
        pass
    assert numbers(run) == ["2.json"]


def test_a_run_is_given_up_where_the_disk_is_full(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with held(run):
        monkeypatch.setattr(lease, "write_json", full)
        assert holder(run)
    assert holder(run) is None


def test_a_lease_of_another_host_holds_until_it_is_stale(run: RunFolder) -> None:
    path = foreign(run, age=STALE_SECONDS - 10)
    assert holder(run)
    with pytest.raises(Held), held(run):
        pass
    os.utime(path, (time.time() - STALE_SECONDS - 1,) * 2)
    with held(run):
        mine = holder(run)
        assert mine
        assert mine.owner != "they"
    assert numbers(run) == ["2.json"]


KILLED = """
import os, sys
from pathlib import Path
from harness.launch.lease import held
from harness.records.paths import RunFolder
with held(RunFolder(Path(sys.argv[1]))):
    os.kill(os.getpid(), 9)
"""


def test_a_killed_process_of_this_host_is_known_to_be_dead(run: RunFolder) -> None:
    died = subprocess.run([sys.executable, "-c", KILLED, str(run.root)], cwd=ROOT, check=False)
    assert died.returncode == -9
    assert numbers(run) == ["1.json"]
    with held(run):
        assert numbers(run) == ["2.json"]


def test_a_process_number_given_out_again_is_no_owner(run: RunFolder) -> None:
    with held(run):
        (path,) = run.lease.glob("*.json")
        mine = Lease(**json.loads(path.read_text()))
        path.write_text(json.dumps(asdict(replace(mine, started="1"))))
        assert holder(run) is None


def rewritten(run: RunFolder, **changes: object) -> None:
    """Change the lease of a run in its file."""
    (path,) = run.lease.glob("*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="ticks are looked up in Linux's /proc")
def test_the_start_is_in_ticks_since_boot_as_in_leases_of_earlier_versions(run: RunFolder) -> None:
    ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    with held(run):
        mine = holder(run)
        assert mine
        assert abs(int(mine.started) - int(ticks)) < SAME_START_SECONDS * TICKS_PER_SECOND
        rewritten(run, started=ticks)
        assert holder(run)


def test_a_clock_that_is_set_ends_no_lease(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with held(run):
        boot = psutil.boot_time()
        for module in ("psutil", "psutil._pslinux"):
            monkeypatch.setattr(f"{module}.boot_time", lambda: boot + 7200)
        assert holder(run)


def test_a_start_that_cannot_be_read_holds_while_its_process_lives(run: RunFolder) -> None:
    with held(run):
        for unknown in ("Tue Nov 3 2026", "1788.25", ""):
            rewritten(run, started=unknown)
            assert holder(run)
            with pytest.raises(Held), held(run):
                pass


def test_a_start_that_cannot_be_read_and_a_dead_process_are_no_owner(run: RunFolder) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with held(run):
        rewritten(run, started="1788.25", pid=ended.pid)
        assert holder(run) is None


def test_a_lease_is_kept_alive_while_it_is_held(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.01)
    with held(run):
        (path,) = run.lease.glob("*.json")
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 60
        while path.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_an_owner_thought_dead_lets_go(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hears of it, and touches or releases nothing of the one that has the run now."""
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.01)
    told = threading.Event()
    with held(run, told.set):
        path = foreign(run, age=10, number=2)
        assert told.wait(60)
    assert holder(run) == Lease("they", "elsewhere", "another system", 1, "0")
    assert time.time() - path.stat().st_mtime > 9


def test_of_many_that_want_a_stale_lease_one_gets_it(run: RunFolder) -> None:
    for n in range(20):
        foreign(run, age=STALE_SECONDS + 1, number=n + 1)
        together, done, owners = threading.Barrier(8), threading.Event(), []

        def contend(together: threading.Barrier, done: threading.Event, owners: list[int]) -> None:
            together.wait()
            try:
                with held(run):
                    owners.append(1)
                    done.wait(60)
            except Held:
                pass

        threads = [threading.Thread(target=contend, args=(together, done, owners)) for _ in range(8)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while sum(thread.is_alive() for thread in threads) > 1:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        done.set()
        for thread in threads:
            thread.join()
        assert owners == [1]
        for path in run.lease.iterdir():
            path.unlink()


def test_a_folder_in_a_leases_place_is_nobodys(run: RunFolder) -> None:
    (run.lease / "1.json").mkdir(parents=True)
    with held(run):
        assert holder(run)


def test_a_damaged_lease_is_nobodys(run: RunFolder) -> None:
    foreign(run, age=0).write_text("{")
    assert holder(run) is None
    with held(run):
        assert holder(run)


def test_a_lease_from_the_future_is_held_no_longer_than_its_owner_is_heard_of(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host whose clock is a day ahead died; our own clock counts how long it has been silent."""
    path = foreign(run, age=-86_400)
    silence, now = lease.Silence(), [1000.0]
    monkeypatch.setattr(lease.time, "monotonic", lambda: now[0])
    silence.end(run)
    now[0] += STALE_SECONDS - 1
    silence.end(run)
    assert holder(run)
    # A sign of life begins the count anew.
    os.utime(path, (time.time() + 86_500,) * 2)
    silence.end(run)
    now[0] += STALE_SECONDS - 1
    silence.end(run)
    assert holder(run)
    now[0] += 2
    silence.end(run)
    assert holder(run) is None
    with held(run):
        assert numbers(run) == ["2.json"]


def test_a_file_system_without_hard_links(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with held(run):
        assert holder(run)
        with pytest.raises(Held), held(run):
            pass
    with held(run):
        assert numbers(run) == ["2.json"]
