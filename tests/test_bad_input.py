"""Input that cannot be used: one sentence, exit code 2, nothing written."""

from __future__ import annotations

import errno
from pathlib import Path

import pandas as pd
import pytest

from analysis import fit
from harness.data.prepare import prepare_corpus
from harness.records.errors import InputError
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from harness.records.sweep_file import read_sweep
from harness.sweep import __main__ as sweep
from harness.sweep.finish import enough_to_fit
from harness.sweep.folder_recipe import recipe_of
from harness.sweep.preparation import data_config
from tests.fakes.record import sweep_record
from tests.small_sweeps import SMALL, settings


def refused(overrides: list[str], results: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that ends with 2 before anything is written."""
    before = sorted(results.rglob("*")) if results.exists() else None
    code = sweep.main([*SMALL, f"results_dir={results}", f"cache_dir={cache}", *overrides])
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert (sorted(results.rglob("*")) if results.exists() else None) == before
    return error


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.head_dim=12", "strict=true"], ["head_dim=12", "d_model=16"]),
        (["grid.n_tokens=[5000]", "strict=true"], ["n_tokens=5000", "not reachable", "use 5120"]),
        (
            ["data.vocab_size=65", "strict=true"],
            ["rung d16", "vocabulary of 65", "4·layers·d_model = 64", "d_model 32 or more", "strict=false"],
        ),
        (["grid.n_tokens=[1024000]"], ["10.2 times", "at most 4", "lower", "400,000"]),
        (["data=text", "data.vocab_size=4294967297", "data.path=."], ["4294967297", "32-bit", "512"]),
        (["data.vocab_size=4294967297"], ["4294967297", "lower vocab_size"]),
        (["data=text", "data.vocab_size=300"], ["data.path=FILE_OR_FOLDER"]),
        (["data=text", "data.path=/nowhere", "data.vocab_size=300"], ["/nowhere", "does not exist"]),
        (["data.contamination=bench.jsonl"], ["data.contamination=bench.jsonl", "symbols", "leave it out"]),
        (["grid.rungs=[]"], ["no cells", "grid.rungs"]),
        (["model.mlp=???"], ["model.mlp=??? does not fit", "??? stands for none"]),
        (["grid.arms={a: {}, b: {model.mlp: '???'}}"], ["??? stands for none"]),
        (["data.synthetic_tokens=0"], ["data.synthetic_tokens=0 leaves data=synthetic nothing to train on"]),
        (["grid.holdout_factor=1e9"], ["no cell to fit"]),
        (["grid.rungs=[16,32]", "grid.holdout_factor=2"], ["to fit", "needs 6", "lower it"]),
        (["data.curve_eval_tokens=16384"], ["data.curve_eval_tokens=16384", "data.eval_tokens=8192"]),
    ],
)
def test_bad_input_is_one_sentence(
    overrides: list[str],
    words: list[str],
    tmp_path: Path,
    data_cache: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    message = refused(overrides, tmp_path / "results", data_cache, capsys)
    assert [word for word in words if word not in message] == []


def test_an_empty_folder_of_texts(
    tmp_path: Path, data_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "texts").mkdir()
    overrides = ["data=text", f"data.path={tmp_path / 'texts'}", "data.vocab_size=300"]
    assert "no file of a known kind" in refused(overrides, tmp_path / "results", data_cache, capsys)


def test_no_free_memory(
    tmp_path: Path, data_cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.plan.plan.available_bytes", lambda: 1e9)
    message = refused(["launcher.n_workers=2"], tmp_path / "results", data_cache, capsys)
    assert "1.0 GB are free" in message


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, data_cache: Path) -> Path:
    """A results folder as the small sweep leaves it, but for its runs."""
    folder, values = SweepFolder(tmp_path_factory.mktemp("small")), settings()
    corpus = prepare_corpus(data_config(values), data_cache)
    data = corpus.spec(8192, 2048)
    write_record(folder.sweep, sweep_record(recipe=recipe_of(values, data)))
    folder.runs.mkdir()
    return folder.root


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("optim.hidden_lr=0.5", "optim.hidden_lr=0.006 and this sweep has optim.hidden_lr=0.5"),
        ("model.n_layers=2", "model.n_layers=1 and this sweep has model.n_layers=2"),
        ("data.source_seed=5", "data.corpus_id="),
        ("grid.log_interval=4", "grid.log_interval=8 and this sweep has grid.log_interval=4"),
    ],
)
def test_a_folder_of_another_recipe_names_what_differs(
    override: str,
    named: str,
    small: Path,
    data_cache: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = read_sweep(SweepFolder(small).sweep).recipe
    rate = recipe["optim.hidden_lr"]
    message = refused([override], small, data_cache, capsys)
    assert named.replace("0.006", str(rate)) in message
    assert "results_dir=DIR" in message


def test_a_full_disk_of_the_driver_is_one_sentence(
    tmp_path: Path, data_cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("harness.sweep.sweep.write_record", full)
    monkeypatch.setattr("harness.sweep.sweep.matmul_rate", lambda: 1e10)
    assert sweep.main([*SMALL, f"results_dir={tmp_path}", f"cache_dir={data_cache}"]) == 2
    assert "the disk is full" in capsys.readouterr().err
    monkeypatch.setattr(
        "harness.sweep.sweep.write_record", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "no"))
    )
    with pytest.raises(OSError, match="no"):
        sweep.main([*SMALL, f"results_dir={tmp_path}", f"cache_dir={data_cache}"])


def test_nothing_finished_is_one_sentence() -> None:
    with pytest.raises(InputError, match="no run finished"):
        enough_to_fit(pd.DataFrame({"status": ["diverged"]}))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.parquet", b"junk", "cannot read"),
        ("x.parquet", b"", "cannot read"),
        ("x.csv", b"", "cannot read"),
        ("x.csv", b"\xff\xfe\x00", "cannot read"),
        ("x.csv", b"N,D,loss\n", "the table has no rows"),
        ("none.csv", None, "there is no file"),
    ],
)
@pytest.mark.parametrize("approach", ["parametric", "all"])
def test_a_table_that_cannot_be_read_is_one_sentence(
    name: str,
    content: bytes | None,
    words: str,
    approach: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert fit.main([str(tmp_path / name), "--approach", approach]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert words in error


def test_a_parquet_without_rows_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pd.DataFrame({"N": [1.0], "D": [1.0], "loss": [1.0]}).iloc[:0].to_parquet(tmp_path / "x.parquet")
    assert fit.main([str(tmp_path / "x.parquet")]) == 2
    assert "the table has no rows" in capsys.readouterr().err
