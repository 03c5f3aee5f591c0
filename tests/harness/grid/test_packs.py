"""Which jobs are trained side by side, and the memory that this takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.grid.cells import Cell
from harness.grid.packs import lanes_of, open_packs, packs
from harness.plan.plan import PROCESS_BYTES, check_memory, workers_bytes
from harness.recipe import counting
from harness.recipe.spec import Job, ModelSpec
from harness.records.errors import InputError
from tests.recipes import RASTER, model, optim, run_spec

SMALL = model(n_layers=1)
FIRST = run_spec(model=SMALL)
SPECS = [FIRST, replace(FIRST, seed=1), replace(FIRST, optim=optim(hidden_lr=0.02, embed_lr=0.05))]
ENDS = (4 * RASTER, 8 * RASTER)


def two_at_most(_: ModelSpec) -> int:
    return 2


def test_packs_are_of_one_shape_and_keep_the_order() -> None:
    """Seeds and rates may differ, and nothing else."""
    wide = replace(FIRST, model=model(d_model=32))
    others = [
        replace(FIRST, optim=optim(batch_size=8)),
        replace(FIRST, optim=optim(weight_decay=0.1)),
        replace(FIRST, schedule=replace(FIRST.schedule, warmup_steps=8)),
        replace(FIRST, log_interval=8),
    ]
    runs = [Job(spec, ENDS) for spec in (wide, *SPECS, replace(wide, seed=1), *others)]
    shorter = Job(replace(FIRST, seed=9), ENDS[:1])
    a, b, c, d, e, *alone = [*runs, shorter]
    assert packs([*runs, shorter], lambda _: 8) == [(a, e), (b, d, c), *[(job,) for job in alone]]
    assert packs(runs, lambda _: 1) == [(a,), (e,), (b,), (d,), (c,), *[(job,) for job in alone[:-1]]]


def test_packs_are_of_equal_size() -> None:
    runs = [Job(replace(FIRST, seed=seed), ENDS) for seed in range(9)]
    assert [len(pack) for pack in packs(runs, lambda _: 8)] == [5, 4]
    assert packs(runs[:3], two_at_most) == [tuple(runs[:2]), (runs[2],)]


def test_a_sweep_that_was_cut_off_forms_the_packs_it_began_with() -> None:
    runs = [Job(replace(FIRST, seed=seed), ENDS) for seed in range(5)]
    halfway = Job(runs[1].spec, ENDS[1:])
    assert open_packs(runs, [halfway, runs[4]], two_at_most) == [(halfway,), (runs[4],)]
    assert open_packs(runs, [halfway, runs[2], runs[3]], two_at_most) == [(halfway,), (runs[2], runs[3])]


def test_small_models_share_an_accelerator_and_have_a_core_to_themselves() -> None:
    large = model(d_model=1024, n_layers=8, d_ff=4096)
    assert lanes_of(SMALL, None, accelerator=True) == 8
    assert lanes_of(large, None, accelerator=True) == 1
    assert lanes_of(SMALL, None, accelerator=False) == 1
    assert lanes_of(large, 3, accelerator=False) == 3


def test_memory_counts_every_run_of_a_pack() -> None:
    """A state each, its copy in the program and the trunk's; and gradients and activations."""
    wide = replace(FIRST, model=model(d_model=512, d_ff=2048, n_heads=8))
    cells = [Cell(replace(wide, seed=seed), ENDS[0], "fit") for seed in range(3)]
    alone = workers_bytes(cells, 1, 1) - PROCESS_BYTES
    together = workers_bytes(cells, 1, 1, lambda _: 8) - PROCESS_BYTES
    state = 12 * counting.n_params(wide.model)
    assert together == pytest.approx(3 * (alone + state))
    with pytest.raises(InputError, match=r"launcher\.pack"):
        check_memory(cells, 100_000, 1, lambda _: 8)
