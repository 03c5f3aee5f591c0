"""The study of replications: made-up ones with known errors, damaged ones, and the command."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.forecast.seal import sealed
from analysis.records.averages import AveragedQuantity, AveragedRecord, LawShare
from analysis.records.fits import read_study
from analysis.records.forecast import read_forecast
from analysis.records.replications import ReplicationsRecord, read_replications_record
from analysis.replications.__main__ import main
from analysis.replications.page import drawn, render
from analysis.replications.study import study_replications
from analysis.replications.text import lead, text_of
from harness.records.errors import InputError
from harness.records.files import read_table, write_table
from harness.records.json_files import to_json, write_checked, write_record
from harness.records.paths import SweepFolder
from harness.records.sweep_file import read_sweep
from tests.analysis.report.pages import unscripted
from tests.fakes.record import write_forecast
from tests.fakes.replications import FORECAST_SD, PARAMETER_SD, SEED_SD, Z90, write_replications

N = 12


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_replications(tmp_path_factory.mktemp("replications"), N)


@pytest.fixture(scope="module")
def found(root: Path) -> ReplicationsRecord:
    return study_replications(root, fixed=5)


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "copy"))


def test_fair_intervals_cover_and_their_widths_are_those_that_were_made(found: ReplicationsRecord) -> None:
    whole = found.parts[0].held_out[0]
    sd = np.hypot(SEED_SD, FORECAST_SD)
    assert whole.n_cells == 3
    assert whole.coverage.n == 3 * N
    # Binomial: of 36 fair 90 % intervals 27 or fewer hold in 1 of 100 cases.
    assert whole.coverage.inside >= 28
    assert whole.coverage_of_others.n == 3 * N * (N - 1)
    assert whole.half_width_percent.median == pytest.approx(100 * Z90 * sd, rel=0.05)
    assert whole.widest_over_median == pytest.approx(1, abs=0.05)
    assert whole.rms_percent.median == pytest.approx(100 * sd, rel=0.6)
    # The best score of a normal error is 2·φ(z)/α·sd = 4.13 sd.
    assert whole.interval_score.mean == pytest.approx(413 * sd, rel=0.4)


def test_scores_are_those_of_points_and_seals_and_not_of_a_file(copy: Path) -> None:
    """A wrong score in fits.json changes nothing."""
    before = study_replications(copy)
    folder = SweepFolder(copy / "r01")
    for row in before.replications[0].cells:
        loss = read_table(folder.points).query("rung == @row.rung and n_tokens == @row.n_tokens").loss.iloc[0]
        assert row.loss == pytest.approx(loss)
        assert row.error_percent == pytest.approx(100 * (row.predicted / loss - 1))
    points = read_table(folder.points)
    held = points.role == "holdout"
    write_table(folder.points, points.assign(loss=points.loss.where(~held, points.loss * 1.05)))
    after = study_replications(copy)
    assert after.replications[0].inside == 0
    assert after.replications[0].rms_percent["1"] == pytest.approx(5, abs=1.5)
    assert after.parts[0].held_out[0].coverage.inside < before.parts[0].held_out[0].coverage.inside
    assert after.replications[1:] == before.replications[1:]


def test_too_narrow_and_too_wide_intervals_are_told_apart(tmp_path: Path, found: ReplicationsRecord) -> None:
    fair = found.parts[0].held_out[0]
    narrow, wide = (
        study_replications(write_replications(tmp_path / str(widen), N, widen=widen)).parts[0].held_out[0]
        for widen in (0.3, 5.0)
    )
    assert narrow.coverage.interval is not None
    assert narrow.coverage.interval[1] < 0.9
    assert wide.coverage.share == 1
    assert min(narrow.interval_score.mean, wide.interval_score.mean) > 1.2 * fair.interval_score.mean


def test_parameters_are_held_against_the_mean_of_the_others(root: Path, found: ReplicationsRecord) -> None:
    fits = [read_study(SweepFolder(root / each.name).fits).quoted for each in found.replications]
    values = np.array([fit.params["alpha"] for fit in fits if fit])
    for place, each in enumerate(found.replications):
        stated = {entry.name: entry for entry in each.parameters}
        assert set(stated) == {"a", "a_6nd", "alpha", "beta", "E"}
        assert stated["alpha"].value == values[place]
        assert stated["alpha"].others_mean == pytest.approx(np.delete(values, place).mean())
    rows = {row.name: row for row in found.parts[0].parameters}
    for name, sd in PARAMETER_SD.items():
        assert rows[name].coverage.n == N
        # Of 12 fair 90 % intervals 7 or fewer hold in 1 of 200 cases.
        assert rows[name].coverage.inside >= 8
        assert rows[name].half_width is not None
        assert rows[name].half_width.median == pytest.approx(Z90 * sd)
        assert rows[name].sd == pytest.approx(sd, rel=0.6)


def test_parts_divide_the_replications_and_the_unseen_are_quoted(found: ReplicationsRecord) -> None:
    every, fixed, unseen = found.parts
    assert (every.name, fixed.name, unseen.name) == ("all", "fixed", "unseen")
    assert fixed.replications + unseen.replications == every.replications
    assert len(fixed.replications) == 5
    assert found.judged == unseen
    counts = [part.held_out[0].coverage.n for part in found.parts]
    assert counts == [3 * N, 3 * 5, 3 * (N - 5)]
    inside = [part.held_out[0].coverage.inside for part in (fixed, unseen)]
    assert sum(inside) == every.held_out[0].coverage.inside
    assert f"{N - 5} unseen replications" in lead(found)[0]


def test_an_interval_is_held_against_the_same_cell_of_every_other_replication(
    found: ReplicationsRecord,
) -> None:
    for part in found.parts:
        own = [each for each in found.replications if each.name in part.replications]
        pairs = [
            cell.low <= theirs.loss <= cell.high
            for each in own
            for other in found.replications
            if other is not each
            for cell, theirs in zip(each.cells, other.cells, strict=True)
        ]
        counted = part.held_out[0].coverage_of_others
        assert (counted.n, counted.inside) == (len(pairs), sum(pairs))


def test_errors_are_shown_by_factor_of_compute(found: ReplicationsRecord) -> None:
    rows = found.parts[0].held_out
    assert [row.at_least for row in rows] == [1, 10, 20]
    factors = [cell.factor for cell in found.replications[0].cells]
    assert factors == sorted(factors)
    assert [row.n_cells for row in rows] == [3, *(sum(f >= least for f in factors) for least in (10, 20))]


def test_alpha_is_compared_within_a_law_and_e_across_laws(tmp_path: Path) -> None:
    found = study_replications(write_replications(tmp_path, 6, laws=("joint", "chinchilla")))
    own = [{entry.name: entry for entry in each.parameters} for each in found.replications]
    same = [entry["alpha"].value for entry in own if entry["alpha"].law == own[0]["alpha"].law]
    assert own[0]["alpha"].others_mean == pytest.approx(np.mean(same[1:]))
    assert own[0]["E"].others_mean == pytest.approx(np.mean([entry["E"].value for entry in own[1:]]))
    assert any("2 laws (chinchilla, joint)" in doubt for doubt in found.doubts)


def test_what_a_study_states_over_laws_is_judged_in_place_of_one_law(copy: Path) -> None:
    for number in range(1, N + 1):
        path = SweepFolder(copy / f"r{number:02d}").fits
        share = LawShare("joint", 1.0, 0.9, 0.5, 1.5)
        over = AveragedRecord(AveragedQuantity.E, 0.9 + number / 100, 0.5, 1.5, 0.9, True, (share,))
        write_record(path, replace(read_study(path), averages=(over,)))
    found = study_replications(copy)
    stated = {entry.name: entry for entry in found.replications[0].parameters}
    assert (stated["E"].law, stated["E"].value, stated["E"].interval) == ("over the laws", 0.91, (0.5, 1.5))
    assert stated["E"].others_mean == pytest.approx(np.mean([0.9 + k / 100 for k in range(2, N + 1)]))
    assert stated["a"].law == "joint"
    row = next(row for row in found.parts[0].parameters if row.name == "E")
    assert (row.coverage.inside, row.coverage.n) == (N, N)


def test_unfinished_and_broken_replications_are_left_out_with_the_reason(copy: Path) -> None:
    points = read_table(SweepFolder(copy / "r02").points)
    write_table(SweepFolder(copy / "r02").points, points[points.role == "fit"])
    forecast = read_forecast(SweepFolder(copy / "r03").forecast)
    write_checked(SweepFolder(copy / "r03").forecast, to_json(replace(forecast, law="chinchilla")))
    SweepFolder(copy / "r04").forecast.unlink()
    SweepFolder(copy / "r05").points.unlink()
    found = study_replications(copy)
    assert {each.name: each.reason for each in found.left_out} == {
        "r02": "3 of 3 held-out cells are missing",
        "r03": "the seal of its forecast is broken",
        "r04": "it has no sealed forecast",
        "r05": "points.parquet is missing",
    }
    assert len(found.replications) == N - 4


def test_a_forecast_of_other_rows_and_a_missing_study_are_doubts(copy: Path) -> None:
    folder = SweepFolder(copy / "r01")
    write_forecast(folder, sealed(replace(read_forecast(folder.forecast), table_sha256="ab" * 32)))
    SweepFolder(copy / "r02").fits.unlink()
    found = study_replications(copy)
    assert [each.table_matches for each in found.replications[:2]] == [False, True]
    assert any("the forecast of r01 was not made from the fitted rows" in doubt for doubt in found.doubts)
    assert any("no parameters of r02" in doubt for doubt in found.doubts)
    assert next(row for row in found.parts[0].parameters if row.name == "E").n == N - 1


def change_recipe(root: Path) -> None:
    folder = SweepFolder(root / "r02")
    write_record(folder.sweep, replace(read_sweep(folder.sweep), recipe={"model.n_layers": 4}))


def change_cells(root: Path) -> None:
    folder = SweepFolder(root / "r02")
    points = read_table(folder.points)
    write_table(folder.points, points[points.n_tokens > points.n_tokens.min()])


def change_level(root: Path) -> None:
    folder = SweepFolder(root / "r02")
    write_forecast(folder, sealed(replace(read_forecast(folder.forecast), level=0.8)))


def same_runs(root: Path) -> None:
    shutil.rmtree(root / "r02")
    shutil.copytree(root / "r01", root / "r02")


def keep_one(root: Path) -> None:
    for path in root.glob("r*"):
        if path.name != "r01":
            shutil.rmtree(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_recipe, r"r01 and r02 are not of one experiment \(model.n_layers is 3 and 4\)"),
        (change_cells, "their cells differ"),
        (change_level, r"levels \[0.8, 0.9\]"),
        (same_runs, "r01 and r02 hold the same run"),
        (keep_one, "holds 1 finished"),
    ],
)
def test_what_is_no_set_of_replications_is_refused(change: object, words: str, copy: Path) -> None:
    assert callable(change)
    change(copy)
    with pytest.raises(InputError, match=words):
        study_replications(copy)


def test_without_a_hold_out_only_parameters_are_judged(copy: Path) -> None:
    for path in copy.glob("r*/forecast.json"):
        path.unlink()
    found = study_replications(copy)
    assert found.parts[0].held_out == ()
    assert found.parts[0].parameters
    assert "nothing was held out" in lead(found)[0]
    page = render(found, drawn(found))
    assert "Nothing was held out" in page
    assert 'id="figure-parameters"' in page


def test_the_command_prints_both_tables_and_writes_json_and_report(
    root: Path, tmp_path: Path, found: ReplicationsRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    out, page = tmp_path / "out.json", tmp_path / "report.html"
    assert main([str(root), "--fixed", "5", "--json", str(out), "--report", str(page)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(text_of(found))
    for words in ("unseen: 7 replications", "inside own", "≥ 20×", "a under 6ND"):
        assert words in said
    assert read_replications_record(out) == found
    html = page.read_text()
    for name in ("errors", "intervals", "parameters"):
        assert f'id="figure-{name}"' in html
    assert "://" not in unscripted(html).replace("http://www.w3.org", "")
    assert all(f"<td>{each.name}</td>" in html for each in found.replications)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--fixed", "12"], "fixed=12 was given, expected a number from 0 to 11"),
        (["--fixed", "-1"], "fixed=-1 was given"),
        (["--jsn", "x"], "did you mean --json?"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: list[str], error: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(root), *words]) == 2
    said = capsys.readouterr().err
    assert error in said
    assert said.count("\n") == 1


def test_a_folder_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none")]) == 2
    assert "expected a folder of replications" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 2
    assert "holds 0 finished replications" in capsys.readouterr().err
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "points.parquet")
    assert main([str(tmp_path)]) == 2
    assert "is one sweep, expected the folder that holds the replications" in capsys.readouterr().err
