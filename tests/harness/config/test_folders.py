"""Folders that are typed: made, or refused in one sentence before anything is prepared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.config.folders import check_source, usable_folder
from harness.records.errors import InputError
from harness.sweep import __main__ as sweep
from tests.small_sweeps import SMALL


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """A folder with a file, a dead link, links in a circle, and a good link."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "dead").symlink_to(tmp_path / "gone")
    (tmp_path / "circle").symlink_to(tmp_path / "elcric")
    (tmp_path / "elcric").symlink_to(tmp_path / "circle")
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    return tmp_path


WRONG = [
    ("file", "is a file"),
    ("file/below", "is a file"),
    ("dead", "which is not there"),
    ("dead/below", "which is not there"),
    ("circle", "in a circle"),
    ("circle/below/it", "in a circle"),
    ("x" * 300, "too long for this file system"),
    ("y/" * 2500, "too many for a path"),
]


@pytest.mark.parametrize(("path", "words"), WRONG)
def test_a_folder_that_cannot_be_made(path: str, words: str, places: Path) -> None:
    with pytest.raises(InputError, match=words):
        usable_folder("results_dir", str(places / path))


@pytest.mark.parametrize("path", [".", "new/below", "link", "link/new", "there", "[/b]", "it's, (new)"])
def test_a_folder_that_is_there_or_can_be_made(path: str, places: Path) -> None:
    assert usable_folder("results_dir", str(places / path)) == places / path


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert usable_folder("results_dir", "~/x") == tmp_path / "x"
    with pytest.raises(InputError, match="home folder that is not there"):
        usable_folder("results_dir", "~no-such-user/x")


@pytest.mark.parametrize("key", ["results_dir", "cache_dir"])
@pytest.mark.parametrize("path", ["file/below", "dead", "circle", "x" * 300])
def test_the_command_says_so_in_one_line(
    key: str, path: str, places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.main([*SMALL, f"{key}={places / path}", "dry_run=true"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {key}")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "words"), [("dead", "mend the link"), ("circle", "in a circle"), ("x" * 300, "too long")]
)
def test_a_source_that_no_file_system_knows(path: str, words: str, places: Path) -> None:
    with pytest.raises(InputError, match=words):
        check_source("data.path", str(places / path))


def test_a_source_that_is_not_there_is_said_once(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = ["data=text", "data.vocab_size=300", f"data.path={places}/my texts, v1 (second)"]
    assert sweep.main([*SMALL, *text, "dry_run=true"]) == 2
    said = capsys.readouterr().err
    assert said == (
        f"error: data.path={places}/my texts, v1 (second) does not exist: give an existing file or folder\n"
    )


def test_a_source_that_may_not_be_read(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_source("data.path", str(places / "there"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="may not be read"):
        check_source("data.path", str(places / "there"))


def test_a_plan_in_a_folder_with_markup_in_its_name(
    tmp_path: Path,
    data_cache: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harness.sweep.sweep.matmul_rate", lambda: None)
    arguments = [*SMALL, f"results_dir={tmp_path}/[/b]", f"cache_dir={data_cache}", "dry_run=true"]
    assert sweep.main(arguments) == 0
    said = capsys.readouterr()
    assert said.err == ""
    # The child that measures this machine was killed, which ends no sweep.
    assert "for a time unknown" in said.out
