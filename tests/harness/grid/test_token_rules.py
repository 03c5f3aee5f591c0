"""Rules by which batch, rates, beta2, weight decay and warm-up follow depth, batch and D."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from harness.config.schema import OptimSettings
from harness.config.settings import load
from harness.execution.execution import Execution, MeshConfig, check_mesh
from harness.grid import token_rules
from harness.grid.cells import Cell, trajectories
from harness.grid.packs import packs
from harness.grid.recipe_notes import recipe_notes
from harness.grid.rules import Rung, optim_spec
from harness.grid.token_rules import RunTokens, batch_size, free_batch_size
from harness.recipe import counting
from harness.recipe.schedule import branch_start, check_reachable
from harness.recipe.spec import GROUPS
from harness.records.errors import InputError
from tests.small_sweeps import RASTER, grid_cells, settings, small_cells

LADDER = load(["+grid=smoke", "optim=ladder"]).optim
PLAIN = load(["+grid=smoke"]).optim
RUN = RunTokens(batch_size=4, seq_len=128, longest=2**19, tokens_per_param=1.0, alone=False)
# 16 sequences of 32 tokens are the reference batch of the small sweep.
REFERENCE = ["optim.reference_batch_tokens=128", "optim.reference_tokens=4096"]
RULE = [*REFERENCE, "optim.batch_size_tokens_exponent=0.5"]
OPTIM = settings(*RULE).optim
TOKENS = "grid.n_tokens=[4096,8192,65536]"


def rates(optim: OptimSettings, rung: Rung, run: RunTokens) -> dict[str, float]:
    made = optim_spec(rung, optim, {}, run).lr
    return {group: getattr(made, group) for group in GROUPS}


def test_at_the_reference_the_ladder_is_the_plain_recipe() -> None:
    """Depth 3, 512 tokens a batch: all that differs has a switch of its own."""
    off = replace(LADDER, beta2_half_life=None, decay_timescale=None, batch_size_tokens_exponent=0.0)
    assert optim_spec(Rung(96, 3), off, {}, RUN) == optim_spec(Rung(96, 3), PLAIN, {}, RUN)


def test_depth_of_the_blocks_lowers_their_rates_alone() -> None:
    shallow, deep = (rates(LADDER, Rung(64, depth), RUN) for depth in (3, 12))
    assert {group: deep[group] / shallow[group] for group in GROUPS} == {
        "hidden": 0.5, "embed": 1.0, "head": 1.0, "gain": 0.5,
    }  # fmt: skip


def test_rates_follow_the_root_of_the_batch_and_only_lonely_runs_follow_d() -> None:
    optim = replace(LADDER, hidden_lr_tokens_exponent=-0.32, embed_lr_batch_exponent=1.0)
    before = rates(optim, Rung(64, 3), RUN)
    wide = rates(optim, Rung(64, 3), replace(RUN, batch_size=64))
    assert wide["hidden"] == pytest.approx(4 * before["hidden"])
    assert wide["embed"] == pytest.approx(16 * before["embed"])
    assert rates(optim, Rung(64, 3), replace(RUN, longest=2**29)) == before
    alone = rates(optim, Rung(64, 3), replace(RUN, longest=2**29, alone=True))
    assert alone["hidden"] == pytest.approx(before["hidden"] * 1024**-0.32)
    assert alone["head"] == before["head"]


@pytest.mark.parametrize(
    ("batch", "half_life", "beta2"), [(512, 35312, 0.99), (512, 512, 0.5), (2**18, 1e7, 0.98199)]
)
def test_the_second_moment_forgets_half_in_so_many_tokens(batch: int, half_life: float, beta2: float) -> None:
    optim = replace(PLAIN, beta2_half_life=half_life)
    found = token_rules.beta2(optim, replace(RUN, batch_size=batch // 128))
    assert found == beta2
    assert found ** (half_life / batch) == pytest.approx(0.5, abs=2e-3)


def test_decay_averages_over_a_share_of_the_run() -> None:
    """At 20 tokens a parameter the published time scale is .2236 of the run."""
    run = RunTokens(256, 1024, longest=45_453_672_448, tokens_per_param=20.0, alone=False)
    decay = token_rules.hidden_weight_decay(LADDER, 0.001, run)
    assert decay is not None
    steps = run.longest / run.batch_tokens
    assert 1 / (0.001 * decay) / steps == pytest.approx(1.084 * 20**-0.527)
    assert token_rules.hidden_weight_decay(LADDER, 0.0, run) is None
    assert token_rules.hidden_weight_decay(PLAIN, 0.001, run) is None
    made = optim_spec(Rung(64, 3), LADDER, {"hidden": 4.0}, RUN)
    rate = optim_spec(Rung(64, 3), LADDER, {}, RUN).lr.hidden
    assert made.weight_decay == 0
    assert made.hidden_weight_decay == pytest.approx(512 / (rate * 1.084 * 2**19))


def test_warm_up_in_steps_or_in_tokens() -> None:
    assert token_rules.warmup_steps(replace(PLAIN, warmup_frac=0.1), 256 * 512, 512) == 26
    assert token_rules.warmup_steps(replace(PLAIN, warmup_frac=0.1), 512, 512) == 1
    assert token_rules.warmup_steps(replace(PLAIN, warmup_tokens=10_000), 256 * 512, 512) == 20


@pytest.mark.parametrize(
    ("n_tokens", "sequences"), [(2**19, 4), (2**19 * 4, 8), (3_362_783_232, 512), (45_453_672_448, 2048)]
)
def test_batches_grow_with_d_in_powers_of_two(n_tokens: int, sequences: int) -> None:
    assert free_batch_size(LADDER, n_tokens, 128) == sequences
    wanted = 4 * (n_tokens / 2**19) ** 0.571
    assert abs(math.log2(sequences / wanted)) <= 0.5
    assert free_batch_size(PLAIN, n_tokens, 128) == PLAIN.batch_size


def test_a_batch_ends_at_all_token_counts_of_its_trunk() -> None:
    raster = 4 * 128 * 8
    free = free_batch_size(LADDER, 2**23, 128)
    assert free == 16
    assert batch_size(LADDER, [2**20, 2**23], 128, 8) == free
    assert batch_size(LADDER, [33 * raster, 2**23], 128, 8) == 4
    # None ends at an odd count: the nearest is taken, and the cell refuses the count.
    assert batch_size(LADDER, [2**23 + 1], 128, 8) == free


def of_rung(cells: list[Cell]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for cell in cells:
        found.setdefault(cell.spec.rung, set()).add(cell.spec.optim.batch_size)
    return found


def test_a_trunk_takes_the_batch_of_its_longest_branch() -> None:
    extra = "grid.extra=[{d_model: 32, n_tokens: [1048576], seeds: [0]}]"
    cells = small_cells(*RULE, TOKENS, "grid.rungs=[16,32]", extra)
    assert of_rung(cells) == {"d16": {4}, "d32": {4}}  # 4,096 tokens are no multiple of a larger raster
    cells = small_cells(*RULE, "grid.n_tokens=[65536]", "grid.rungs=[16,32]", extra)
    assert of_rung(cells) == {"d16": {16}, "d32": {64}}
    for cell in cells:
        check_reachable(cell.spec, cell.n_tokens)
    # A tenth of the smallest run, whatever the batch.
    warmups = {cell.spec.schedule.warmup_steps * cell.spec.batch_tokens for cell in cells}
    assert all(abs(tokens - 6553.6) <= 1024 for tokens in warmups)
    cosine = small_cells(*RULE, TOKENS, "optim.schedule=cosine")
    assert [cell.spec.optim.batch_size for cell in cosine] == [4, 4, 16]
    assert [cell.spec.schedule.n_steps for cell in cosine] == [32, 64, 128]


def test_runs_of_other_batches_share_no_pack() -> None:
    cells = small_cells(
        *REFERENCE,
        "optim.batch_size_tokens_exponent=0.5",
        "optim.schedule=cosine",
        TOKENS,
        "grid.seeds=[0,1]",
    )
    made = packs(trajectories(cells), lambda _: 8)
    assert sorted(len(pack) for pack in made) == [2, 2, 2]
    assert all(len({job.spec.optim.batch_size for job in pack}) == 1 for pack in made)


def test_token_counts_by_parameters_end_on_the_batch_of_the_trunk() -> None:
    cells = small_cells(*RULE, "grid.n_tokens=[]", "grid.tokens_per_param=[5,20,80]", "grid.rungs=[16,64]")
    for cell, wanted in zip(cells, [5, 20, 80] * 2, strict=True):
        n_params = counting.n_params(cell.spec.model)
        free = free_batch_size(OPTIM, 80 * n_params, 32) * RASTER / 4
        assert abs(cell.n_tokens - wanted * n_params) <= free / 2
        check_reachable(cell.spec, cell.n_tokens)
    assert [len(sizes) for sizes in of_rung(cells).values()] == [1, 1]
    limited = small_cells("grid.n_tokens=[]", "grid.tokens_per_param=[5,20]", "grid.max_flops=1e9")
    assert all(cell.flops <= 1e9 for cell in limited)
    assert len(limited) == 1


def test_further_seeds_of_a_ladder_have_the_shape_of_its_rungs() -> None:
    cells = small_cells(
        "grid.rungs=null", "grid.ladder={shapes: [{d_model: 16, n_layers: 2}, {d_model: 16, n_layers: 5}]}",
        "grid.fit_seeds=[1]", "grid.extra=[{d_model: 16, n_layers: 5, n_tokens: [16384], seeds: [0]}]",
    )  # fmt: skip
    assert {(cell.spec.rung, cell.spec.seed) for cell in cells} == {
        (rung, seed) for rung in ("d16l2", "d16l5") for seed in (0, 1)
    }
    assert [cell.spec.rung for cell in cells if cell.n_tokens == 16384] == ["d16l5"] * 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["optim.hidden_lr_tokens_exponent=-0.32"],
            "serves every D at one rate; use 0 or optim.schedule=cosine",
        ),
        (
            ["optim.hidden_lr_depth_exponent=-1", "optim.transfer=completep"],
            "scales the blocks by depth itself",
        ),
        (["optim.decay_timescale_exponent=-0.5"], r"none is given; add optim\.decay_timescale=1\.084"),
        (["optim.beta2_half_life=0"], "out of range: at least 1"),
        (["optim.decay_timescale=0"], "out of range: above 0"),
        (["optim.batch_size_tokens_exponent=-1"], "out of range: at least 0"),
        (["grid.tokens_per_param=[-5]"], "out of range: above 0"),
        (["optim.warmup_tokens=3100"], r"rung d16 at n_tokens=4096; use at most 1536, or optim"),
        (["grid.extra=[{d_model: 16, n_layers: 0, n_tokens: [8192], seeds: [1]}]"], "out of range"),
    ],
)
def test_rules_that_cannot_be_are_one_sentence(given: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        small_cells(*given)
    assert "\n" not in str(caught.value)


def test_a_mesh_that_does_not_divide_the_batch_of_the_rule_is_refused() -> None:
    specs = [cell.spec for cell in small_cells(*RULE, "mesh.data=8", "grid.n_tokens=[65536]")]
    check_mesh(specs, MeshConfig(data=8), Execution())
    with pytest.raises(InputError, match=r"optim\.batch_size=16 is not divided by the 32 parts"):
        check_mesh(specs, MeshConfig(data=32), Execution())


def test_limits_of_the_rules_are_said() -> None:
    assert recipe_notes(small_cells(TOKENS), settings(TOKENS).optim) == []
    rule = (*RULE, "optim.beta2_half_life=10000", TOKENS)
    batch, half_life = recipe_notes(small_cells(*rule), settings(*rule).optim)
    assert batch.startswith("d16 keep to a batch that ends at all their token counts: 4 sequences of d16 in ")
    assert "in place of 16 by the rule" in batch
    assert half_life.startswith("d16 train fewer than 10 half-lives of optim.beta2_half_life=10k tokens")


@pytest.mark.parametrize("budget", ["quick", "standard", "full"])
def test_the_ladder_has_cells_for_every_budget(budget: str) -> None:
    cells = grid_cells("ladder", f"budget={budget}", vocab_size=512 if budget == "quick" else 50304)
    shapes = {(cell.spec.model.d_model, cell.spec.model.n_layers) for cell in cells}
    assert len(shapes) >= 5
    assert len({width for width, _ in shapes}) > 2 < len({depth for _, depth in shapes})
    assert {cell.role for cell in cells} == {"fit", "holdout"}
    for cell in cells:
        assert branch_start(cell.spec, cell.n_tokens) > 2 * cell.spec.schedule.warmup_steps
        if budget != "quick":
            ratio = cell.n_tokens / counting.n_params(cell.spec.model)
            assert 4.9 < ratio < 81
            assert cell.spec.model.seq_len >= 512
            assert cell.spec.optim.batch_size % 8 == 0  # eight devices share it evenly


def test_a_rung_of_the_usual_depth_is_the_run_of_the_default_grid() -> None:
    """All that the quick ladder moves beside width is depth, so d48 of three layers is a run of both."""
    seeds = ("grid.seeds=[60]", "grid.fit_seeds=[]")
    ladder, plain = (
        {cell.spec.run_id for cell in grid_cells(grid, *seeds) if cell.spec.rung == "d48"}
        for grid in ("ladder", "chinchilla")
    )
    assert len(ladder) == 1
    assert ladder < plain


def test_hidden_rates_of_the_ladder_come_near_the_step_law() -> None:
    """Li et al., arXiv:2503.04715, equation 1: 1.79·N^-0.713·D^0.307, N without embedding."""
    cells = grid_cells("ladder", "budget=full", vocab_size=50304)
    longest = {cell.spec: cell.n_tokens for cell in cells}
    for spec, n_tokens in longest.items():
        law = 1.79 * counting.n_params_body(spec.model) ** -0.713 * n_tokens**0.307
        assert 0.5 < spec.optim.lr.hidden / law < 2
