"""The command that lets a trained model write."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness import sample
from harness.weights.run import find_kept, load_run
from tests.fakes.trained import SMALL


def test_the_text_follows_the_prompt(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--prompt", "one µ", "--tokens", "9", "--seed", "3", "--top-p", "0.9", "--temperature", "0.7"]
    assert sample.main([str(trained), "--run", "d8", *options]) == 0
    pieces = load_run(trained, "d8").sample("one µ", n_tokens=9, seed=3, top_p=0.9, temperature=0.7)
    assert capsys.readouterr().out == "one µ" + sample.shown("".join(pieces)) + "\n"


def test_it_streams(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece is printed before the next one is drawn."""
    seen: list[str] = []
    monkeypatch.setattr("builtins.print", lambda *text, **_: seen.append("".join(text)))
    monkeypatch.setattr(
        "harness.weights.run.TrainedRun.sample", lambda *_, **__: iter_watching(seen, ["a", "b", "c"])
    )
    assert sample.main([str(trained), "--run", SMALL.run_id, "--prompt", "x"]) == 0
    assert seen == ["x", "a", "b", "c", ""]


def iter_watching(seen: list[str], pieces: list[str]):
    for number, piece in enumerate(pieces):
        assert len(seen) == number + 1
        yield piece


def test_a_best_model_without_parameters_is_said(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = find_kept(trained)
    folder = shutil.copytree(trained, tmp_path / "sweep")
    assert sample.main([str(folder), "--tokens", "1"]) == 0
    assert capsys.readouterr().err == ""
    gone = folder / best.relative_to(trained)
    gone.unlink()
    assert sample.main([str(folder), "--tokens", "1"]) == 0
    said = capsys.readouterr().err
    assert f"has no parameters: {gone} is not there; taken is d" in said
    assert said.startswith("note: d")
    assert said.count("\n") == 1
    assert sample.main([str(folder), "--tokens", "1", "--run", "d8"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--temperature", "-1"], "at least 0 was expected and -1 came; type 0.8 (--temperature)"),
        (["--top-p", "2"], "up to 1 was expected and 2 came; type 0.95 (--top-p)"),
        (["--tokens", "0"], "at least 1 token was expected and 0 came; type 256 (--tokens)"),
        (["--seed", "-4"], "seed of at least 0 was expected and -4 came; type 0 (--seed)"),
        (["--seed", "x"], "invalid int value: 'x'"),
        (["--run", "d81"], "keeps no parameters of d81"),
        (["--prompt", "\udcff"], "the text is no UTF-8 at character 0"),
    ],
)
def test_wrong_input_is_one_sentence(
    trained: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample.main([str(trained), "--run", "d8", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert words in error
