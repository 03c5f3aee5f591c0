"""Rungs of which depth moves as well as width."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from harness.config.rungs import settle_rungs
from harness.config.schema import Ladder, Shape
from harness.config.settings import load, plain
from harness.grid.expansion import expand
from harness.grid.ladder import TOLERANCE, aspect_note, depth_note, ladder_rungs, moving_depth_note, shape_of
from harness.grid.rounding import rounded
from harness.grid.rules import Rung, model_spec
from harness.recipe.counting import n_params_body
from harness.records.errors import InputError
from tests.harness.grid.test_expansion import TOKENS, ids
from tests.small_sweeps import DATA, settings, small_cells

MODEL = load(["+grid=smoke", "model.head_dim=16"]).model
VOCAB = 300


def body(rung: Rung, model=MODEL) -> int:
    return n_params_body(model_spec(rung, model, VOCAB))


@pytest.mark.parametrize("mlp", ["gelu", "swiglu"])
@pytest.mark.parametrize("aspect", [16.0, 32.0, 64.0])
@pytest.mark.parametrize("size", [3e6, 3.2e7])
def test_of_all_shapes_near_a_size_the_one_of_that_aspect_is_taken(
    size: float, aspect: float, mlp: str
) -> None:
    model = load(["+grid=smoke", "model.head_dim=16", f"model.mlp={mlp}"]).model
    found = shape_of(size, aspect, model, VOCAB)
    assert abs(body(found, model) / size - 1) <= TOLERANCE
    off = abs(np.log(found.d_model / found.n_layers / aspect))
    for depth, steps in itertools.product(range(1, 120), range(1, 60)):
        rung = Rung(16 * steps, depth)
        if abs(body(rung, model) / size - 1) <= TOLERANCE:
            assert off <= abs(np.log(rung.d_model / depth / aspect)) + 1e-9


@pytest.mark.parametrize("size", [2e5, 3e6, 1e8])
def test_a_ladder_meets_its_sizes_with_rounded_mlps(size: float) -> None:
    model = load(["+grid=smoke", "model.head_dim=16", "model.mlp=swiglu", "model.mlp_ratio=null"]).model
    assert abs(body(shape_of(size, 32.0, model, VOCAB), model) / size - 1) <= TOLERANCE


@pytest.mark.parametrize("size", [1e7, 3e7, 1e8])
def test_a_ladder_of_width_alone_keeps_the_depth(size: float) -> None:
    model = replace(MODEL, n_layers=5, head_dim=8)
    ladder = Ladder(n_params_body=[size], rule="width", aspect=1.0)
    (found,) = ladder_rungs(ladder, model, VOCAB)
    assert found.n_layers == 5
    assert abs(body(found, model) / size - 1) <= TOLERANCE
    assert aspect_note(ladder, [(found.d_model, 5)]) == []


def test_a_size_that_width_alone_misses_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"64 divides and 3 layers .* d_model=64 of 3 .*rule=aspect"):
        ladder_rungs(Ladder(n_params_body=[2e5], rule="width"), replace(MODEL, head_dim=64), VOCAB)


def test_a_ladder_sets_the_width_of_its_heads() -> None:
    sizes = [2e6, 8e6, 3.2e7, 1.3e8, 5e8, 2e9]
    given = f"grid.ladder={{rule: aspect, aspect: 32, head_dim: 64, n_params_body: {sizes}}}"
    found = load(["+grid=smoke", given])
    assert found.model.head_dim == 64
    assert found.grid.ladder
    rungs = ladder_rungs(found.grid.ladder, found.model, VOCAB)
    assert all(rung.d_model % 64 == 0 for rung in rungs)
    off = [abs(body(rung, found.model) / size - 1) for rung, size in zip(rungs, sizes, strict=True)]
    assert max(off) <= TOLERANCE
    # A recorded sweep with the same ladder, and one without.
    assert load([], plain(found)).model.head_dim == 64
    assert load(["grid.rungs=[64]", "model.head_dim=16"], plain(found)).model.head_dim == 16


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["grid.ladder={head_dim: 32, n_params_body: [2e6]}", "model.head_dim=16"], "leave the first out"),
        (["grid.ladder={rule: depth, n_params_body: [2e6]}"], "use one of aspect, width"),
    ],
)
def test_a_ladder_that_cannot_be_meant(overrides: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        load(["+grid=smoke", *overrides])


@pytest.mark.parametrize("override", ["model.kv_group=4", "model.n_kv_heads=2"])
def test_widths_of_a_ladder_suit_shared_keys(override: str) -> None:
    model = load(["+grid=smoke", "model.head_dim=16", override]).model
    found = shape_of(3.2e7, 32.0, model, VOCAB)
    assert found.d_model % (16 * int(override[-1])) == 0
    assert abs(body(found, model) / 3.2e7 - 1) <= TOLERANCE


def test_a_lopsided_shape_of_the_right_size_is_no_rung() -> None:
    """25 layers of width 8 have 20 k; six layers of width 16, which were meant, have 6 % less."""
    model = load(["+grid=smoke", "model.head_dim=8"]).model
    with pytest.raises(InputError, match=r"near 2 has 20,000 body .*; d_model=16 of 6 layers has 18,"):
        shape_of(2e4, 2.0, model, VOCAB)


def test_rungs_ascend_and_stand_once() -> None:
    given = [Shape(48, 2), Shape(16, 3), Shape(16, 6)]
    sized = shape_of(1e6, 32.0, MODEL, VOCAB)
    again = Shape(sized.d_model, sized.n_layers)
    found = ladder_rungs(Ladder([1e6], 32.0, [*given, again]), MODEL, VOCAB)
    assert [rung.name for rung in found] == ["d16", "d16l6", "d48l2", sized.name]


def test_a_size_beyond_all_use_is_out_of_range() -> None:
    with pytest.raises(InputError, match=r"1e\+20 in grid\.ladder\.n_params_body is out of range"):
        load(["+grid=smoke", "grid.ladder={n_params_body: [1e20]}"])


def test_a_size_that_no_shape_has_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"has 100 body .*; d_model=16 of 1 layers has 3,"):
        shape_of(100, 32.0, MODEL, VOCAB)
    with pytest.raises(InputError, match=r"names no rung.*type grid\.ladder=\{n_params_body"):
        ladder_rungs(Ladder(), MODEL, VOCAB)


def test_cells_of_a_ladder_take_the_place_of_those_of_the_widths() -> None:
    made = small_cells(
        "grid.rungs=null",
        "grid.ladder={shapes: [{d_model: 16, n_layers: 2}, {d_model: 32, n_layers: 5}]}",
        TOKENS,
    )
    shapes = {(cell.spec.rung, cell.spec.model.d_model, cell.spec.model.n_layers) for cell in made}
    usual = settings().model.n_layers
    assert usual not in (2, 5)
    assert shapes == {("d16l2", 16, 2), ("d32l5", 32, 5)}


def test_rungs_that_are_asked_for_take_the_place_of_a_ladder() -> None:
    wide = load(["+grid=ladder", "grid.rungs=[16,32]", "grid.extra=[]", "grid.holdout_factor=1"])
    made = expand(wide, DATA, VOCAB)
    assert {cell.spec.model.d_model for cell in made} == {16, 32}
    # A grid file's widths give way to a ladder likewise.
    assert load(["+grid=smoke", "grid.ladder={n_params_body: [2e6]}"]).grid.rungs is None
    with pytest.raises(InputError, match=r"grid\.rungs and grid\.ladder both name the rungs"):
        load(["+grid=ladder", "grid.rungs=[16]", "grid.ladder={n_params_body: [2e6]}"])


def test_a_shape_of_the_usual_depth_is_the_run_of_its_width() -> None:
    usual = settings().model.n_layers
    shaped = small_cells(
        "grid.rungs=null", f"grid.ladder={{shapes: [{{d_model: 16, n_layers: {usual}}}]}}", TOKENS
    )
    assert ids(shaped) == ids(small_cells("grid.rungs=[16]", TOKENS))


MIXED = (
    "grid.rungs=[16,{d_model: 32, n_layers: 4}, {d_model: 64, n_layers: 1, n_heads: 8},"
    "{d_model: 64, n_layers: 1, n_heads: 8, n_kv_heads: 2}]"
)


def test_widths_and_shapes_are_mixed_in_one_list() -> None:
    made = small_cells(MIXED, TOKENS)
    shapes = {cell.spec.rung: cell.spec.model for cell in made}
    assert {name: (m.d_model, m.n_layers, m.n_heads, m.kv_heads) for name, m in shapes.items()} == {
        "d16": (16, 1, 1, 1),
        "d32l4": (32, 4, 2, 2),
        "d64h8": (64, 1, 8, 8),
        "d64h8k2": (64, 1, 8, 2),
    }
    assert len({cell.spec.run_id for cell in made}) == 4


def test_heads_that_the_settings_give_anyway_are_the_run_of_the_width() -> None:
    plain = ids(small_cells("grid.rungs=[32,64]", TOKENS))
    assert ids(small_cells("grid.rungs=[{d_model: 32, n_heads: 2}, 64]", TOKENS)) == plain
    grouped = ids(small_cells("grid.rungs=[64]", "model.kv_group=2", TOKENS))
    shaped = "grid.rungs=[{d_model: 64, n_layers: 1, n_heads: 4, n_kv_heads: 2}]"
    assert ids(small_cells(shaped, "model.kv_group=2", TOKENS)) == grouped


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ("{d_model: 64, n_heads: 3}", "n_heads=3 and d_model=64, .* type n_heads=2 or d_model=66"),
        ("{d_model: 30, n_heads: 2}", "n_heads=2 and d_model=30, .* type n_heads=1 or d_model=32"),
        ("{d_model: 7, n_heads: 1}", "n_heads=1 and d_model=7, .* type d_model=8"),
        ("{d_model: 64, n_heads: 8, n_kv_heads: 3}", "n_kv_heads=3, .* were expected; type n_kv_heads=2"),
        ("{d_model: 64, width: 3}", "its keys are d_model, n_layers, n_heads, n_kv_heads, and width is none"),
        ("{n_layers: 3}", "d_model must be given too"),
        ("{d_model: 64, n_heads: 0}", "0 in grid.ladder.shapes.n_heads is out of range"),
    ],
)
def test_a_shape_that_cannot_be_had_is_one_sentence(shape: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        expand(rounded(settings(f"grid.rungs=[16,{shape}]", TOKENS))[0], DATA, VOCAB)


def test_listed_cells_find_the_rung_of_their_width_and_depth() -> None:
    further = "grid.extra=[{d_model: 60, n_tokens: [4096], seeds: [7]}]"
    made = small_cells("grid.rungs=[{d_model: 60, n_heads: 3}]", further, "grid.fit_seeds=[8]", TOKENS)
    assert {(cell.spec.rung, cell.spec.model.n_heads) for cell in made} == {("d60h3", 3)}
    assert {cell.spec.seed for cell in made} == {0, 7, 8}
    two = "grid.rungs=[{d_model: 60, n_heads: 3}, {d_model: 60, n_heads: 5}]"
    with pytest.raises(InputError, match="the grid has d60h3 and d60h5; add n_heads"):
        small_cells(two, further, TOKENS)
    named = "grid.extra=[{d_model: 60, n_heads: 5, n_tokens: [4096], seeds: [7]}]"
    assert {c.spec.rung for c in small_cells(two, named, TOKENS) if c.spec.seed == 7} == {"d60h5"}


def test_arms_have_the_heads_of_the_base() -> None:
    arms = "grid.arms={base: {}, wide: {model.mlp: swiglu}}"
    made = small_cells(MIXED, arms, TOKENS)
    heads = {
        arm: {(c.spec.rung, c.spec.model.n_heads) for c in made if c.arm == arm} for arm in ("base", "wide")
    }
    assert heads["base"] == heads["wide"]
    assert ("d64h8k2", 8) in heads["wide"]


def test_shapes_of_a_grid_file_are_rungs_of_its_budget() -> None:
    shapes = [{"d_model": 32, "n_layers": 4, "n_heads": 4}, 16]
    grid = {"rungs": None, "ladder": None, "budgets": {"quick": {"rungs": shapes, "ladder": None}}}
    settle_rungs(grid, [])
    assert grid["budgets"]["quick"] == {"rungs": None, "ladder": {"shapes": [shapes[0], {"d_model": 16}]}}


def test_rates_that_do_not_follow_depth_are_said() -> None:
    optim = load(["+grid=smoke"]).optim
    assert depth_note([3, 3], optim) == []
    (said,) = depth_note([2, 9, 4], optim)
    assert said.startswith("rungs have 2 to 9 layers")
    assert depth_note([2, 9], load(["+grid=smoke", "optim.transfer=completep"]).optim) == []


def test_forecasts_of_rungs_of_several_depths_are_doubted_in_the_plan() -> None:
    assert moving_depth_note([3, 3]) == []
    (said,) = moving_depth_note([2, 9, 4])
    assert said.startswith("rungs have 2 to 9 layers: laws and forecasts are of N and D along these shapes")


def test_a_ladder_from_two_million_to_two_billion_has_a_shape_for_every_size() -> None:
    """With heads of 64 only depth can bring the smallest sizes near: the plan says how far shapes bend."""
    ladder = Ladder([2e6, 8e6, 3.2e7, 1.3e8, 5e8, 2e9], 32.0)
    model = load(["+grid=smoke", "model.head_dim=64"]).model
    rungs = ladder_rungs(ladder, model, VOCAB)
    sizes = [n_params_body(model_spec(rung, model, VOCAB)) for rung in rungs]
    assert sizes == pytest.approx(ladder.n_params_body, rel=TOLERANCE)
    (note,) = aspect_note(ladder, {(rung.d_model, rung.n_layers) for rung in rungs})
    assert "12.8 at d128 with 10 layers" in note
    assert "d1088" not in note
    assert aspect_note(replace(ladder, n_params_body=[]), {(128, 10)}) == []
