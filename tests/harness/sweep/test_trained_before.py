"""A plan says which trained cells it drops or trains again, why, and what keeps them."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from harness.config.settings import load, plain
from harness.data.build import DataConfig
from harness.plan.plan import Plan
from harness.records.errors import Damaged, InputError
from harness.records.files import write_json, write_table
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from harness.records.sweep_file import read_sweep
from harness.sweep import folder_recipe
from harness.sweep.sweep import Sweep
from harness.track.console import plain_console
from tests.fakes.points import write_point
from tests.small_sweeps import SMALL


class Finished(Sweep):
    """A sweep whose runs are finished at once; it fits nothing."""

    def _train(self, plan: Plan, config: DataConfig) -> list[Damaged]:  # noqa: ARG002
        for cell in plan.open_cells:
            write_json(self.folder.run(cell.spec.run_id).spec, cell.spec.to_dict())
            write_point(self.folder, cell.spec, cell.n_tokens)
        return []

    def _conclude(self, plan: Plan, points: pd.DataFrame) -> None:
        """Do nothing: there is nothing to fit."""


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.sweep.sweep.matmul_rate", lambda: 1e10)


def run(folder: Path, cache: Path, *overrides: str) -> str:
    """Plan and finish a sweep; return what it printed as one line."""
    arguments = [*SMALL, f"results_dir={folder}", f"cache_dir={cache}", *overrides]
    stream = io.StringIO()
    made = Finished(load(arguments), arguments, plain_console(file=stream))
    assert made.run() == 0
    return " ".join(stream.getvalue().split())


def test_seeds_that_replace_others(tmp_path: Path, data_cache: Path) -> None:
    assert "leave its tables" not in run(tmp_path, data_cache, "grid.seeds=[25]")
    text = run(tmp_path, data_cache, "grid.seeds=[0,1]", "dry_run=true")
    assert "2 trained cells" in text
    assert "(d16; seed 25)" in text
    assert "to keep them type grid.seeds=[0,1,25]" in text
    kept = run(tmp_path, data_cache, "grid.seeds=[0,1,25]", "dry_run=true")
    assert "6 cells, 4 to train" in kept
    assert "leave its tables" not in kept


def test_tables_without_their_runs(tmp_path: Path, data_cache: Path) -> None:
    """As in a clone of the repository, whose committed tables a sweep of that name replaces."""
    run(tmp_path, data_cache)
    write_table(SweepFolder(tmp_path).points, pd.DataFrame({"loss": [1.0]}))
    warned = "holds tables without their runs, and this sweep writes over them"
    assert warned not in run(tmp_path, data_cache, "dry_run=true")
    shutil.rmtree(tmp_path / "runs")
    assert warned in run(tmp_path, data_cache, "dry_run=true")
    (tmp_path / "points.parquet").unlink()
    assert warned not in run(tmp_path, data_cache, "dry_run=true")


def test_seeds_of_fitted_cells_that_become_seeds_of_all(tmp_path: Path, data_cache: Path) -> None:
    """Seed 1 stays; the way to keep seed 2 does not name seed 1 twice, which would be refused."""
    run(tmp_path, data_cache, "grid.fit_seeds=[1,2]")
    text = run(tmp_path, data_cache, "grid.seeds=[0,1]", "grid.fit_seeds=[]", "dry_run=true")
    assert "2 trained cells" in text
    assert "(d16; seed 2); to keep them type grid.fit_seeds=[2]" in text
    kept = run(tmp_path, data_cache, "grid.seeds=[0,1]", "grid.fit_seeds=[2]", "dry_run=true")
    assert "6 cells, 0 to train" in kept
    assert "leave its tables" not in kept


def test_sizes_and_token_counts_that_are_left_out(tmp_path: Path, data_cache: Path) -> None:
    run(tmp_path, data_cache, "grid.rungs=[16,32]", "grid.n_tokens=[4096,8192,16384]")
    text = run(tmp_path, data_cache, "grid.rungs=[16,48]", "grid.n_tokens=[4096,8192]", "dry_run=true")
    assert "4 trained cells" in text
    assert "type grid.rungs=[16,32,48] grid.n_tokens=[4096,8192,16384]" in text


def test_cells_that_no_list_of_numbers_names(tmp_path: Path, data_cache: Path) -> None:
    run(tmp_path, data_cache, "grid.extra=[{d_model: 32, n_tokens: [4096], seeds: [3]}]")
    text = run(tmp_path, data_cache, "grid.extra=[]", "dry_run=true")
    assert "1 trained cells" in text
    assert "leave grid.extra as before, or give another results_dir" in text


def test_a_smaller_token_count_trains_again_and_says_why(tmp_path: Path, data_cache: Path) -> None:
    run(tmp_path, data_cache, "grid.n_tokens=[65536,131072]", "optim.warmup_frac=0.1")
    text = run(
        tmp_path, data_cache, "grid.n_tokens=[8192,65536,131072]", "optim.warmup_frac=0.1", "dry_run=true"
    )
    assert "3 cells, 3 to train" in text
    assert "2 trained cells are trained again: the warm-up" in text
    assert "is 6 steps and was 51; keep 65,536 the smallest" in text


def test_another_recipe_is_told_before_the_corpus_is_prepared(
    tmp_path: Path, data_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, data_cache)

    def prepare(*_: object) -> None:
        raise AssertionError("the corpus was prepared")

    monkeypatch.setattr("harness.sweep.preparation.prepare_corpus", prepare)
    for override, key in (
        ("data.source_seed=7", "data.source_seed=0 and this sweep has data.source_seed=7"),
        ("model.n_layers=2", "model.n_layers=1"),
        ("optim.hidden_lr=0.5", "optim.hidden_lr"),
        ("data.eval_tokens=4096", "eval_tokens"),
        ("data.vocab_size=16", "data.vocab_size=32"),
        ("data=python", "data.name=synthetic and this sweep has data.name=python"),
    ):
        with pytest.raises(InputError) as caught:
            run(tmp_path, data_cache, override)
        assert key in str(caught.value)


def test_another_path_may_hold_the_same_text(tmp_path: Path, data_cache: Path) -> None:
    run(tmp_path, data_cache)
    folder = SweepFolder(tmp_path)
    record = read_sweep(folder.sweep)
    config = record.config | {"data": record.config["data"] | {"name": "text", "path": "old"}}
    write_record(folder.sweep, replace(record, config=config))
    given = load([*SMALL, "data=text", "data.path=new", "data.tokenizer=bytes"])
    said = folder_recipe.check_before_corpus(folder, given, 0)
    assert said is not None
    assert "data.path=old and data.path=new is given" in said
    same = load([*SMALL, "data=text", "data.path=./old", "data.tokenizer=bytes"])
    assert folder_recipe.check_before_corpus(folder, same, 0) is None
    typed = ["data=mixture", "data.tokenizer=own.json", "data.sources={web: {path: web, weight: 1}}"]
    mixture = plain(load([*SMALL, *typed]))["data"]
    write_record(folder.sweep, replace(record, config=record.config | {"data": mixture}))
    typed = ["data=mixture", f"data.tokenizer={Path.cwd() / 'own.json'}"]
    same = load([*SMALL, *typed, "data.sources={web: {path: ./web, weight: 1}}"])
    assert folder_recipe.check_before_corpus(folder, same, 0) is None
    other = load([*SMALL, *typed, "data.sources={web: {path: ../web, weight: 1}}"])
    with pytest.raises(InputError, match=r"data\.sources"):
        folder_recipe.check_before_corpus(folder, other, 0)


def test_of_two_recipes_on_an_empty_folder_one_is_refused(
    tmp_path: Path, data_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both plan before either writes; the second to write finds the claim of the first."""
    arguments = [*SMALL, f"results_dir={tmp_path / 'results'}", f"cache_dir={data_cache}"]
    first, second = (
        Finished(load(given), given, plain_console(file=io.StringIO()))
        for given in (arguments, [*arguments, "optim.hidden_lr=0.5"])
    )
    claimed, target = folder_recipe.claim_recipe, "harness.sweep.sweep.claim_recipe"

    def claim_late(folder: SweepFolder, recipe: dict[str, object]) -> None:
        monkeypatch.setattr(target, claimed)
        assert second.run() == 0
        claimed(folder, recipe)

    monkeypatch.setattr(target, claim_late)
    with pytest.raises(InputError, match=r"optim\.hidden_lr=0\.5 and this sweep has"):
        first.run()
    record = read_sweep(SweepFolder(tmp_path / "results").sweep)
    assert record.recipe["optim.hidden_lr"] == 0.5


@pytest.mark.parametrize("damage", ["", "{", "[]", "null"])
def test_a_claim_that_cannot_be_read_is_made_anew(damage: str, tmp_path: Path, data_cache: Path) -> None:
    run(tmp_path, data_cache)
    claim = tmp_path / "runs" / "recipe.json"
    whole = claim.read_text()
    claim.write_text(damage)
    run(tmp_path, data_cache, "grid.seeds=[0,1]")
    assert claim.read_text() == whole


def test_a_secret_on_the_command_line_is_not_recorded(tmp_path: Path, data_cache: Path) -> None:
    text = run(tmp_path, data_cache, "+launcher.sbatch.export=WANDB_API_KEY=hunter2")
    assert "what looks like a secret on the command line is recorded as ***" in text
    assert "hunter2" not in text
    for path in tmp_path.rglob("*.json"):
        assert "hunter2" not in path.read_text()
    record = read_sweep(SweepFolder(tmp_path).sweep)
    assert "'grid.rungs=[16]'" in record.command
    assert "looks like a secret" not in run(tmp_path / "other", data_cache)


def test_foreign_settings_of_jax_are_said(
    tmp_path: Path, data_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    text = run(tmp_path, data_cache, "dry_run=true")
    assert "JAX_ENABLE_X64=1 is set here and would change losses; runs are trained without it" in text
