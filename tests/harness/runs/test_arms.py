"""Tables of a sweep with arms: one more column, and none for other sweeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.records.columns import ARM, POINT_COLUMNS, point_columns
from harness.records.paths import SweepFolder
from harness.records.run_files import RunStatus
from harness.runs.collect import collect_points, read_points
from harness.runs.state import write_state
from tests.small_sweeps import small_cells

ARMS = "grid.arms={base: {}, gated: {model.mlp: swiglu}}"


def failed(folder: SweepFolder, run_id: str) -> None:
    run = folder.run(run_id)
    run.root.mkdir(parents=True)
    write_state(run, replace(run.read_state(), status=RunStatus.FAILED, error="made up"))


def test_only_tables_with_arms_have_their_column(tmp_path: Path) -> None:
    for name, cells in (("arms", small_cells(ARMS)), ("none", small_cells())):
        folder = SweepFolder(tmp_path / name)
        for run_id in {cell.spec.run_id for cell in cells}:
            failed(folder, run_id)
        points = collect_points(cells, read_points(folder, cells), "smoke")
        if name == "none":
            assert list(points) == list(POINT_COLUMNS)
        else:
            assert list(points) == list(point_columns(arms=True))
            assert points.groupby(ARM).size().to_dict() == {"base": 2, "gated": 2}
            assert points.role.tolist() == ["fit", "fit", "arm", "arm"]
