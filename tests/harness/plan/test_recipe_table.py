"""The recipes in the printed plan."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from harness.plan import plan
from harness.plan import table as plan_table
from harness.plan.recipe_table import COLUMNS, recipe_rows
from harness.records.paths import SweepFolder
from harness.sweep import __main__ as sweep
from tests.small_sweeps import SMALL, grid_cells, settings, small_cells

RULES = [
    "grid.rungs=[16,32]",
    "grid.n_tokens=[4096,65536]",
    "grid.seeds=[0,1]",
    "optim.schedule=cosine",
    "optim.reference_batch_tokens=128",
    "optim.reference_tokens=4096",
    "optim.batch_size_tokens_exponent=0.5",
    "optim.hidden_lr_tokens_exponent=-0.5",
    "optim.decay_timescale=0.5",
]


def test_runs_of_one_token_count_have_a_row_each_and_seeds_share_it() -> None:
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in recipe_rows(small_cells(*RULES))]
    assert [(row["rung"], row["D"], row["batch"], row["tokens"]) for row in rows] == [
        ("d16", "4.1k", "4", "128"), ("d16", "65.5k", "16", "512"),
        ("d32", "4.1k", "4", "128"), ("d32", "65.5k", "16", "512"),
    ]  # fmt: skip
    first, second = (float(row["hidden lr"]) for row in rows[:2])
    assert second == pytest.approx(first / 4, rel=0.02)
    assert {row["beta2"] for row in rows} == {f"{settings().optim.beta2:g}"}
    assert all(float(row["decay"]) > 0 for row in rows)


def test_a_trunk_has_one_row_for_all_token_counts() -> None:
    rows = recipe_rows(grid_cells("ladder"))
    assert [row[0] for row in rows] == ["d16l2", "d32l2", "d48", "d64l4", "d80l5"]
    assert {row[1] for row in rows} == {"all"}
    assert {row[9] for row in rows} == {"–"}


@pytest.mark.parametrize("asked", [True, False])
def test_recipes_are_printed_if_they_follow_more_than_the_width(tmp_path: Path, asked: bool) -> None:
    stream = io.StringIO()
    made = plan.make_plan(SweepFolder(tmp_path), small_cells(), 8192)
    plan_table.print_plan(Console(file=stream, width=120), made, lambda: 1.0, 1, recipes=asked)
    assert ("recipes" in stream.getvalue()) == asked
    assert settings(*RULES).optim.has_rules
    assert not settings().optim.has_rules


def test_the_command_prints_them_for_this_machine_and_for_others(
    tmp_path: Path, data_cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.sweep.sweep.matmul_rate", lambda: 1e10)
    common = [*SMALL, *RULES, "dry_run=true", f"results_dir={tmp_path}", f"cache_dir={data_cache}"]
    for device in ([], ["plan.device=h100:8", "model.precision=bf16"]):
        assert sweep.main([*common, *device]) == 0
        said = capsys.readouterr().out
        assert "hidden lr  embed lr  head lr  gain lr  beta2" in said
    assert sweep.main([*SMALL, "dry_run=true", f"results_dir={tmp_path}", f"cache_dir={data_cache}"]) == 0
    assert "recipes" not in capsys.readouterr().out
