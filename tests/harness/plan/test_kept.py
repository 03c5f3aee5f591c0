"""Which end points keep their parameters, and what the plan says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.grid.cells import Cell
from harness.plan.kept import HEADER_BYTES, KeepPlan, keep_lines, plan_keeping
from harness.recipe import counting
from harness.records.paths import SweepFolder
from tests.fakes.points import write_point
from tests.small_sweeps import grid_cells, small_cells

TWO_RUNGS = ("grid.rungs=[16,32]", "grid.n_tokens=[4096,8192,16384]", "grid.seeds=[0,1]")
REFERENCE = "grid.references=[{d_model: 32, n_tokens: 32768, lr_scale: [1.0], seeds: [0]}]"


def size(d_model: int) -> int:
    (model,) = {cell.spec.model for cell in small_cells(*TWO_RUNGS) if cell.spec.model.d_model == d_model}
    return 4 * counting.n_params(model) + HEADER_BYTES


def kept(cells: list[Cell], which: str, folder: Path, budget: float = 1e9) -> KeepPlan:
    return plan_keeping(SweepFolder(folder), cells, which, budget, "fp32")


def names(cells: tuple[Cell, ...]) -> list[str]:
    return sorted(f"{c.spec.rung} {c.n_tokens} {c.spec.seed} {c.spec.schedule.kind}" for c in cells)


LAST = ["d16 16384 0 wsd", "d16 16384 1 wsd", "d32 16384 0 wsd", "d32 16384 1 wsd"]
REST = [f"d32 {n} {seed} wsd" for n in (4096, 8192) for seed in (0, 1)]


@pytest.mark.parametrize(("which", "wanted"), [("none", []), ("last", LAST), ("auto", sorted(LAST + REST))])
def test_what_is_kept(which: str, wanted: list[str], tmp_path: Path) -> None:
    cells = small_cells(*TWO_RUNGS, REFERENCE)
    found = kept(cells, which, tmp_path)
    assert names(found.cells) == wanted
    assert len(kept(cells, "points", tmp_path).cells) == len(cells) == 13
    assert set(found.point_ids) == {c.spec.point_id(c.n_tokens) for c in found.cells}
    assert found.n_bytes == sum(size(c.spec.model.d_model) for c in found.cells)
    halved = plan_keeping(SweepFolder(tmp_path), cells, which, 1e9, "bf16")
    assert halved.cells == found.cells
    assert 2 * halved.n_bytes == found.n_bytes + len(found.cells) * HEADER_BYTES


def test_the_last_points_stay_when_the_disk_is_small(tmp_path: Path) -> None:
    """First the other points of the largest rung go, those of few tokens before others."""
    cells = small_cells(*TWO_RUNGS)
    most = kept(cells, "auto", tmp_path)
    found = kept(cells, "auto", tmp_path, most.n_bytes - 1)
    assert [c.n_tokens for c in found.left_out] == [4096]
    assert names(kept(cells, "auto", tmp_path, 2 * (size(16) + size(32))).cells) == LAST
    assert names(kept(cells, "auto", tmp_path, 2 * size(32)).cells) == LAST[2:]
    # The largest does not fit: those that do are kept.
    assert names(kept(cells, "auto", tmp_path, 2 * size(16)).cells) == LAST[:2]
    (first, second) = keep_lines(SweepFolder(tmp_path), found, cells, "auto", found.n_bytes / 1e9)
    assert first.startswith("the parameters of 7 end points are kept, 0.")
    assert "(keep=auto: 5 of d32, 2 of d16)" in first
    assert "of the end points of keep=auto 1 do not fit into keep_gb=" in second
    typed = float(second.rpartition("keep_gb=")[2])
    assert most.n_bytes / 1e9 <= typed < 1.2 * most.n_bytes / 1e9
    assert kept(cells, "auto", tmp_path, typed * 1e9).left_out == ()


def test_files_of_earlier_plans_count(tmp_path: Path) -> None:
    cells = small_cells(*TWO_RUNGS)
    other = tmp_path / "runs" / "other" / "weights" / "point.safetensors"
    other.parent.mkdir(parents=True)
    other.write_bytes(bytes(1000))
    assert kept(cells, "last", tmp_path).n_bytes == 2 * (size(16) + size(32)) + 1000
    assert kept(cells, "last", tmp_path, 2 * (size(16) + size(32))).left_out != ()
    assert other.exists()


def test_points_trained_without_keeping_are_named(tmp_path: Path) -> None:
    folder, cells = SweepFolder(tmp_path), small_cells(*TWO_RUNGS)
    plan = kept(cells, "last", tmp_path)
    assert len(keep_lines(folder, plan, cells, "last", 10)) == 1
    for cell in plan.cells:
        write_point(folder, cell.spec, cell.n_tokens)
    path = folder.run(plan.cells[0].spec.run_id).point_weights(plan.point_ids[0])
    path.parent.mkdir(parents=True)
    path.touch()
    lost, damaged = keep_lines(folder, plan, [], "last", 10)
    assert damaged.startswith(
        "the parameters of 1 finished end points of keep=last cannot be read (1 of d32; "
    )
    assert f"{path}: it is no whole safetensors file" in damaged
    assert f"delete {path.parent.parent}/points/{path.stem}.json and give the same command" in damaged
    assert lost.startswith("the parameters of 3 finished end points of keep=last are not there (1 of d32, 2")
    assert f"delete its file, such as {tmp_path}/runs/" in lost
    diverged = plan.cells[1]
    write_point(folder, diverged.spec, diverged.n_tokens, status="diverged")
    assert "of 2 finished end points" in keep_lines(folder, plan, [], "last", 10)[0]
    assert keep_lines(folder, kept(cells, "none", tmp_path), [], "none", 10) == []


def test_the_default_grid_keeps_little(tmp_path: Path) -> None:
    found = kept(grid_cells("chinchilla"), "auto", tmp_path, 10e9)
    assert found.left_out == ()
    assert found.n_bytes < 20e6
    assert max(c.flops for c in found.cells) == max(c.flops for c in grid_cells("chinchilla"))
