"""Cells of a grid, and what their identity depends on."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest

from harness.config.cells_file import FILE_GRIDS
from harness.config.settings import load, options
from harness.grid.cells import ROLES, Cell, job_flops, jobs
from harness.grid.expansion import expand
from harness.grid.holdout import Reach, reach
from harness.grid.recipe_notes import recipe_notes
from harness.recipe import counting
from harness.recipe.spec import GROUPS, Job, RunSpec
from harness.records.errors import InputError
from tests.small_sweeps import DATA, RASTER, VOCAB, grid_cells, settings, small_cells

TOKENS = "grid.n_tokens=[4096,8192,16384]"


def ids(cells: list[Cell]) -> set[tuple[str, int]]:
    return {cell.key for cell in cells}


@pytest.mark.parametrize(
    "override",
    [
        "mesh.data=2",
        "mesh.fsdp=4",
        "launcher.n_workers=7",
        "results_dir=x",
        "cache_dir=y",
        "data.max_epochs=9",
    ],
)
def test_identity_ignores_where_a_run_is_trained(override: str) -> None:
    assert ids(small_cells(override)) == ids(small_cells())


@pytest.mark.parametrize(
    "override",
    [
        "model.n_layers=2",
        "model.head_dim=8",
        "model.mlp=swiglu",
        "model.rope_theta=77",
        "model.norm_eps=1e-5",
        "model.key_shift=false",
        "optim.batch_size=2",
        "optim.hidden_lr=0.5",
        "optim.gain_lr=0.5",
        "optim.beta1=0.8",
        "optim.cooldown_frac=0.5",
        "optim.schedule=cosine",
        "grid.seeds=[1]",
        "grid.log_interval=4",
    ],
)
def test_identity_depends_on_the_recipe(override: str) -> None:
    assert not {run for run, _ in ids(small_cells(override))} & {run for run, _ in ids(small_cells())}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(DATA)])
def test_identity_depends_on_the_data(field: str) -> None:
    value = getattr(DATA, field)
    other = dataclasses.replace(DATA, **{field: value + "x" if isinstance(value, str) else value + 1})
    assert not ids(expand(settings(), other, VOCAB)) & ids(small_cells())


def test_identity_depends_on_the_vocabulary() -> None:
    assert not ids(expand(settings(), DATA, VOCAB + 1)) & ids(small_cells())


def test_a_recipe_survives_its_file() -> None:
    for cell in small_cells("grid.references=[{d_model: 16, n_tokens: 8192, lr_scale: [1.0], seeds: [0]}]"):
        assert RunSpec.from_dict(cell.spec.to_dict()) == cell.spec
        job = Job(cell.spec, (cell.n_tokens,))
        assert Job.from_dict(job.to_dict()) == job


@pytest.mark.parametrize("tokens", ["[4096]", "[4096,32768]", "[4096,5120,8192,65536]"])
def test_a_trunk_does_not_depend_on_the_points_it_leads_to(tokens: str) -> None:
    """As long as the smallest token count stays, of which warm-up is a share."""
    trunks = {cell.spec.run_id for cell in small_cells(f"grid.n_tokens={tokens}")}
    assert trunks == {cell.spec.run_id for cell in small_cells()}
    assert len(trunks) == 1


def test_a_cosine_run_ends_at_one_point() -> None:
    made = small_cells("optim.schedule=cosine", TOKENS)
    assert len({cell.spec.run_id for cell in made}) == len(made) == 3
    assert [cell.spec.schedule.n_steps for cell in made] == [32, 64, 128]


@pytest.mark.parametrize(
    ("override", "n_added"),
    [("grid.seeds=[0,1]", 2), ("grid.rungs=[16,32]", 2), ("grid.n_tokens=[4096,8192,16384]", 1)],
)
def test_a_wider_grid_only_adds_cells(override: str, n_added: int) -> None:
    before, after = ids(small_cells()), ids(small_cells(override))
    assert before < after
    assert len(after) == len(before) + n_added


def test_a_cell_named_twice_is_one_cell() -> None:
    extra = "grid.extra=[{d_model: 16, n_tokens: [4096, 16384], seeds: [0, 1]}]"
    made = small_cells(extra, "grid.n_tokens=[4096,8192,8192]")
    assert len(made) == len(ids(made)) == 2 + 3
    assert {cell.role for cell in made} == {"fit"}


def test_the_warm_up_is_that_of_the_smallest_token_count_wherever_it_stands() -> None:
    """A longer one would be a larger share of the smallest run than the recipe says."""
    plain = small_cells("grid.n_tokens=[40960]")
    with_extra = small_cells(
        "grid.n_tokens=[40960]", "grid.extra=[{d_model: 16, n_tokens: [10240], seeds: [0]}]"
    )
    steps = {cell.spec.schedule.warmup_steps for cell in with_extra}
    assert steps == {small_cells("grid.n_tokens=[10240]")[0].spec.schedule.warmup_steps}
    assert steps != {plain[0].spec.schedule.warmup_steps}


def test_a_factor_of_one_holds_nothing_out() -> None:
    for grid in ("chinchilla", "lr"):
        cells = grid_cells(grid, "grid.holdout_factor=1")
        assert "holdout" not in {cell.role for cell in cells}


def test_references_are_cosine_runs_with_all_rates_scaled() -> None:
    made = small_cells("grid.references=[{d_model: 16, n_tokens: 8192, lr_scale: [0.5, 2.0], seeds: [0, 1]}]")
    references = [cell for cell in made if cell.role == "reference"]
    base = next(cell for cell in made if cell.role == "fit").spec.optim
    assert len(references) == 4
    assert {cell.spec.schedule.kind for cell in references} == {"cosine"}
    for group in ("hidden", "embed", "head", "gain"):
        found = {getattr(cell.spec.optim.lr, group) / getattr(base.lr, group) for cell in references}
        assert found == {0.5, 2.0}


def test_a_tied_head_has_no_rate_to_scale() -> None:
    scales = ("grid.lr_scale={hidden: [1.0], embed: [0.5, 1.0], head: [0.5, 2.0]}", "grid.n_tokens=[8192]")
    assert [len(small_cells(*scales, f"model.tied_embeddings={tied}")) for tied in ("false", "true")] == [
        4,
        2,
    ]


@pytest.mark.parametrize("factor", [2.0, 3.0, 8.0])
def test_the_largest_compute_is_held_out(factor: float) -> None:
    made = small_cells("grid.rungs=[16,32]", TOKENS, f"grid.holdout_factor={factor}")
    largest = max(cell.flops for cell in made)
    assert {cell.role for cell in made} == {"fit", "holdout"}
    for cell in made:
        assert (cell.role == "holdout") == (cell.flops > largest / factor)
    fitted = max(cell.flops for cell in made if cell.role == "fit")
    assert largest / fitted >= factor


def test_extra_seeds_of_a_held_out_cell_are_held_out_and_references_are_not() -> None:
    made = small_cells(
        TOKENS,
        "grid.holdout_factor=2",
        "grid.extra=[{d_model: 16, n_tokens: [16384], seeds: [1]}]",
        "grid.references=[{d_model: 16, n_tokens: 16384, lr_scale: [1.0], seeds: [0]}]",
    )
    roles = sorted(
        (cell.spec.seed, cell.spec.schedule.kind, cell.role) for cell in made if cell.n_tokens == 16384
    )
    assert roles == [(0, "cosine", "reference"), (0, "wsd", "holdout"), (1, "wsd", "holdout")]


def test_seeds_of_fitted_cells_leave_the_held_out_ones_alone() -> None:
    """Cells of both sizes and an extra one, by hand: the factor of 2 holds out the largest count of d32."""
    grid = (
        "grid.rungs=[16,32]", TOKENS, "grid.holdout_factor=2", "grid.seeds=[5]",
        "grid.extra=[{d_model: 32, n_tokens: [6144], seeds: [5]}]",
    )  # fmt: skip
    before, after = small_cells(*grid), small_cells(*grid, "grid.fit_seeds=[7,6]")
    fitted = {cell.key for cell in before if cell.role == "fit"}
    assert ids(before) < ids(after)
    assert {cell.key: cell.role for cell in before}.items() <= {c.key: c.role for c in after}.items()
    places = [(cell.spec.rung, cell.n_tokens) for cell in before if cell.role == "fit"]
    added = [cell for cell in after if cell.spec.seed != 5]
    assert len(added) == 2 * len(fitted) == 2 * len(places)
    assert sorted((c.spec.seed, c.spec.rung, c.n_tokens) for c in added) == sorted(
        (seed, *place) for place in places for seed in (6, 7)
    )
    assert ("d32", 6144) in places
    assert {cell.role for cell in added} == {"fit"}
    assert [(c.spec.model.d_model, c.spec.seed, c.n_tokens) for c in after] == sorted(
        (c.spec.model.d_model, c.spec.seed, c.n_tokens) for c in after
    )
    # A trunk goes as far as the largest fitted cell of its size, and is the run of its seed in other lists.
    largest = {rung: max(n for name, n in places if name == rung) for rung in ("d16", "d32")}
    for job in jobs(added):
        assert job.n_tokens[-1] == largest[job.spec.rung]
    named = small_cells(*grid[:3], "grid.seeds=[6]", grid[4])
    assert {cell.spec.run_id for cell in added if cell.spec.seed == 6} == {
        cell.spec.run_id for cell in named if cell.spec.seed == 6
    }


def test_without_a_hold_out_every_cell_is_repeated_and_a_named_one_only_once() -> None:
    extra = "grid.extra=[{d_model: 16, n_tokens: [8192], seeds: [1]}]"
    assert ids(small_cells(extra, "grid.fit_seeds=[1]")) == ids(small_cells("grid.seeds=[0,1]"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["grid.seeds=[3,4]", "grid.fit_seeds=[4,5]"], r"\[4\] stand in both; type grid\.fit_seeds=\[5,6\]$"),
        (["grid.seeds=null", "grid.fit_seeds=[0]"], r"\[0\] stand in both; type grid\.fit_seeds=\[1\]$"),
        (["grid.fit_seeds=[4]", "grid.lr_scale={hidden: [1.0]}"], r"has none; type grid\.seeds instead"),
        (["grid.seeds=[]"], r"expected one seed or more; type grid\.seeds=\[0\]$"),
    ],
)
def test_seeds_that_cannot_be_added_are_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        small_cells(*overrides)


def test_a_hold_out_that_leaves_nothing() -> None:
    with pytest.raises(InputError, match=r"holdout_factor=100.*no cell to fit"):
        small_cells("grid.holdout_factor=100")


def test_tokens_are_solved_from_budgets() -> None:
    budgets = [4e8, 1.6e9]
    made = small_cells("grid.rungs=[16,32]", "grid.n_tokens=null", f"grid.flops={budgets}")
    assert len(made) == 4
    for cell in made:
        per_token = counting.train_flops_token(cell.spec.model)
        nearest = min(budgets, key=lambda budget: abs(budget - cell.flops))
        assert cell.n_tokens % RASTER == 0
        assert abs(cell.flops - nearest) <= per_token * RASTER / 2


def test_a_limit_on_compute_drops_cells() -> None:
    limit = small_cells("grid.rungs=[32]", "grid.n_tokens=[8192]")[0].flops
    made = small_cells("grid.rungs=[16,32]", TOKENS, f"grid.max_flops={limit}")
    assert {(cell.spec.rung, cell.n_tokens) for cell in made} == {
        (rung, n) for rung, n in [("d16", 4096), ("d16", 8192), ("d16", 16384), ("d32", 4096), ("d32", 8192)]
        if n * counting.train_flops_token(small_cells(f"grid.rungs=[{rung[1:]}]")[0].spec.model) <= limit
    }  # fmt: skip
    assert max(cell.flops for cell in made) == limit


def test_learning_rates_are_varied_one_group_at_a_time() -> None:
    made = expand(
        settings(
            "grid.lr_scale={hidden: [0.5, 1.0, 2.0], embed: [0.5, 1.0], head: [1.0], gain: [1.0, 3.0]}",
            "grid.n_tokens=[4096]",
            grid="lr",
        ),
        DATA,
        VOCAB,
    )
    assert {cell.role for cell in made} == {"lr"}
    base = small_cells()[0].spec.optim
    changed = [
        [group for group in GROUPS if getattr(cell.spec.optim.lr, group) != getattr(base.lr, group)]
        for cell in made
    ]
    # The base run is shared by all groups.
    assert sorted(changed) == [[], ["embed"], ["gain"], ["hidden"], ["hidden"]]


def test_batches_are_swept_with_the_rates() -> None:
    rule = "optim.hidden_lr_batch_exponent=0.5"
    only_hidden = "grid.lr_scale={hidden: [0.5, 1.0, 2.0], embed: [1.0], head: [1.0], gain: [1.0]}"
    scales = (only_hidden, "grid.n_tokens=[8192]", rule)
    made = expand(settings(*scales, "grid.batch_sizes=[2,4,8]", grid="lr"), DATA, VOCAB)
    assert [cell.spec.optim.batch_size for cell in made].count(8) == len(made) / 3 == 3
    assert recipe_notes(made, settings(*scales, grid="lr").optim) == []
    plain = expand(settings(*scales, grid="lr"), DATA, VOCAB)
    assert ids(plain) == ids([cell for cell in made if cell.spec.optim.batch_size == 4])
    # The rates are swept around those of the rule at each batch.
    rates = [sorted(c.spec.optim.lr.hidden for c in made if c.spec.optim.batch_size == n) for n in (4, 8)]
    assert rates[1] == pytest.approx([rate * 2**0.5 for rate in rates[0]])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["grid.batch_sizes=[2,4]"], r"sweeps none; use \+grid=lr, or optim\.batch_size=4 for one batch"),
        (["grid.lr_scale={hidden: [1.0]}", "grid.batch_sizes=[4,2,4]"], r"type grid\.batch_sizes=\[2,4\]$"),
        (
            ["grid.lr_scale={hidden: [1.0]}", "grid.batch_sizes=[2]", "optim.batch_size_tokens_exponent=0.5"],
            r"lets D choose them; use optim\.batch_size_tokens_exponent=0$",
        ),
        (["grid.lr_scale={hidden: [1.0]}", "grid.batch_sizes=[]"], r"type grid\.batch_sizes=\[2,4,8\]$"),
    ],
)
def test_batches_that_cannot_be_swept_are_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        small_cells(*overrides)


def test_an_unknown_parameter_group() -> None:
    with pytest.raises(InputError, match=r"no parameter group hiden; groups are hidden, embed, head, gain"):
        expand(settings("+grid.lr_scale.hiden=[1.0]", grid="lr"), DATA, VOCAB)


def test_a_learning_rate_grid_has_no_hold_out() -> None:
    with pytest.raises(InputError, match="holdout_factor"):
        expand(settings("grid.holdout_factor=4", grid="lr"), DATA, VOCAB)


@pytest.mark.parametrize(("asked", "nearest"), [(5000, 5120), (1024, 4096), (8191, 8192), (9700, 9216)])
def test_token_counts_that_are_not_reachable_name_the_nearest(asked: int, nearest: int) -> None:
    with pytest.raises(InputError, match=f"n_tokens={asked} .*not reachable.*use {nearest}$"):
        small_cells(f"grid.n_tokens=[{asked}]")
    assert small_cells(f"grid.n_tokens=[{nearest}]")


def test_an_empty_grid() -> None:
    with pytest.raises(InputError, match=r"no cells: give grid\.rungs"):
        small_cells("grid.rungs=[]")


@pytest.mark.parametrize("grid", [name for name in options("grid") if name not in FILE_GRIDS])
def test_every_grid_expands_at_every_budget(grid: str) -> None:
    offered = load([f"+grid={grid}"]).grid.budgets
    sizes = []
    for budget in [name for name in ("quick", "standard", "full") if name in offered] or ["quick"]:
        made = grid_cells(grid, f"budget={budget}")
        assert {cell.role for cell in made} <= set(ROLES)
        assert len(made) == len(ids(made))
        sizes.append(sum(job_flops(job) for job in jobs(made)))
    assert sizes == sorted(sizes)


def test_the_default_grid_is_what_it_promises() -> None:
    """Sizes over 30×, tokens doubling over 8×, five seeds of what is fitted, three cosine comparisons."""
    made = grid_cells("chinchilla")
    body = {counting.n_params_body(cell.spec.model) for cell in made}
    assert max(body) / min(body) >= 30
    tokens = load(["+grid=chinchilla"]).grid.budgets["quick"].n_tokens
    assert tokens
    assert max(tokens) / min(tokens) >= 8
    assert all(b == 2 * a for a, b in pairwise(tokens))
    seeds: dict[tuple[int, int], set[int]] = {}
    for cell in made:
        if cell.role == "fit":
            seeds.setdefault((cell.spec.model.d_model, cell.n_tokens), set()).add(cell.spec.seed)
    assert {frozenset(found) for found in seeds.values()} == {frozenset(range(50, 55))}
    assert sorted(seeds) == [
        (16, 458752), (16, 917504), (16, 1835008), (16, 3670016), (32, 458752), (32, 917504), (32, 1376256),
        (48, 458752), (48, 688128), (64, 458752),
    ]  # fmt: skip
    assert min(cell.n_tokens / cell.spec.batch_tokens for cell in made) >= 800
    assert len({(c.spec.rung, c.n_tokens) for c in made if c.role == "reference"}) >= 3


def test_the_default_hold_out_extrapolates_in_size_and_in_tokens() -> None:
    """By hand from the cells: beyond the fitted N and D, to 30 times the compute, far in four cells."""
    made = grid_cells("chinchilla")
    fitted = [cell for cell in made if cell.role == "fit"]
    holdout = [cell for cell in made if cell.role == "holdout"]
    assert {cell.spec.seed for cell in holdout} == {50}
    assert max(cell.spec.model.d_model for cell in fitted) == 64
    assert max(cell.n_tokens for cell in fitted) == 3670016
    largest = max(cell.flops for cell in fitted)
    factors = {(c.spec.model.d_model, c.n_tokens): c.flops / largest for c in holdout}
    assert max(factors.values()) == factors[96, 7340032] >= 30
    far = {place for place, factor in factors.items() if factor >= 10}
    assert far == {(96, 2752512), (96, 3670016), (96, 7340032), (64, 7340032)}
    beyond = [(d_model > 64, n_tokens > 3670016) for d_model, n_tokens in factors]
    found = reach(made)
    assert found is not None
    assert found == Reach(
        n_cells=len(holdout),
        beyond_n=sum(n for n, _ in beyond),
        beyond_d=sum(d for _, d in beyond),
        beyond_both=beyond.count((True, True)),
        factor=factors[96, 7340032],
        far=4,
    )
    assert (found.beyond_n, found.beyond_d, found.beyond_both) == (6, 2, 1)


def test_schedule_free_runs_have_no_cosine_references() -> None:
    references = "grid.references=[{d_model: 16, n_tokens: 8192, lr_scale: [1.0], seeds: [0]}]"
    with pytest.raises(InputError, match=r"add grid.references=\[\]"):
        small_cells("optim=schedule_free", references)


@pytest.mark.parametrize(("schedule", "n_jobs"), [("cosine", 2), ("linear", 2), ("wsd", 1)])
def test_schedules_that_fall_to_one_end_have_a_run_for_each(schedule: str, n_jobs: int) -> None:
    made = small_cells(f"optim.schedule={schedule}")
    assert len(jobs(made)) == n_jobs
    ends = [cell.spec.schedule.n_steps for cell in made]
    assert ends == ([None, None] if n_jobs == 1 else [32, 64])
