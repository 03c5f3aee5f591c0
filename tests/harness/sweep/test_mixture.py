"""A sweep over a mixture of sources, trained in this process: tables, resume, plan, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.tables.sweep import by_source
from harness.config.settings import load
from harness.records.columns import CURVE_COLUMNS, OF_SOURCE
from harness.records.errors import InputError
from harness.records.files import read_table
from harness.records.paths import SweepFolder
from harness.records.sweep_file import read_sweep
from harness.sweep import __main__ as command
from harness.sweep.eval_tables import source_table
from harness.sweep.finish import has_tasks
from tests.fakes import sealing
from tests.small_sweeps import SMALL

GRID = (
    "grid.n_tokens=[4096,8192]",
    "grid.rungs=[16]",
    "data.eval_tokens=4096",
    "data.curve_eval_tokens=1024",
)
WEIGHTS = {"web": 0.75, "code": 0.25, "news": 0.0}


@pytest.fixture(scope="module")
def patched() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        sealing.without_fits(patch)
        yield


def given(root: Path, **weights: float) -> list[str]:
    """Arguments of a small sweep over sources below `root`."""
    named = {name: f"{{path: {root / name}, weight: {weight}}}" for name, weight in weights.items()}
    sources = ", ".join(f"{name}: {value}" for name, value in named.items())
    own = [each for each in SMALL if not each.startswith("data")]
    return [
        *own, *GRID, "data=mixture", f"data.sources={{{sources}}}", "data.vocab_size=300",
        "data.eval_fraction=0.2", f"cache_dir={root / 'cache'}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def trained(patched: None, tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:  # noqa: ARG001
    root = tmp_path_factory.mktemp("mixture")
    for seed, name in enumerate(WEIGHTS):
        rng = np.random.default_rng(seed)
        (root / name).mkdir()
        rows = [" ".join(f"{name[0]}{word}" for word in rng.integers(0, 900, 150)) for _ in range(90)]
        lines = "".join(json.dumps({"text": row}) + "\n" for row in rows)
        (root / name / "rows.jsonl").write_text(lines)
    folder = SweepFolder(root / "results")
    assert command.main([*given(root, **WEIGHTS), f"results_dir={folder.root}"]) == 0
    return folder


def of_sources(folder: SweepFolder, metric: str, ends: bool = True) -> pd.DataFrame:
    """Rows on the sources, at end points or on the way."""
    evals = read_table(folder.evals)
    return evals[(evals.split == OF_SOURCE) & (evals.metric == metric) & (evals.point_id.notna() == ends)]


def test_each_point_has_the_loss_of_each_source_and_their_mean_is_its_loss(trained: SweepFolder) -> None:
    points, losses = read_table(trained.points), of_sources(trained, "loss")
    assert len(points) == 2
    for point in points.itertuples():
        own = losses[losses.point_id == point.point_id].set_index("task").value
        assert own.index.tolist() == list(WEIGHTS)
        assert point.loss == pytest.approx(0.75 * own["web"] + 0.25 * own["code"], rel=1e-12)
        assert np.mean(point.loss_blocks) == pytest.approx(point.loss, rel=0.02)
    # Words of a source that was never trained on are harder.
    assert (losses[losses.task == "news"].value.to_numpy() > points.loss).all()
    assert not has_tasks(trained)
    assert not trained.emergence.exists()


def test_curves_have_the_loss_of_each_source_on_the_way(trained: SweepFolder) -> None:
    curves = read_table(trained.curves)
    scored = curves[curves.eval_loss.notna()].set_index("n_tokens").eval_loss
    assert len(scored) > 3
    losses = of_sources(trained, "loss", ends=False).pivot(index="n_tokens", columns="task", values="value")
    assert losses.index.tolist() == scored.index.tolist()
    mixed = 0.75 * losses["web"] + 0.25 * losses["code"]
    np.testing.assert_allclose(mixed.to_numpy(), scored.to_numpy(), rtol=1e-12)
    assert (losses["news"].iloc[-1] > losses[["web", "code"]].iloc[-1]).all()
    # What end points say is as before, and curves have no column more.
    assert set(by_source(read_table(trained.evals)).point_id) == set(read_table(trained.points).point_id)
    assert list(curves) == list(CURVE_COLUMNS)
    rows = source_table(read_table(trained.evals), read_table(trained.points)).row_count
    assert rows == len(WEIGHTS)


def test_what_was_read_of_each_source_is_recorded(trained: SweepFolder) -> None:
    read = of_sources(trained, "n_unique_tokens").set_index(["n_tokens", "task"]).value
    assert read[4096].to_dict() == {"web": 3072, "code": 1024, "news": 0}
    assert read[8192].to_dict() == {"web": 6144, "code": 2048, "news": 0}
    points = read_table(trained.points)
    assert points.n_unique_tokens.tolist() == [4096, 8192]
    corpus = read_sweep(trained.sweep).corpus
    assert corpus is not None
    assert {name: each["weight"] for name, each in corpus.report["sources"].items()} == WEIGHTS


def test_the_same_command_trains_nothing_again(
    trained: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = trained.evals.read_bytes()
    root = trained.root.parent
    assert command.main([*given(root, **WEIGHTS), f"results_dir={trained.root}"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "mixture: web 75.0%" in said
    assert "news is scored and never trained on" in said
    assert re.search(r"source d16 ─+ web [\d.]+ code [\d.]+ news [\d.]+", said) or "to train: 0" in said
    assert trained.evals.read_bytes() == before


def test_other_weights_are_another_corpus(trained: SweepFolder, capsys: pytest.CaptureFixture[str]) -> None:
    root = trained.root.parent
    assert command.main([*given(root, web=0.5, code=0.5, news=0.0), f"results_dir={trained.root}"]) == 2
    assert "data.sources" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sources", "told"),
    [
        ("{web: {path: nowhere, weight: 1}}", "data.sources.web.path=nowhere does not exist"),
        ("{web: {path: nowhere}}", "data.sources.web.weight is missing"),
        ("{web: {kind: python, packages: [stdlib]}}", "data.sources.web.weight is missing"),
        ("{web: {weight: 1}}", "data.sources.web.path is missing"),
        ("{web: {weight: 1, kind: html}}", "data.sources.web.kind=html is not known"),
        ("{web: {weight: much}}", "web: weight: a number was expected"),
        ("{web: {wieght: 1}}", "wieght"),
        ("[{path: a}]", "data.sources"),
        ("{}", "data.sources is empty"),
        (
            "{web: {path: README.md, weight: 1}}",
            ".zst, .parquet, .bin, .npy, .ds, .arrow",
        ),
    ],
)
def test_a_source_that_is_none_is_told_in_a_sentence(
    sources: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = command.main([
        "+grid=smoke", "data=mixture", f"data.sources={sources}", "dry_run=true",
        f"results_dir={tmp_path / 'r'}", f"cache_dir={tmp_path}",
    ])  # fmt: skip
    error = capsys.readouterr().err
    assert code == 2
    assert told in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ["data=text", "data.sources={web: {path: a, weight: 1}}"],
            "are read by data=mixture alone",
        ),
        (["data=mixture", "data.path=a"], "or name it as data.sources.NAME.path"),
        (["data=mixture", "data.tasks={copy: {share: 0.1, lengths: [4]}}"], "data.tasks was given"),
    ],
)
def test_nothing_that_is_given_goes_unread(overrides: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        load(["+grid=smoke", *overrides])
