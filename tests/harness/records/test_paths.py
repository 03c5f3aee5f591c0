"""The cache folder: the one that is asked for, the one that is there, or the system's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.records.paths import cache_root


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, and no variable that chooses the cache."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("SCALING_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_cache_folder_can_be_chosen(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALING_CACHE", "/somewhere")
    assert cache_root() == Path("/somewhere")
    monkeypatch.setenv("SCALING_CACHE", "~/mine")
    assert cache_root() == home / "mine"


@pytest.mark.skipif(sys.platform != "linux", reason="folders of Linux")
def test_the_default_on_linux(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_root() == home / ".cache" / "scaling-harness"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    assert cache_root() == home / "xdg" / "scaling-harness"


def test_a_cache_of_an_earlier_version_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    (home / ".cache" / "scaling-harness").mkdir(parents=True)
    assert cache_root() == home / ".cache" / "scaling-harness"
