"""The command: n sweeps with new seeds, each sealed before its hold-out is trained, resumed like a sweep."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.records.forecast import read_forecast
from analysis.replications.study import study_replications
from harness.config.settings import load
from harness.records.derived import Stage, was_made
from harness.records.files import read_table, write_table
from harness.records.paths import SweepFolder
from harness.records.sweep_file import read_sweep
from harness.replicate import __main__ as command
from tests.fakes import sealing
from tests.small_sweeps import SMALL, point_times

GRID = (
    "grid.rungs=[16,32]", "grid.n_tokens=[2048,4096,8192]", "grid.log_interval=4", "grid.holdout_factor=2",
    "grid.seeds=[5]", "data.eval_tokens=512", "data.curve_eval_tokens=256",
)  # fmt: skip


@pytest.fixture(scope="module")
def patched() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        sealing.without_fits(patch)
        patch.setattr(command, "matmul_rate", lambda: 1e10)
        yield


@pytest.fixture(scope="module")
def made(patched: None, tmp_path_factory: pytest.TempPathFactory, data_cache: Path) -> list[str]:  # noqa: ARG001
    """The command line; its two replications are finished."""
    root = tmp_path_factory.mktemp("replications") / "small"
    line = [*SMALL, *GRID, "n=2", f"cache_dir={data_cache}", f"results_dir={root}"]
    assert command.main(line) == 0
    return line


def folders(line: list[str]) -> list[SweepFolder]:
    root = Path(line[-1].partition("=")[2])
    return [SweepFolder(path) for path in sorted(root.iterdir())]


def test_each_replication_is_a_sweep_of_its_own_with_new_seeds(made: list[str]) -> None:
    found = folders(made)
    assert [folder.root.name for folder in found] == ["r01", "r02"]
    tables = [read_table(folder.points) for folder in found]
    assert [set(table.seed) for table in tables] == [{1005}, {2005}]
    for column in ("rung", "n_tokens", "role", "corpus_id", "status"):
        assert tables[0][column].tolist() == tables[1][column].tolist()
    assert (tables[0].loss != tables[1].loss).all()
    recipes = [read_sweep(folder.sweep).recipe for folder in found]
    assert recipes[0] == recipes[1]


def test_each_forecast_is_sealed_before_the_hold_out_is_trained(made: list[str]) -> None:
    for folder in folders(made):
        sealed_at, times = folder.forecast.stat().st_mtime_ns, point_times(folder.root)
        for row in read_table(folder.points).itertuples():
            assert (times[f"{row.point_id}.json"] > sealed_at) == (row.role == "holdout")
        assert read_forecast(folder.forecast).seal_intact


def test_no_report_is_written_and_the_sweeps_own_command_writes_it(made: list[str]) -> None:
    folder = folders(made)[0]
    assert not folder.report.exists()
    assert not was_made(folder, Stage.REPORT)
    words = read_sweep(folder.sweep).command
    assert words.startswith("python -m harness.sweep +grid=smoke")
    assert "grid.seeds=[1005]" in words
    assert "grid.references=[]" in words
    assert "keep=none" in words


def test_the_same_command_makes_what_is_missing_and_skips_the_rest(
    made: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(folders(made)[0].root.parent, root)
    line = [*made[:-1], f"results_dir={root}"]
    lost, kept = root / "r01", root / "r02"
    points = read_table(lost / "points.parquet")
    shutil.rmtree(lost)
    before = {path: path.stat().st_mtime_ns for path in kept.rglob("*") if path.is_file()}
    assert command.main(line) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "replication 1 of 2" in said
    assert re.search(r"r02 is finished: sealed forecast, \d held-out cells: RMS error", said)
    assert f"python -m analysis.replications {root}" in said
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("*") if path.is_file()} == before
    again = read_table(lost / "points.parquet")
    assert again.point_id.tolist() == points.point_id.tolist()
    assert again.loss.tolist() == points.loss.tolist()


def test_in_a_clone_complete_tables_count_and_others_are_trained(
    made: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clone has no runs; the second table lacks a point."""
    root = tmp_path / "copy"
    for folder in folders(made):
        (root / folder.root.name).mkdir(parents=True)
        for path in (folder.sweep, folder.points, folder.forecast, folder.fits):
            shutil.copy(path, root / folder.root.name)
    points = root / "r02" / "points.parquet"
    write_table(points, read_table(points).iloc[1:])
    told = {path: path.stat().st_mtime_ns for path in (root / "r01").iterdir()}
    line = [*made[:-1], f"results_dir={root}"]
    assert command.main([*line, "dry_run=true"]) == 0
    assert "all 2 replications: 1 are trained, 1 to train" in " ".join(capsys.readouterr().out.split())
    assert command.main(line) == 0
    said = capsys.readouterr().out
    assert "r01 is finished, as its tables tell; its runs are not here" in said
    assert "replication 2 of 2" in said
    assert {path: path.stat().st_mtime_ns for path in (root / "r01").iterdir()} == told
    assert len(read_table(points)) == len(read_table(root / "r01" / "points.parquet"))


def test_a_killed_replication_goes_on(made: list[str], tmp_path: Path) -> None:
    """As after a kill between the seal and the last held-out cell: the forecast stays."""
    root = tmp_path / "copy"
    shutil.copytree(folders(made)[0].root.parent, root)
    folder = SweepFolder(root / "r02")
    sealed = folder.forecast.read_bytes()
    row = read_table(folder.points).query("role == 'holdout'").iloc[0]
    folder.run(row.run_id).point(row.point_id).unlink()
    folder.fits.unlink()
    assert command.main([*made[:-1], f"results_dir={root}"]) == 0
    assert folder.forecast.read_bytes() == sealed
    assert folder.run(row.run_id).point(row.point_id).exists()
    assert folder.fits.exists()


def test_the_analysis_reads_what_the_command_left(made: list[str]) -> None:
    found = study_replications(folders(made)[0].root.parent)
    assert [each.name for each in found.replications] == ["r01", "r02"]
    assert [each.table_matches for each in found.replications] == [True, True]
    held = [read_table(folder.points).query("role == 'holdout'") for folder in folders(made)]
    assert found.parts[0].held_out[0].coverage.n == sum(map(len, held)) > 0
    for each, rows in zip(found.replications, held, strict=True):
        assert sorted(cell.loss for cell in each.cells) == pytest.approx(sorted(rows.loss))


def test_a_dry_run_prints_one_plan_and_the_total(
    made: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "new"
    free = [each for each in made[:-1] if "rope_theta" not in each]
    assert command.main([*free, f"results_dir={root}", "n=3", "dry_run=true"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("model.seq_len=32 takes along model.rope_theta=41.02") == 1
    assert said.count("6 cells, 6 to train") == 1
    assert "plan of replication 1 of 3" in said
    assert "cosine references are left out" in said
    assert "all 3 replications: 0 are trained, 3 to train one after the other:" in said
    assert not root.exists()
    assert command.main([*made, "n=3", "dry_run=true"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "plan of replication 3 of 3" in said
    assert "2 are trained, 1 to train" in said
    assert command.main([*made, "n=2", "dry_run=true"]) == 0
    assert capsys.readouterr().out.strip() == "all 2 replications are trained; a larger n= adds more"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "the number of replications was expected"),
        (["n=0"], "n=0 was given, expected a whole number from 1"),
        (["n=two"], "n=two was given"),
        (["n=2", "grid.seed=[1]"], "did you mean grid.seeds"),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["+grid=smoke", *words]) == 2
    said = capsys.readouterr().err
    assert error in said
    assert said.count("\n") == 1


def test_the_folder_is_named_by_grid_and_budget() -> None:
    def folder(*given: str) -> str:
        return command.replications_folder(load([*given]))

    assert folder("+grid=smoke") == "results/replications/smoke"
    assert folder("+grid=lr", "budget=full") == "results/replications/lr-full"
    assert folder("+grid=lr", "results_dir=x") == "x"
