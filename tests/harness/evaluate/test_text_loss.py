"""Loss of a trained model on any text, and the command that prints it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.evaluate import __main__ as command
from harness.weights.run import TrainedRun, load_run
from tests.fakes.trained import ENDS, EVAL_TOKENS, LARGE, SMALL, documents, loss_in
from tests.recipes import SEQ_LEN


@pytest.fixture(scope="module")
def run(trained: Path) -> TrainedRun:
    return load_run(trained, "d16")


def losses_by_hand(run: TrainedRun, text: str) -> np.ndarray:
    """Nats of every token of one document but the first, window by window."""
    tokens = run.text_tokenizer()[0].encode([text]).astype(int)
    found = []
    for first in range(0, len(tokens) - 1, SEQ_LEN):
        window = tokens[first : first + SEQ_LEN + 1]
        logits = run.logits(window[:-1]).astype(np.float64)
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        found.append(-log_p[np.arange(len(window) - 1), window[1:]])
    return np.concatenate(found)


@pytest.mark.parametrize(("spec", "n_tokens"), [(LARGE, ENDS[0]), (LARGE, ENDS[1]), (SMALL, ENDS[1])])
def test_the_evaluation_set_of_the_sweep_gives_the_loss_of_the_table(
    trained: Path, spec, n_tokens: int
) -> None:
    run = load_run(trained, spec.point_id(n_tokens))
    found = command.evaluate_file(run, trained / "held-out.jsonl", "text", EVAL_TOKENS)
    assert found.loss == pytest.approx(loss_in(trained, spec, n_tokens), rel=1e-6)
    assert found.bits_per_byte == pytest.approx(loss_in(trained, spec, n_tokens, "bits_per_byte"), rel=1e-6)
    assert found.n_tokens == EVAL_TOKENS


@pytest.mark.parametrize("n_characters", [2, 9, 3 * SEQ_LEN - 1, 3 * SEQ_LEN, 50])
def test_every_token_but_the_first_counts(run: TrainedRun, tmp_path: Path, n_characters: int) -> None:
    text = ("one µ two " * 9)[:n_characters]
    (tmp_path / "text.md").write_text(text)
    found = command.evaluate_file(run, tmp_path / "text.md", "text", None)
    nats = losses_by_hand(run, text)
    assert found.loss == pytest.approx(nats.mean(), rel=1e-5)
    assert (found.n_tokens, found.n_bytes) == (len(nats), len(text.encode()) - len(text[0].encode()))
    assert found.bits_per_byte == pytest.approx(nats.sum() / np.log(2) / found.n_bytes, rel=1e-5)


def test_records_are_documents_in_every_format(run: TrainedRun, tmp_path: Path) -> None:
    texts = documents(5, 3)
    lines = "".join(json.dumps({"body": text}) + "\n" for text in texts)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    pd.DataFrame({"body": texts}).to_parquet(tmp_path / "a.parquet")
    found = {
        command.evaluate_file(run, tmp_path / name, "body", None)
        for name in ("a.jsonl", "a.jsonl.gz", "a.parquet")
    }
    (only,) = found
    assert only.n_bytes == sum(len(text.encode()) for text in texts) - 1


def test_the_command_prints_both_losses(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (trained / "held-out.jsonl").read_text() + '\n{"text": null}\n{"text": "\\ud800"}\n'
    (tmp_path / "more.jsonl").write_text(lines)
    options = ["--run", "d8", "--tokens", str(EVAL_TOKENS), "--data", str(tmp_path / "more.jsonl")]
    assert command.main([str(trained), *options]) == 0
    said = capsys.readouterr()
    loss = f"{loss_in(trained, SMALL, ENDS[1]):.6f}"
    assert said.out.splitlines()[0] == f"d8, run {SMALL.run_id}, trained on {ENDS[1]:,} tokens"
    assert [f"loss {loss} nats per token" in line for line in said.out.splitlines()] == [False, True, True]
    assert "note: 2 records of" in said.err


def test_wrong_files_are_one_sentence(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    (tmp_path / "empty.txt").touch()
    (tmp_path / "one.txt").write_text("o")
    (tmp_path / "rows.jsonl").write_text('{"body": "x"}\n')
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    (tmp_path / "short.txt").write_text("one two")
    for name, options, words in (
        ("nowhere.txt", [], "does not exist, expected a file of text; give the path of one (--data)"),
        (".", [], "is a folder, expected a file"),
        ("latin.txt", [], "is no UTF-8 at byte 0"),
        ("empty.txt", [], "no token after its first one"),
        ("one.txt", [], "no token after its first one"),
        ("rows.jsonl", [], "holds no document (no text in 'text': has the fields body); name the field"),
        ("cut.parquet", [], "cut.parquet cannot be read"),
        ("short.txt", ["--tokens", "99"], "cannot score n_tokens=99"),
        ("short.txt", ["--tokens", "0"], "at least 1 token was expected and 0 came (--tokens)"),
        ("short.txt", ["--run", "x"], "keeps no parameters of x"),
    ):
        given = [str(trained), "--run", "d8", *options, "--data", str(tmp_path / name)]
        assert command.main(given) == 2, name
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
