"""An end point is finished with all that it rests on; what is lost is trained again, and only that."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.recipe.spec import RunSpec
from harness.records.json_files import read_checked, write_checked
from harness.records.paths import RunFolder, SweepFolder
from harness.runs.finished import RESTS_ON, standings, unfinished
from harness.train.loop import Diverged, Trajectory
from tests.recipes import RASTER, collected, model, run_spec, train

# Of one layer, which compiles soonest.
SPEC = run_spec(model=model(n_layers=1))
ENDS = (4 * RASTER, 8 * RASTER, 16 * RASTER)


def folder(root: Path, spec: RunSpec = SPEC) -> RunFolder:
    return SweepFolder(root).run(spec.run_id)


def train_in(root: Path, spec: RunSpec = SPEC, ends: tuple[int, ...] = ENDS) -> str:
    return train(folder(root, spec).root, spec, ends)


def tables(root: Path, spec: RunSpec = SPEC) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables without the columns that tell of speed."""
    return collected(root, [spec], ENDS)


def assert_same(root: Path, other: Path, spec: RunSpec = SPEC) -> None:
    for mine, theirs in zip(tables(root, spec), tables(other, spec), strict=True):
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)


def point_times(root: Path) -> dict[int, int]:
    return {n: folder(root).point(SPEC.point_id(n)).stat().st_mtime_ns for n in ENDS}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    assert train_in(root) == "done"
    return root


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def test_a_token_count_added_between_trained_ones_keeps_every_row(whole: Path, tmp_path: Path) -> None:
    assert train_in(tmp_path, ends=(ENDS[0], ENDS[2])) == "done"
    rows = len(collected(tmp_path, [SPEC], (ENDS[0], ENDS[2]))[1])
    before = [folder(tmp_path).point(SPEC.point_id(n)).stat().st_mtime_ns for n in (ENDS[0], ENDS[2])]
    assert train_in(tmp_path) == "done"
    assert_same(tmp_path, whole)
    assert len(tables(tmp_path)[1]) > rows
    times = point_times(tmp_path)
    assert [times[ENDS[0]], times[ENDS[2]]] == before


@pytest.mark.parametrize("lost", ENDS)
def test_a_removed_point_is_trained_again_and_alone(lost: int, whole: Path, copy: Path) -> None:
    before = point_times(copy)
    folder(copy).point(SPEC.point_id(lost)).unlink()
    assert unfinished(folder(copy), SPEC, ENDS) == [lost]
    assert train_in(copy) == "done"
    assert_same(copy, whole)
    changed = {n for n, time in point_times(copy).items() if time != before[n]}
    assert changed == {lost}


def parts(root: Path) -> list[Path]:
    return sorted(folder(root).curves.iterdir())


@pytest.mark.parametrize("index", range(6))
def test_a_lost_part_of_the_curve_opens_the_one_point_that_fills_it(
    index: int, whole: Path, copy: Path
) -> None:
    assert len(parts(whole)) == 6, "three branches, and the trunk up to each"
    part = parts(copy)[index]
    part.unlink()
    (opened,) = unfinished(folder(copy), SPEC, ENDS)
    lost = standings(folder(copy), SPEC, ENDS)[opened].lost
    assert lost is not None
    assert part.stem.rsplit("-", 2)[0] in lost
    assert train_in(copy) == "done"
    assert_same(copy, whole)
    assert {path.name for path in parts(copy)} == {path.name for path in parts(whole)}


def diverging(self: Trajectory, step: int, losses: np.ndarray) -> None:  # noqa: ARG001
    if step > 40:
        raise Diverged(f"loss 99 at step {step}")


@pytest.mark.parametrize(("index", "name"), [(0, "branch"), (2, "trunk"), (-1, "trunk")])
def test_a_diverged_run_that_lost_its_curve_diverges_again(
    index: int, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the trunk behind its second branch."""
    monkeypatch.setattr(Trajectory, "_check_finite", diverging)
    roots = tmp_path / "whole", tmp_path / "damaged"
    for root in roots:
        assert train_in(root) == "diverged"
    assert list(tables(roots[0])[0].status) == ["done", "done", "diverged"]
    part = parts(roots[1])[index]
    assert part.name.startswith(name)
    part.unlink()
    assert unfinished(folder(roots[1]), SPEC, ENDS)
    assert train_in(roots[1]) in ("done", "diverged")
    assert unfinished(folder(roots[1]), SPEC, ENDS) == []
    assert_same(roots[1], roots[0])


def test_a_point_of_an_earlier_version_rests_on_its_own_file_alone(copy: Path) -> None:
    path = folder(copy).point(SPEC.point_id(ENDS[1]))
    write_checked(path, {key: value for key, value in read_checked(path).items() if key != RESTS_ON})
    for part in folder(copy).curves.iterdir():
        part.unlink()
    assert unfinished(folder(copy), SPEC, ENDS[1:2]) == []
