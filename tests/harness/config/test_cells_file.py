"""Files of cells: a grid of their own, or the extension of a sweep that keeps every run of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config.settings import load, plain
from harness.grid.expansion import expand
from harness.grid.rounding import rounded
from harness.recipe.spec import RECIPE_VERSION
from harness.records.errors import InputError
from harness.records.json_files import write_record
from harness.sweep.__main__ import load_settings, main
from tests.fakes.record import sweep_record
from tests.small_sweeps import DATA, SMALL, VOCAB, small_cells

TOKENS = "grid.n_tokens=[8192,16384]"
HELD = ("grid.rungs=[16,32]", TOKENS, "grid.holdout_factor=2", "grid.seeds=[5]", "grid.fit_seeds=[6,7]")
RECIPE = {"recipe_version": RECIPE_VERSION}
MORE = "{d_model: 16, n_tokens: 8192, seeds: 8}"
BEYOND = "{d_model: 48, n_tokens: [4096, 65536], seeds: [9]}"


def listed(path: Path, text: str) -> str:
    path.write_text(text)
    return f"cells={path}"


def test_listed_cells_change_no_run_and_no_role_of_a_grid() -> None:
    """They are neither repeated nor held out, and the smallest of them does not set the warm-up."""
    before = {cell.key: cell.role for cell in small_cells(*HELD)}
    after = {cell.key: cell.role for cell in small_cells(*HELD, f"grid.cells=[{BEYOND}]")}
    assert before.items() <= after.items()
    added = [c for c in small_cells(*HELD, f"grid.cells=[{BEYOND}]") if c.key not in before]
    assert sorted((c.spec.rung, c.n_tokens, c.spec.seed, c.role) for c in added) == [
        ("d48", 4096, 9, "fit"),
        ("d48", 65536, 9, "fit"),
    ]
    assert {c.spec.schedule.warmup_steps for c in added} == {
        c.spec.schedule.warmup_steps for c in small_cells(*HELD)
    }


def test_a_listed_cell_of_a_trunk_that_is_there_is_a_branch_of_it() -> None:
    cell = "grid.cells=[{d_model: 16, n_tokens: [32768], seeds: [6], role: holdout}]"
    before = small_cells(*HELD)
    added = [c for c in small_cells(*HELD, cell) if c.n_tokens == 32768]
    assert [c.role for c in added] == ["holdout"]
    assert added[0].spec.run_id in {c.spec.run_id for c in before if c.spec.seed == 6}


def test_a_file_is_a_grid_of_its_own(tmp_path: Path) -> None:
    file = listed(
        tmp_path / "mine.yaml",
        "settings: {grid.log_interval: 8, data.eval_tokens: 8192, results_dir: results/mine}\n"
        "cells:\n- {d_model: 16, n_tokens: 8e3, seeds: 3}\n"
        "- {d_model: 32, n_tokens: [4096], seeds: [3, 4]}\n",
    )
    small = [each for each in SMALL[1:] if not each.startswith(("grid.rungs", "grid.n_tokens", "grid.log"))]
    made = load(["+grid=cells", file, *small])
    assert (made.grid.name, made.grid.log_interval, made.results_dir) == ("cells", 8, "results/mine")
    assert [c.n_tokens for c in made.grid.cells or []] == [[8000], [4096]]
    assert load(["+grid=cells", file, *small, "grid.log_interval=4"]).grid.log_interval == 4
    found = expand(rounded(made)[0], DATA, VOCAB)
    assert [(c.spec.rung, c.n_tokens, c.spec.seed) for c in found] == [
        ("d16", 8192, 3),
        ("d32", 4096, 3),
        ("d32", 4096, 4),
    ]


def test_a_file_extends_the_sweep_of_a_folder(tmp_path: Path) -> None:
    stored = load([*SMALL, *HELD, "optim.hidden_lr=0.5", "launcher=slurm"])
    root = tmp_path / "small"
    root.mkdir()
    record = sweep_record(grid="smoke", recipe=RECIPE, config=plain(stored))
    write_record(root / "sweep.json", record)
    file = listed(tmp_path / "more.yaml", f"extends: {root}\ncells: [{BEYOND}]\n")
    made = load_settings(["+grid=cells", file]).settings
    assert (made.grid.name, made.results_dir, made.optim.hidden_lr) == ("smoke", str(root), 0.5)
    assert made.launcher.name == "local"
    before = {cell.key: cell.role for cell in expand(stored, DATA, VOCAB)}
    after = {cell.key: cell.role for cell in expand(made, DATA, VOCAB)}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 2
    # A second file adds to the first, and the same file again changes nothing.
    write_record(root / "sweep.json", sweep_record(grid="smoke", recipe=RECIPE, config=plain(made)))
    other = listed(tmp_path / "again.yaml", f"extends: {root}\ncells: [{MORE}]\n")
    assert len(expand(load_settings([other]).settings, DATA, VOCAB)) == len(after) + 1
    assert load_settings(["+grid=cells", file]).settings.grid.cells == made.grid.cells


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a YAML file that lists cells"),
        ("cells: []", "expected a YAML file that lists cells"),
        ("a: &x [1]\ncells: *x", "without aliases"),
        ("cells: [{d_model: 16, seeds: [1]}]", "n_tokens must be given too"),
        ("cells: [{d_model: 16, n_tokens: [much], seeds: [1]}]", "much is none of them"),
        ("cells: [{d_model: 16, n_tokens: 8192, seeds: 1, role: fitted}]", "role=fitted"),
        ("cels: 3\ncells: [{d_model: 16, n_tokens: 8192, seeds: 1}]", "has the key cels"),
        ("extends: 3\ncells: [{d_model: 16, n_tokens: 8192, seeds: 1}]", "extends=3"),
        ("extends: nowhere\ncells: [{d_model: 16, n_tokens: 8192, seeds: 1}]", "no record of a sweep"),
        (
            "settings: {optim.lr: 3}\ncells: [{d_model: 16, n_tokens: 8192, seeds: 1}]",
            "optim.lr under settings",
        ),
        ("settings: 3\ncells: [{d_model: 16, n_tokens: 8192, seeds: 1}]", "settings=3"),
    ],
)
def test_a_file_that_does_not_fit(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_settings(["+grid=cells", listed(tmp_path / "bad.yaml", text)])


def test_a_grid_of_cells_without_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["+grid=cells", "dry_run=true"]) == 2
    assert "add cells=FILE.yaml" in capsys.readouterr().err
    assert main(["+grid=cells", f"cells={tmp_path}/none.yaml", "dry_run=true"]) == 2
    assert "there is no such file; give one that lists cells" in capsys.readouterr().err
    assert main(["+grid=plan", f"plan={tmp_path}/none.json", "dry_run=true"]) == 2
    assert "there is no such file; give one that lists cells" in capsys.readouterr().err
