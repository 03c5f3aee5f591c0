"""Fuzzed command lines: a plan or one sentence, never a traceback."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.config.settings import known_keys
from harness.data.build import DataConfig
from harness.data.corpus import Corpus
from harness.data.prepare import prepare_corpus
from harness.records.errors import InputError
from harness.sweep import __main__ as sweep
from tests.fuzzing import SLOW, fuzzed
from tests.small_sweeps import SMALL

# Other keys start clusters.
KEYS = [key for key in known_keys() if key not in ("launcher", "launcher.name")]
KEYS += ["grid.lr_scale.hidden", "grid.budgets.quick.seeds", "data.tasks.copy", "launcher.sbatch.mem"]
KEYS += ["full_key:", "optim.lr", "hydra.verbose", ""]
NUMBERS = ["nan", "-inf", "1e308", "-1e308", "1e-320", "9" * 400, "-1", "0", "1", "2", "1.5", "1e3", "[/b]"]
WORDS = [
    "true",
    "null",
    "quick",
    "text",
    "cosine",
    "cpu",
    "a,b",
    "0,1",
    "x(y)",
    "~/x",
    "[/b]",
    "é☃",
    "\udcff",
]
ODD = [
    "${oc.env:HOME}", "${", "[", "}", "'", "range(1,3)", "glob(*)", "int(3.2)", "\\", "a=b", "\x1b[0m",
    "{share: nan, lengths: [4]}", "[{d_model: 64, n_layers: 2}]", "{a: {b: [1]}}", "[" * 40 + "]" * 40,
    "[{d_model: 16, n_tokens: [4096], seeds: [1]}]", "x" * 300, "/dev/null/x", "16777215",
    "[{d_model: 16, n_tokens: 4096, lr_scale: [inf], seeds: [0]}]",
]  # fmt: skip
SCALARS = (
    st.sampled_from(NUMBERS + WORDS + ODD)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda each: f"[{','.join(each)}]")
        | st.dictionaries(st.sampled_from(["a", "hidden", "1", "quick"]), inner, max_size=2).map(
            lambda each: "{" + ",".join(f"{key}:{value}" for key, value in each.items()) + "}"
        )
    ),
    max_leaves=4,
)
SET = st.tuples(st.sampled_from(["", "", "", "+", "++", "~"]), st.sampled_from(KEYS), VALUES)
OVERRIDE = SET.map(lambda parts: f"{parts[0]}{parts[1]}={parts[2]}")
LOOSE = st.text(max_size=12).filter(lambda text: not text.startswith("-"))


@cache
def corpus(config: DataConfig, folder: Path) -> Corpus:
    if config.name != "synthetic" or config.synthetic_tokens > 200_000:
        raise InputError("no other corpus is prepared in this test")
    return prepare_corpus(config, folder)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data_cache: Path) -> Path:
    """The command in an empty folder, without calibration, each corpus prepared once."""

    def prepare(config: DataConfig, *_: Any) -> Corpus:
        return corpus(config, data_cache)

    monkeypatch.setattr("harness.sweep.preparation.prepare_corpus", prepare)
    monkeypatch.setattr("harness.sweep.sweep.matmul_rate", lambda: 1e10)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@fuzzed(120)
@given(overrides=st.lists(OVERRIDE | LOOSE, min_size=1, max_size=4 if SLOW else 2))
@example(overrides=["grid.lr_scale={a:1}"])
@example(overrides=["optim.hidden_lr_exponent=-1e308"])
@example(overrides=["grid.rungs=[{d_model: 64, n_layers: 2}]"])
@example(overrides=["results_dir=" + "x" * 300])
@example(overrides=["results_dir=/dev/null/x"])
@example(overrides=["results_dir=[/b]"])
@example(overrides=["model.n_layers=1000"])
@example(overrides=["data.path=" + "x" * 300])
@example(overrides=["cache_dir=" + "/x" * 3000])
def test_a_command_line_ends_in_a_plan_or_in_one_sentence(
    quiet: Path, capsys: pytest.CaptureFixture[str], overrides: list[str]
) -> None:
    code = sweep.main([*SMALL, *overrides, "dry_run=true"])
    said = capsys.readouterr()
    if code == 0:
        assert "to train" in said.out
        assert said.err == ""
    else:
        assert code == 2
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
    assert "Traceback" not in said.err + said.out
    assert not list(quiet.iterdir())
