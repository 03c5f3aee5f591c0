"""One of several processes creates a file, on file systems with and without hard links."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.records import exclusive
from harness.records.exclusive import write_new


@pytest.fixture(params=["links", "no links"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on a file system with or without hard links."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if request.param == "no links":
        monkeypatch.setattr(os, "link", refuse)
    return tmp_path


def test_the_first_one_counts(folder: Path) -> None:
    path = folder / "claim"
    assert write_new(path, "mine")
    assert not write_new(path, "theirs")
    assert path.read_text() == "mine"
    assert os.listdir(folder) == ["claim"]


def test_one_of_many_wins(folder: Path) -> None:
    path = folder / "claim"
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: write_new(path, str(i)), range(40)))
    assert sum(won) == 1
    assert path.read_text() == str(won.index(True))


def test_a_claim_of_a_dead_process_is_given_up_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(os, "link", refuse)
    path, claim = tmp_path / "1.json", tmp_path / "1.json.taken"
    claim.mkdir()
    assert not write_new(path, "x")
    assert claim.exists()
    long_ago = claim.stat().st_mtime - exclusive.CLAIM_SECONDS - 1
    os.utime(claim, (long_ago, long_ago))
    assert not write_new(path, "x")
    assert write_new(path, "x")
    assert path.read_text() == "x"
    assert os.listdir(tmp_path) == ["1.json"]
