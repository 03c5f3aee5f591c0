"""Cells of arms: the same rungs, tokens and seeds, with nothing but the overrides in their recipes."""

from __future__ import annotations

import pytest

from harness.config.settings import load
from harness.grid.arms import arm_notes
from harness.grid.cells import Cell, job_flops, trajectories
from harness.grid.expansion import expand
from harness.recipe import counting
from harness.records.errors import InputError
from tests.small_sweeps import DATA, grid_cells

TWO = "base: {}, swiglu: {model.mlp: swiglu}"
THREE = f"grid.arms={{{TWO}, experts: {{model.n_experts: 4, model.n_active_experts: 2}}}}"


def by_arm(cells: list[Cell]) -> dict[str | None, list[Cell]]:
    return {arm: [cell for cell in cells if cell.arm == arm] for arm in dict.fromkeys(c.arm for c in cells)}


def places(cells: list[Cell]) -> set[tuple[str, int, int]]:
    return {(cell.spec.rung, cell.n_tokens, cell.spec.seed) for cell in cells}


@pytest.mark.parametrize("grid", ["compare", "smoke", "ladder"])
def test_arms_share_sizes_tokens_seeds_data_and_warm_up(grid: str) -> None:
    """Although their FLOPs per token, from which token counts and the largest compute follow, differ."""
    arms = by_arm(grid_cells(grid, THREE))
    base, *others = arms.values()
    wanted = places([cell for cell in base if cell.role in ("fit", "holdout")])
    for own in others:
        assert places(own) == wanted
        assert {cell.role for cell in own} == {"arm"}
        assert {cell.spec.data for cell in own} == {DATA}
        assert {cell.spec.schedule for cell in own} <= {cell.spec.schedule for cell in base}


def test_an_arm_is_nothing_but_its_overrides_in_the_recipe() -> None:
    """The same run trained in another sweep has the same id."""
    arms = by_arm(grid_cells("compare", THREE))
    plain = grid_cells("compare", "grid.arms=null")
    gated = grid_cells("compare", "grid.arms=null", "model.mlp=swiglu", "grid.max_flops=1e12")
    assert {cell.key for cell in arms["base"]} == {cell.key for cell in plain}
    assert {cell.key for cell in arms["swiglu"]} <= {cell.key for cell in gated}
    assert {cell.arm for cell in plain} == {None}


def test_the_base_arm_may_have_overrides_too() -> None:
    arms = by_arm(grid_cells("compare", "grid.arms={old: {model.key_shift: false}, new: {}}"))
    assert [cell.spec.model.key_shift for cell in (arms["old"][0], arms["new"][0])] == [False, True]
    assert [arms[name][0].role for name in ("old", "new")] == ["fit", "arm"]


def test_another_depth_is_an_arm() -> None:
    arms = by_arm(grid_cells("compare", "grid.arms={base: {}, deep: {model.n_layers: 4}}"))
    assert {cell.spec.model.n_layers for cell in arms["deep"]} == {4}
    assert places(arms["deep"]) == places(arms["base"])


def test_arms_that_train_the_same_runs_are_refused() -> None:
    with pytest.raises(InputError, match=r"arms base and same train the same runs"):
        grid_cells("compare", "grid.arms={base: {}, same: {model.mlp: gelu}}")


def test_flops_of_each_arm_are_exact() -> None:
    """By hand for d32: three blocks, attention over 128 keys, and the head."""
    arms = by_arm(grid_cells("compare", THREE))
    found = {
        name: next(counting.train_flops_token(c.spec.model) for c in own if c.spec.rung == "d32")
        for name, own in arms.items()
    }
    attention, keys, head = 4 * 32 * 32, 4 * 32 * 128, 512 * 32
    mlp = {"base": 2 * 32 * 128, "swiglu": 3 * 32 * 128, "experts": 2 * 2 * 32 * 128 + 4 * 32}
    assert found == {name: 3 * (3 * (2 * (attention + own) + keys) + 2 * head) for name, own in mlp.items()}


def test_the_plan_says_what_each_arm_costs() -> None:
    settings = load(["+grid=compare", THREE])
    base, gated, experts = arm_notes(expand(settings, DATA, 512), settings)
    assert (
        base == "arm base (no overrides) is the base: N = 25.9k to 214k, 1.8×10⁵ to 1.4×10⁶ FLOPs per token"
    )
    assert gated.startswith(
        "arm swiglu (model.mlp=swiglu): N × 1.119 to 1.230, FLOPs per token × 1.103 to 1.214"
    )
    assert gated.endswith("model.mlp_ratio=null beside it gives it the parameters of GELU at ratio 4")
    assert "model.n_experts=4 model.n_active_experts=2): N × " in experts
    plain = load(["+grid=smoke"])
    assert arm_notes(expand(plain, DATA, 512), plain) == []


def test_quick_takes_three_minutes() -> None:
    """On two cores of 6e10 FLOP/s, as these runs have them."""
    cells = grid_cells("compare", f"grid.arms={{{TWO}}}")
    assert sum(map(job_flops, trajectories(cells))) / 2 / 6e10 < 180
