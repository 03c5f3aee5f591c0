"""Several sealed forecasts of one sweep: each is scored on its own cells, the first whole one is quoted."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.forecast.seal import sealed
from analysis.forecast.series import quoted, score_all
from analysis.records.fits import read_study
from analysis.records.forecast import ForecastRecord, read_forecast
from analysis.report.build import read_sweep, render
from analysis.summary import key_numbers
from analysis.tables.sweep import read_sweep as read_tables
from harness.records.errors import InputError
from harness.records.files import read_table
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from harness.records.sweep_file import find_sweep
from tests.fakes.record import write_forecast
from tests.fakes.sweep import make_sweep

LATER = "2024-06-01T12:00:00Z"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """A sweep that grew: its second forecast is of one held-out cell and of one that is not trained."""
    folder = SweepFolder(make_sweep(tmp_path_factory.mktemp("grown")))
    first = read_forecast(folder.forecast)
    larger = replace(first.cells[-1], rung="d128", n_params=10 * first.cells[-1].n_params)
    second = sealed(replace(first, created=LATER, table_sha256="cd" * 32, cells=(first.cells[-1], larger)))
    write_forecast(folder, second, 2)
    study = read_study(folder.fits)
    scored = score_all([first, second], read_table(folder.points))
    own = quoted(scored)
    assert own is not None
    write_record(folder.fits, replace(study, forecast=own[1], forecasts=tuple(s for _, s in scored)))
    return folder


@pytest.fixture(scope="module")
def forecasts(folder: SweepFolder) -> tuple[ForecastRecord, ...]:
    return read_tables(folder.root).forecasts


def test_each_is_scored_on_its_own_cells_with_its_date_and_hashes(
    folder: SweepFolder, forecasts: tuple[ForecastRecord, ...]
) -> None:
    scores = read_study(folder.fits).scores
    assert [(s.created, s.sha256, s.table_sha256) for s in scores] == [
        (f.created, f.sha256, f.table_sha256) for f in forecasts
    ]
    assert [(len(s.cells), len(s.missing)) for s in scores] == [(len(forecasts[0].cells), 0), (1, 1)]


def test_a_cell_counts_whatever_its_role_is_now(
    folder: SweepFolder, forecasts: tuple[ForecastRecord, ...]
) -> None:
    points = read_table(folder.points)
    as_fit = points.assign(role=points.role.where(points.role != "holdout", "fit"))
    for before, now in zip(score_all(forecasts, points), score_all(forecasts, as_fit), strict=True):
        assert before == now


def test_the_first_whose_cells_are_finished_is_quoted(
    folder: SweepFolder, forecasts: tuple[ForecastRecord, ...]
) -> None:
    points = read_table(folder.points)
    whole, part = score_all(forecasts, points)
    assert quoted([part, whole]) == whole
    assert quoted([part]) == part
    nothing = score_all(forecasts, points[points.role == "fit"])
    assert quoted(nothing) == nothing[0]
    assert quoted([]) is None
    assert score_all(None, points) == []


def test_the_report_lists_every_forecast_with_its_date_and_hashes(
    folder: SweepFolder, forecasts: tuple[ForecastRecord, ...]
) -> None:
    sweep = read_sweep(folder.root)
    page = render(sweep, {})
    section = page.split('<h2 id="forecast">')[1].split('<h2 id="frontier">')[0]
    assert section.count("<h3>Sealed on ") == 2
    assert section.index(forecasts[0].created) < section.index(LATER)
    assert f"{forecasts[0].created}, quoted" in section
    assert f"{LATER}, quoted" not in section
    for forecast in forecasts:
        assert forecast.table_sha256[:16] in section
        assert forecast.sha256[:16] in section
        assert forecast.sha256 in page
    assert "<td>1 of 2</td>" in section
    assert "2 forecasts were sealed" in page


def test_a_broken_seal_of_any_forecast_is_the_first_warning(folder: SweepFolder) -> None:
    sweep = read_sweep(folder.root)
    first, second = sweep.fits.scores
    broken = replace(sweep, fits=replace(sweep.fits, forecasts=(first, replace(second, seal_intact=False))))
    assert f"The seal of the forecast of {LATER} is broken" in render(broken, {})


def test_the_summary_has_a_row_for_each_further_forecast(folder: SweepFolder) -> None:
    rows = key_numbers(folder)
    (label,) = [label for label in rows if LATER in label]
    assert rows[label].endswith("1 of 2 cells finished")
    plain = make_sweep(folder.root / "plain")
    assert set(rows) - set(key_numbers(SweepFolder(plain))) == {label}


def test_old_files_of_one_forecast_are_read(tmp_path: Path) -> None:
    folder = SweepFolder(make_sweep(tmp_path))
    study = read_study(folder.fits)
    assert study.forecast is not None
    bare = replace(study.forecast, created=None, sha256=None, table_sha256=None)
    write_record(folder.fits, replace(study, forecast=bare))
    assert "forecasts" not in folder.fits.read_text()
    assert read_study(folder.fits).scores == (bare,)
    ((forecast, score),) = read_sweep(folder.root).scored
    assert forecast == read_forecast(folder.forecast)
    assert score == bare


def test_unfinished_points_alone_leave_no_score(
    folder: SweepFolder, forecasts: tuple[ForecastRecord, ...]
) -> None:
    empty = pd.DataFrame({name: [] for name in ("n_params_matmul", "n_tokens", "loss")})
    assert [len(score.cells) for _, score in score_all(forecasts, empty)] == [0, 0]
    assert folder.forecasts[1].name == "forecast-2.json"


def test_a_forecast_of_another_sweep_is_left_out_or_refused(folder: SweepFolder, tmp_path: Path) -> None:
    """Left out beside those that sweep.json lists, refused in the place of one of them."""
    copy = SweepFolder(Path(shutil.copytree(folder.root, tmp_path / "copy")))
    own = read_tables(folder.root).forecasts
    foreign = sealed(replace(own[0], created=LATER))
    write_record(copy.numbered_forecast(3), foreign)
    assert read_tables(copy.root).forecasts == read_sweep(copy.root).forecasts == own
    write_record(copy.forecast, foreign)
    for read in (lambda root: read_tables(root).forecasts, read_sweep):
        with pytest.raises(
            InputError, match=r"forecast\.json is not the forecast that this sweep sealed; put"
        ):
            read(copy.root)


def test_a_record_that_lists_no_seal_has_the_forecast_of_its_held_out_cells(
    folder: SweepFolder, tmp_path: Path
) -> None:
    """Records of earlier versions list none."""
    copy = SweepFolder(Path(shutil.copytree(folder.root, tmp_path / "copy")))
    record = find_sweep(copy.sweep)
    assert record is not None
    for cells, n in ((record.cells, 2), (tuple(replace(cell, role="fit") for cell in record.cells), 0)):
        write_record(copy.sweep, replace(record, cells=cells).with_seals(()))
        assert len(read_tables(copy.root).forecasts) == n
