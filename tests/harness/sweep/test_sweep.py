"""The command from plan to report, in processes of its own."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.summary import key_numbers
from analysis.tables.table import load_table
from harness.config.folders import sweep_folder
from harness.config.settings import load
from harness.data.prepare import prepare_corpus
from harness.grid.cells import Cell
from harness.grid.expansion import expand
from harness.recipe.spec import RECIPE_VERSION
from harness.records.paths import SweepFolder
from harness.records.provenance import usable_cores
from harness.records.status.rows import run_rows
from harness.sweep import __main__ as sweep
from harness.sweep.preparation import data_config
from harness.weights.kept import read_card
from tests import small_sweeps
from tests.quick_compilation import FLAGS
from tests.small_sweeps import SMALL, point_times


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 300 kB."""
    folder, rng = tmp_path_factory.mktemp("texts"), np.random.default_rng(0)
    rows = [" ".join(f"w{word}" for word in rng.zipf(1.3, 400) % 5000) for _ in range(200)]
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    return folder


def full_command(results: Path, texts: Path) -> list[str]:
    """Two sizes on the user's own text, a hold-out, and a reference run that cannot but diverge."""
    return small_sweeps.sweep_command(
        results, "data=text", f"data.path={texts}", "data.tokenizer=bytes", "data.vocab_size=257",
        "data.eval_fraction=0.1", "grid.rungs=[16,32]", "grid.n_tokens=[4096,8192,16384,32768]",
        "grid.holdout_factor=2.5",
        "grid.references=[{d_model: 16, n_tokens: 4096, lr_scale: [1.0, 1e20], seeds: [0]}]",
    )  # fmt: skip


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, texts: Path, data_cache: Path) -> tuple[SweepFolder, str]:
    """A whole sweep, and what it printed."""
    results = tmp_path_factory.mktemp("full") / "results"
    done = small_sweeps.finish(full_command(results, texts), data_cache, fresh=True, XLA_FLAGS=FLAGS)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return SweepFolder(results), done.stdout


def test_the_whole_way_leaves_tables_fits_forecast_and_report(first: tuple[SweepFolder, str]) -> None:
    folder, printed = first
    points = pd.read_parquet(folder.points)
    assert sorted(points.role) == ["fit"] * 6 + ["holdout"] * 2 + ["reference"] * 2
    trained = points[points.role != "reference"]
    assert (trained.status == "done").all()
    assert trained.loss.between(1.0, np.log(257) + 1).all()
    assert len(pd.read_parquet(folder.curves)) > len(points)
    corpus = json.loads(folder.sweep.read_text())["corpus"]
    for column in ("vocab_size", "unigram_nats"):
        assert (points[column] == corpus[column]).all()
    assert 1.0 < corpus["unigram_nats"] < np.log(corpus["vocab_size"])
    fits = json.loads(folder.fits.read_text())
    assert fits["fits"][fits["recommended"]]["params"]
    assert any(row["law"].startswith("saturating(") for row in fits["contest"])
    contest = folder.report.read_text().split("Contest of laws")[1].split("</table>")[0]
    assert "<td>saturating</td>" in contest
    legend = (folder.figures / "rollout.svg").read_text()
    assert "saturating" in legend
    assert "saturating(" not in legend + printed + " ".join(key_numbers(folder))
    assert len(fits["forecast"]["cells"]) == 2
    assert "<svg" in folder.report.read_text()
    assert list(folder.figures.glob("*.png"))
    for words in (
        "10 cells, 10 to train",
        f"sealed in {folder.forecast}",
        "FLOPs",
        f"report: {folder.report}",
    ):
        assert words.replace("\n", "") in printed.replace("\n", "")


def test_the_plan_says_what_is_kept_and_it_is(first: tuple[SweepFolder, str]) -> None:
    folder, printed = first
    points = pd.read_parquet(folder.points)
    trained = points[points.role != "reference"]
    wanted = trained[(trained.rung == "d32") | (trained.n_tokens == trained.n_tokens.max())]
    found = [read_card(path) for path in folder.runs.glob("*/weights/*.safetensors")]
    assert {card.point_id: card.loss for card in found} == dict(
        zip(wanted.point_id, wanted.loss, strict=True)
    )
    said = " ".join(printed.split())
    told = re.search(r"of 5 end points are kept, (\S+) MB of keep_gb=10 \(keep=auto: 4 of d32, 1 of", said)
    assert told
    written = sum(path.stat().st_size for path in folder.runs.glob("*/weights/*.safetensors"))
    assert float(told[1]) * 1e6 == pytest.approx(written, rel=0.05)


def test_the_workers_time_is_told_whole(first: tuple[SweepFolder, str]) -> None:
    folder, printed = first
    record = json.loads(folder.sweep.read_text())
    spent = record["worker_seconds"]
    assert {"training steps", "evaluation", "compilation", "checkpoints", "start", "idle", "other"} <= set(
        spent
    )
    assert all(seconds >= 0 for seconds in spent.values())
    told = " ".join(printed.split("workers' time: ")[1].split())
    shares = re.match(r"([0-9.]+% [a-z ]+(, |))+", told)
    assert shares
    assert sum(float(share) for share in re.findall(r"([0-9.]+)%", shares[0])) == pytest.approx(100, abs=0.5)
    n_workers = record["config"]["launcher"]["n_workers"] or len(usable_cores())
    assert 0.5 * record["seconds"] < sum(spent.values()) / n_workers < record["seconds"]


def test_the_forecast_is_sealed_before_the_hold_out_is_trained(first: tuple[SweepFolder, str]) -> None:
    folder, _ = first
    sealed_at = folder.forecast.stat().st_mtime_ns
    points, times = pd.read_parquet(folder.points), point_times(folder.root)
    written = np.array([times[f"{point}.json"] for point in points.point_id])
    assert (written[points.role == "fit"] < sealed_at).all()
    assert (written[points.role == "holdout"] > sealed_at).all()
    fits = json.loads(folder.fits.read_text())
    assert fits["forecast"]["seal_intact"] is True


def test_a_diverged_run_is_recorded_and_left_out(first: tuple[SweepFolder, str]) -> None:
    folder, printed = first
    points = pd.read_parquet(folder.points)
    (row,) = points[points.status == "diverged"].to_dict("records")
    assert row["role"] == "reference"
    assert row["excluded_reason"].startswith("diverged: loss")
    assert np.isnan(row["loss"])
    assert f"diverged: d16 seed 0 ({row['run_id']})" in printed
    assert "diverged" in [run.status for run in run_rows(folder)]


def test_sweep_json_holds_configuration_plan_and_provenance(first: tuple[SweepFolder, str]) -> None:
    folder, _ = first
    record = json.loads(folder.sweep.read_text())
    assert record["config"]["grid"]["n_tokens"] == [4096, 8192, 16384, 32768]
    points = pd.read_parquet(folder.points)
    assert [cell["point_id"] for cell in record["cells"]] == list(points.point_id)
    assert record["corpus"]["corpus_id"] == points.corpus_id[0]
    assert record["corpus"]["n_train_tokens"] > 100_000
    assert record["provenance"]["code_revision"] == points.code_revision[0]
    assert record["recipe"]["recipe_version"] == RECIPE_VERSION
    assert record["seconds_total"] > record["seconds"] > 1
    assert record["command"].startswith("python -m harness.sweep +grid=smoke ")


def test_a_second_start_trains_nothing_and_ends_at_once(
    first: tuple[SweepFolder, str],
    texts: Path,
    data_cache: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Processor time, because other load on the machine does not stretch it."""
    monkeypatch.setenv("SCALING_CACHE", str(data_cache))
    folder, _ = first
    files = [p for p in folder.root.rglob("*") if p.is_file() and p.suffix != ".parquet"]
    tables = folder.points.read_bytes(), folder.curves.read_bytes()
    before = {path: path.stat().st_mtime_ns for path in files}
    began = time.process_time()
    assert sweep.main(full_command(folder.root, texts)[3:]) == 0
    assert time.process_time() - began < 5
    printed = capsys.readouterr().out
    assert "10 cells, 0 to train" in printed
    assert "report:" in printed
    assert {path: path.stat().st_mtime_ns for path in files} == before
    assert (folder.points.read_bytes(), folder.curves.read_bytes()) == tables


def test_a_sweep_over_two_devices_finds_the_same_losses(
    long_sweep: Path, tmp_path: Path, data_cache: Path
) -> None:
    """The mesh is no part of a recipe: the same run_ids, and losses that differ by rounding alone.

    tests/harness/engine/test_step.py has the other meshes.
    """
    two_devices = ["grid.n_tokens=[16384]", "mesh.fsdp=2"]
    done = small_sweeps.train(tmp_path, data_cache, *two_devices, XLA_FLAGS=FLAGS)
    assert done.returncode == 0, done.stderr
    two, three = (small_sweeps.tables(results)[0] for results in (tmp_path, long_sweep))
    one = three[(three.seed == 0) & (three.n_tokens == 16384)]
    assert len(two) == 1
    assert one.point_id.tolist() == two.point_id.tolist()
    np.testing.assert_allclose(one.loss, two.loss, rtol=1e-3)


# Loaded by every Python of the sweep: one run's folder takes no more end points.
FULL_DISK = """
import builtins, errno, os
opened = builtins.open
def fails(path, mode="r", *rest, **named):
    if "w" in mode and os.environ["FULL"] in str(path) and "/points/" in str(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    return opened(path, mode, *rest, **named)
builtins.open = fails
"""
# The head's rate at d16 is ordinary, that at d32 is 2^20 times as high.
STEEP = ["grid.rungs=[16,32]", "optim.head_lr=3e10", "optim.head_lr_exponent=20"]


def test_failed_and_diverged_runs_do_not_stop_the_others(tmp_path: Path, data_cache: Path) -> None:
    wide = [*STEEP, "grid.seeds=[0,1]", "launcher.n_workers=1"]
    unlucky = next(cell.spec for cell in trained_cells(wide, data_cache) if cell.spec.seed == 1)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(FULL_DISK)
    results = tmp_path / "results"
    extra = {"PYTHONPATH": str(tmp_path / "site"), "FULL": unlucky.run_id, "XLA_FLAGS": FLAGS}
    done = small_sweeps.train(results, data_cache, *wide, **extra)
    assert done.returncode == 1, done.stderr
    assert (
        f"failed: d16 seed 1 ({unlucky.run_id}): OSError: [Errno 28] No space left on device" in done.stdout
    )
    assert done.stdout.count("diverged: d32 seed") == 2
    folder = SweepFolder(results)
    states = {(run.cells[0].rung, run.cells[0].seed): run.status for run in run_rows(folder)}
    assert states == {
        ("d16", 0): "finished",
        ("d16", 1): "failed",
        ("d32", 0): "diverged",
        ("d32", 1): "diverged",
    }
    kept = point_times(results)

    again = small_sweeps.train(results, data_cache, *wide, XLA_FLAGS=FLAGS)
    assert again.returncode == 0
    assert "8 cells, 2 to train" in again.stdout
    assert kept.items() <= point_times(results).items()
    table = load_table(folder.points)
    assert len(table) == 4
    assert len(table.excluded) == 4
    assert all("diverged" in row.reason for row in table.excluded)


def trained_cells(overrides: list[str], cache: Path) -> list[Cell]:
    """The cells with the identity of the corpus that the command prepares."""
    settings = small_sweeps.settings(*overrides)
    corpus = prepare_corpus(data_config(settings), cache)
    data = corpus.spec(8192, 2048)
    return [cell for cell in expand(settings, data, corpus.vocab_size) if cell.spec.rung == "d16"]


def test_a_dry_run_writes_nothing(
    tmp_path: Path, data_cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.sweep.sweep.matmul_rate", lambda: 1e10)
    results = tmp_path / "results"
    assert sweep.main([*SMALL, "dry_run=true", f"results_dir={results}", f"cache_dir={data_cache}"]) == 0
    assert "2 cells, 2 to train" in capsys.readouterr().out
    assert not results.exists()


def test_the_folder_is_named_by_grid_and_budget() -> None:
    assert sweep_folder(load(["+grid=smoke"])).root == Path("results/smoke")
    assert sweep_folder(load(["+grid=lr", "budget=full"])).root == Path("results/lr-full")
    assert sweep_folder(load(["+grid=lr", "results_dir=x"])).root == Path("x")
