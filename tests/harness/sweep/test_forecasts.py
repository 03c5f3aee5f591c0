"""The life of sealed forecasts: a sweep that grows gets another one, and no forecast is ever lost.

Sweeps are trained in this process. The forecasts are stand-ins with the cells and the table of real ones.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from analysis.forecast.seal import table_sha256
from analysis.records.fits import read_study
from analysis.records.forecast import ForecastRecord, read_forecast
from analysis.tables.table import load_table
from harness.records.files import read_table
from harness.records.paths import SweepFolder
from harness.records.sweep_file import read_sweep
from harness.sweep import __main__ as command
from harness.sweep.forecasts import intact, place, seal_forecast
from tests.damages import DAMAGES
from tests.fakes import sealing
from tests.fakes.points import write_point
from tests.fakes.sweep import make_points
from tests.small_sweeps import SMALL, point_times, small_cells

GRID = (
    "grid.n_tokens=[2048,4096,8192]", "grid.log_interval=4", "grid.holdout_factor=2",
    "data.eval_tokens=512", "data.curve_eval_tokens=256",
)  # fmt: skip
OLD, NEW = "grid.rungs=[16,32]", "grid.rungs=[16,32,48]"


@pytest.fixture(scope="module")
def patched() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        sealing.without_fits(patch)
        yield


@dataclass(frozen=True)
class Grown:
    """A finished sweep of two rungs, and the same after a third was added."""

    before: SweepFolder
    after: SweepFolder
    said: str
    cache: Path

    def run(self, root: Path, *more: str) -> int:
        return command.main([*SMALL, *GRID, f"cache_dir={self.cache}", *more, f"results_dir={root}"])


@pytest.fixture(scope="module")
def grown(patched: None, tmp_path_factory: pytest.TempPathFactory, data_cache: Path) -> Grown:  # noqa: ARG001
    root = tmp_path_factory.mktemp("grown")
    made = Grown(SweepFolder(root / "before"), SweepFolder(root / "after"), "", data_cache)
    assert made.run(made.before.root, OLD) == 0
    shutil.copytree(made.before.root, made.after.root)
    return made


@pytest.fixture
def said(grown: Grown, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says that adds the rung; run once."""
    if not read_sweep(grown.after.sweep).later_forecast_sha256:
        assert grown.run(grown.after.root, NEW) == 0
        (grown.after.root / "said.txt").write_text(capsys.readouterr().out)
    return " ".join((grown.after.root / "said.txt").read_text().split())


def places(forecast: ForecastRecord) -> set[tuple[str, int]]:
    return {(cell.rung, cell.n_tokens) for cell in forecast.cells}


def test_a_new_rung_is_forecast_before_it_is_trained_and_the_first_forecast_stays(
    grown: Grown, said: str
) -> None:
    folder = grown.after
    assert folder.forecast.read_bytes() == grown.before.forecast.read_bytes()
    assert [path.name for path in folder.forecasts] == ["forecast.json", "forecast-2.json"]
    first, second = map(read_forecast, folder.forecasts)
    points = read_table(folder.points)
    now = {(row.rung, row.n_tokens): row.role for row in points.itertuples()}
    trained = {(row.rung, row.n_tokens) for row in read_table(grown.before.points).itertuples()}
    assert places(first) <= trained
    assert places(second) == {where for where, role in now.items() if role == "holdout"} - trained
    assert {rung for rung, _ in places(second)} == {"d48"}
    # Sealed after all that it was fitted to, and before its own cells.
    times, sealed_at = point_times(folder.root), folder.forecasts[1].stat().st_mtime_ns
    for row in points.itertuples():
        written = times[f"{row.point_id}.json"]
        assert (written > sealed_at) == ((row.rung, row.n_tokens) in places(second))
    assert second.table_sha256 == table_sha256(load_table(points[points.role == "fit"]))
    assert read_sweep(folder.sweep).seals == (first.sha256, second.sha256)
    assert f"forecast of {len(second.cells)} held-out cells sealed in" in said


def test_a_cell_that_is_fitted_now_still_counts_for_the_forecast_that_held_it_out(
    grown: Grown, said: str
) -> None:
    points = read_table(grown.after.points)
    roles = {(row.rung, row.n_tokens): row.role for row in points.itertuples()}
    first = read_forecast(grown.after.forecast)
    changed = {where for where in places(first) if roles[where] == "fit"}
    assert changed, "the grid was chosen so that a role changes"
    assert f"the role of {len(changed)} of {len(points)} cells changes from holdout to fit" in said
    assert "stays scored on its cells" in said
    found = read_study(grown.after.fits)
    assert [len(score.cells) for score in found.scores] == [len(each) for each in map(
        places, map(read_forecast, grown.after.forecasts))]  # fmt: skip
    assert not any(score.missing for score in found.scores)
    assert found.forecast == found.scores[0]
    assert found.scores[0].cells == read_study(grown.before.fits).scores[0].cells
    assert found.scores[0].sha256 == first.sha256


def test_the_plan_says_which_cells_change_and_which_are_forecast(
    grown: Grown, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "sweep"
    shutil.copytree(grown.before.root, root)
    assert grown.run(root, NEW, "dry_run=true") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert re.search("role of . of 9 cells changes from holdout to fit: d(16|32) at", text)
    assert (
        "forecast-2.json, a further forecast, is sealed before these held-out cells are trained: d48" in text
    )
    assert [path.name for path in SweepFolder(root).forecasts] == ["forecast.json"]
    assert grown.run(root, OLD, "dry_run=true") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "forecast" not in text
    # A cut that holds out what is trained comes too late for a forecast.
    assert grown.run(root, OLD, "grid.holdout_factor=5", "dry_run=true") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "cells changes from fit to holdout" in text
    assert "no forecast can be sealed of held-out cells that are trained already: d" in text


@pytest.mark.parametrize("name", ["forecast.json", "forecast-2.json"])
@pytest.mark.parametrize("damage", [*DAMAGES, "altered", "swapped"])
def test_a_forecast_on_which_trained_cells_rest_is_never_made_anew(
    name: str, damage: str, grown: Grown, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said
    root = tmp_path / "sweep"
    shutil.copytree(grown.after.root, root)
    path, other = root / name, next(each for each in SweepFolder(root).forecasts if each.name != name)
    text = path.read_text()
    if damage in DAMAGES:
        DAMAGES[damage](path)
    else:
        path.write_text(other.read_text() if damage == "swapped" else text.replace("3.1", "3.2"))
    assert grown.run(root, NEW) == 2
    error = capsys.readouterr().err
    assert name in error
    assert "grid.holdout_factor=1" in error
    # Without a hold-out nothing is forecast, and what was sealed is left out only once it is deleted.
    assert grown.run(root, NEW, "grid.holdout_factor=1") == (0 if damage == "deleted" else 2)
    if damage == "folder":
        shutil.rmtree(path)
    path.write_text(text)
    assert grown.run(root, NEW) == 0


def test_a_forecast_is_made_anew_until_its_cells_are_trained(grown: Grown, said: str, tmp_path: Path) -> None:
    assert said
    root = tmp_path / "sweep"
    shutil.copytree(grown.after.root, root)
    folder = SweepFolder(root)
    first, second = map(read_forecast, folder.forecasts)
    points = read_table(folder.points)
    for row in points.itertuples():
        if (row.rung, row.n_tokens) in places(second):
            folder.run(row.run_id).point(row.point_id).unlink()
    folder.forecasts[1].write_text("{")
    assert grown.run(root, NEW) == 0
    assert folder.forecast.read_bytes() == grown.before.forecast.read_bytes()
    again = read_forecast(folder.forecasts[1])
    assert places(again) == places(second)
    assert again.sha256 != second.sha256
    assert read_sweep(folder.sweep).seals == (first.sha256, again.sha256)


def test_more_seeds_need_no_further_forecast(grown: Grown, tmp_path: Path) -> None:
    """A forecast holds for every seed of its cells."""
    root = tmp_path / "sweep"
    shutil.copytree(grown.before.root, root)
    assert grown.run(root, OLD, "grid.seeds=[0,1]", "grid.n_tokens=[2048,8192]") == 0
    folder = SweepFolder(root)
    assert [path.name for path in folder.forecasts] == ["forecast.json"]
    assert folder.forecast.read_bytes() == grown.before.forecast.read_bytes()
    points = read_table(folder.points)
    assert set(points.seed[points.role == "holdout"]) == {0, 1}


def test_a_folder_without_runs_takes_over_no_forecast(grown: Grown, tmp_path: Path) -> None:
    """As in a fresh clone: the committed forecast is of other runs."""
    root = tmp_path / "sweep"
    shutil.copytree(grown.before.root, root, ignore=shutil.ignore_patterns("runs"))
    assert grown.run(root, OLD) == 0
    found = read_forecast(root / "forecast.json")
    assert found.sha256 != read_forecast(grown.before.forecast).sha256
    assert read_sweep(root / "sweep.json").seals == (found.sha256,)


def test_of_two_drivers_the_first_seals_and_further_cells_get_a_further_forecast(
    tmp_path: Path,
    patched: None,  # noqa: ARG001
) -> None:
    """The hold-out may be in training by then, so that a second seal would be none."""
    folder, points = SweepFolder(tmp_path), make_points(np.random.default_rng(0))
    cells = [replace(cell, role="holdout") for cell in small_cells(OLD)]
    made = seal_forecast(folder, points, cells[:1], 20)
    assert made is not None
    assert (made.path, made.n_cells) == (folder.forecast, 1)
    before = folder.forecast.read_bytes()
    assert seal_forecast(folder, points, cells[:1], 20) is None
    more = seal_forecast(folder, points, cells, 20)
    assert more is not None
    assert (more.path.name, more.n_cells) == ("forecast-2.json", len(cells))
    assert folder.forecast.read_bytes() == before
    # Another table makes the files foreign, because no sweep.json lists them.
    other = seal_forecast(folder, points.iloc[1:], cells[:1], 20)
    assert other is not None
    assert other.path == folder.forecast


def test_a_cell_that_was_trained_with_any_seed_is_left_out_of_a_forecast(
    tmp_path: Path,
    patched: None,  # noqa: ARG001
) -> None:
    folder, points = SweepFolder(tmp_path), make_points(np.random.default_rng(0))
    cells = [replace(cell, role="holdout") for cell in small_cells(OLD, "grid.seeds=[0,1]")]
    trained = cells[0]
    write_point(folder, trained.spec, trained.n_tokens)
    made = seal_forecast(folder, points, cells, 20)
    assert made is not None
    (forecast,) = intact(folder).values()
    assert places(forecast) == {place(cell) for cell in cells} - {place(trained)}
    assert made.n_cells == len(forecast.cells) == len(cells) / 2 - 1
