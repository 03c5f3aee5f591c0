"""Many finished runs: how often their files are opened, whatever the number of runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from harness.grid.cells import Cell
from harness.records.files import read_table
from harness.records.paths import SweepFolder
from harness.records.status.rows import RowStatus, run_rows
from harness.runs.collect import all_standings, read_current, write_tables
from harness.runs.finished import read_point_file
from tests.fakes.copies import files_opened, many_runs

N = 200


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepFolder, list[Cell]]:
    return many_runs(tmp_path_factory.mktemp("many"), N)


def test_every_file_is_opened_once(made: tuple[SweepFolder, list[Cell]]) -> None:
    """By the plan the points, by the tables the parts too, by the status one file a run."""
    folder, cells = made
    with files_opened(folder.root) as planned:
        assert all(standing.is_finished for standing in all_standings(folder, cells))
    assert len(planned) == len(set(planned)) == 2 * N
    with files_opened(folder.runs) as collected:
        write_tables(folder, cells, "smoke", damaged := [])
    assert damaged == []
    assert len(collected) == len(set(collected)) == (2 + 3 + 4) * N
    with files_opened(folder.root) as seen:
        assert {row.status for row in run_rows(folder)} == {RowStatus.FINISHED}
    assert Counter(Path(path).name for path in seen) == {"state.json": N, "sweep.json": 1}
    with files_opened(folder.runs) as again:
        assert read_current(folder, cells) is not None
    assert again == []


def test_copies_are_runs_of_their_own(made: tuple[SweepFolder, list[Cell]]) -> None:
    folder, cells = made
    write_tables(folder, cells, "smoke", damaged := [])
    assert damaged == []
    points, curves = read_table(folder.points), read_table(folder.curves)
    assert points.point_id.tolist() == [cell.spec.point_id(cell.n_tokens) for cell in cells]
    assert points.seed.tolist() == [cell.spec.seed for cell in cells]
    assert points.groupby("n_tokens").loss.nunique().eq(N).all()
    assert points.loss.std() / points.loss.mean() == pytest.approx(0.005, rel=0.2)
    assert curves.groupby("run_id").size().nunique() == 1
    assert curves.groupby("step").train_loss.nunique().min() == N
    assert read_table(folder.evals).run_id.nunique() == read_table(folder.items).run_id.nunique() == N
    run = folder.run(cells[0].spec.run_id)
    for path in run.points.iterdir():
        assert read_point_file(path, run.run_id, path.stem)["trunk_id"] == run.run_id


def test_one_damaged_part_among_many_is_named(tmp_path: Path) -> None:
    folder, cells = many_runs(tmp_path, 6)
    mine, other, third = (folder.run(cells[2 * number].spec.run_id) for number in range(3))
    parts = [sorted(run.curves.glob("trunk-*"))[0] for run in (mine, other)]
    parts[0].write_bytes(parts[1].read_bytes())
    late = parts[1].with_name(parts[1].name.replace("000000008", "000000016"))
    parts[1].rename(late)
    flipped = sorted(third.evals.iterdir())[0]
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    write_tables(folder, cells, "smoke", damaged := [])
    assert {error.path: error.reason for error in damaged} == {
        parts[0]: "it is of another run",
        late: "it holds other steps than its name says",
        flipped: "its checksum differs",
    }
    curves = read_table(folder.curves)
    trunks = curves[curves.point_id.isna()]
    assert trunks.run_id.nunique() == 4
    assert curves.run_id.nunique() == 6
