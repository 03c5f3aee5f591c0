"""README's command from two folders to a model: one's own tokenizer, text, shards and shapes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tokenizers as hf
import zstandard

from harness.records.paths import SweepFolder
from harness.records.sweep_file import read_sweep
from harness.sweep import __main__ as sweep
from tests import ROOT
from tests.fakes import sealing

IDS = 1000  # more than the number in sweeps/data/mixture.yaml
# A corpus of seconds; the rest is as README has it.
LITTLE = ["data.eval_fraction=0.2", "data.eval_tokens=2048", "data.curve_eval_tokens=1024"]
TINY = [
    "grid.ladder={shapes: [{d_model: 16, n_layers: 1}]}", "grid.n_tokens=[4096,8192]", "grid.seeds=[0]",
    "grid.fit_seeds=[]", "grid.holdout_factor=1", "grid.resamples=2", "grid.log_interval=8",
    "model.seq_len=32", "optim.batch_size=4",
]  # fmt: skip
Run = Callable[..., tuple[int, str, str]]


def command() -> list[str]:
    """Words behind `harness.sweep` of README's command with a tokenizer, text, shards and shapes."""
    block = next(
        line
        for line in (ROOT / "README.md").read_text().replace("\\\n", "").splitlines()
        if "SHARDS" in line and "harness.sweep" in line
    )
    words = shlex.split(block)
    return words[words.index("harness.sweep") + 1 :]


def documents(seed: int, n: int = 150) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(f"w{word}" for word in rng.integers(0, 3000, 150)) for _ in range(n)]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """README's command, typed in a folder that has its files: exit code, output on one line, errors."""
    monkeypatch.setattr("harness.sweep.sweep.matmul_rate", lambda: 1e10)
    monkeypatch.chdir(tmp_path)
    web, code = documents(0), documents(1)
    model = hf.Tokenizer(hf.models.BPE())
    model.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = hf.pre_tokenizers.ByteLevel.alphabet()
    trainer = hf.trainers.BpeTrainer(
        vocab_size=IDS, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    model.train_from_iterator(web + code, trainer)
    model.save("tokenizer.json")
    for folder in ("WEB", "SHARDS"):
        Path(folder).mkdir()
    lines = "".join(json.dumps({"text": text}) + "\n" for text in web)
    Path("WEB/rows.jsonl.zst").write_bytes(zstandard.compress(lines.encode()))
    for number in range(2):
        ids = [id_ for text in code[number::2] for id_ in [*model.encode(text).ids, 0]]
        np.array(ids, np.uint16).tofile(f"SHARDS/s{number}.bin")

    def call(*overrides: str) -> tuple[int, str, str]:
        done = sweep.main([*command(), *LITTLE, "cache_dir=cache", *overrides])
        said = capsys.readouterr()
        return done, " ".join(said.out.split()), said.err

    return call


def test_the_whole_command_is_planned_as_typed(run: Run) -> None:
    done, said, error = run("data.max_epochs=1e6", "dry_run=true")
    assert (done, error) == (0, "")
    assert "web 70.0% (" in said
    assert "shards 30.0% (" in said
    assert "d64" in said
    # A larger number is room above the tokenizer, a smaller one a mistake.
    assert run("data.max_epochs=1e6", "dry_run=true", "data.vocab_size=1024")[0] == 0
    done, _, error = run("data.max_epochs=1e6", "dry_run=true", "data.vocab_size=600")
    assert done == 2
    assert f"data.vocab_size=600 is below the {IDS} ids of tokenizer.json; leave it out" in error


def test_a_tiny_ladder_trains_on_them(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sealing.without_fits(monkeypatch)
    done, _, error = run(*TINY)
    assert (done, error) == (0, "")
    folder = SweepFolder(Path("results/own"))
    record = read_sweep(folder.sweep)
    assert record.corpus.vocab_size == IDS
    assert set(record.corpus.report["sources"]) == {"web", "shards"}
