"""A sweep made again from its record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.config.schema import SweepSettings
from harness.config.settings import load, options, plain
from harness.recipe.spec import RECIPE_VERSION
from harness.records.json_files import write_record
from harness.sweep.__main__ import load_settings, main
from tests.fakes.record import sweep_record

STORED = ["+grid=smoke", "optim.hidden_lr=0.5", "grid.seeds=[3]", "launcher=slurm", "+launcher.sbatch.mem=8G"]


def record(path: Path, settings: SweepSettings, version: int = RECIPE_VERSION) -> str:
    made = sweep_record(grid=settings.grid.name, recipe={"recipe_version": version}, config=plain(settings))
    write_record(path, made)
    return str(path)


@pytest.mark.parametrize("grid", options("grid"))
def test_a_stored_configuration_comes_back_whole(grid: str) -> None:
    settings = load([f"+grid={grid}", "optim=muon"])
    assert load([], plain(settings)) == settings


def test_overrides_are_laid_over_it(tmp_path: Path) -> None:
    stored = record(tmp_path / "sweep.json", load([*STORED, "cache_dir=/elsewhere", "dry_run=true"]))
    made = load_settings(["grid.rungs=[16]", "launcher.n_workers=2"], stored).settings
    assert (made.grid.rungs, made.grid.seeds, made.optim.hidden_lr) == ([16], [3], 0.5)
    assert (made.cache_dir, made.dry_run) == (None, False), "where it was made is not made again"
    assert (made.launcher.name, made.launcher.n_workers, made.launcher.sbatch) == ("local", 2, {})


def test_a_group_beside_it_takes_the_place_of_its_own(tmp_path: Path) -> None:
    stored = record(tmp_path / "sweep.json", load(STORED))
    made = load_settings(["optim=muon"], stored).settings
    assert (made.optim.name, made.optim.hidden_lr != 0.5, made.grid.seeds) == ("muon", True, [3])
    other = load_settings(["+grid=kaplan"], stored).settings
    assert (other.grid.name, other.grid.seeds, other.optim.hidden_lr) == ("kaplan", None, 0.5)


def test_the_command_prints_what_it_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = record(tmp_path / "sweep.json", load(STORED))
    assert main(["--from", stored, "--cfg"]) == 0
    assert "hidden_lr: 0.5" in capsys.readouterr().out


def test_what_is_no_record_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fits.json").write_text(json.dumps({"fits": []}))
    old = record(tmp_path / "old.json", load(["+grid=smoke"]), version=1)
    for arguments, words in [
        (["--from", str(tmp_path / "fits.json")], ["fits.json", "no record", "results/NAME/sweep.json"]),
        (["--from", str(tmp_path)], ["no record"]),
        (["--from"], ["--from", "expected one argument"]),
        (["--from="], ["--from nothing"]),
        (["--from", old], ["recipe_version=1", f"recipe_version={RECIPE_VERSION}", "0123abc", "+grid=smoke"]),
    ]:
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert [word for word in words if word not in error] == []
