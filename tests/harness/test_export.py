"""Exported models: the same bits, with a configuration and a tokenizer for other programs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tokenizers as hf

from harness import export, sample
from harness.data.text.file_tokenizer import FileTokenizer
from harness.data.text.tokenizer import SEPARATOR, train_tokenizer
from harness.recipe.spec import ModelSpec
from harness.records.errors import InputError
from harness.weights.export import library_tokenizer
from harness.weights.kept import Card, Keep, named, read_kept, write_kept
from harness.weights.run import find_kept, load_run
from tests.fakes.trained import ENDS, LARGE, TOKENIZER, documents

TEXTS = [*documents(2, 30), "Ünïcödé ☃ \x00\n\t x = {1: 'a'}\n"]


def test_an_exported_model_loads_back_bit_by_bit(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "models" / "d16"
    assert export.main([str(trained), "--run", "d16", "--to", str(target)]) == 0
    names = ["model.safetensors", "config.json", "tokenizer.json"]
    assert capsys.readouterr().out.split() == [str(target / name) for name in names]
    assert sorted(path.name for path in target.iterdir()) == sorted(names)
    mine, theirs = load_run(target), load_run(trained, "d16")
    assert (mine.card, mine.spec, mine.tokenizer) == (theirs.card, theirs.spec, theirs.tokenizer)
    for (name, left), (_, right) in zip(named(mine.params), named(theirs.params), strict=True):
        assert left.tobytes() == right.tobytes(), name
    assert (target / names[0]).read_bytes() == find_kept(trained, "d16").read_bytes()


def test_the_configuration_describes_the_model(trained: Path, tmp_path: Path) -> None:
    assert export.main([str(trained), "--run", LARGE.point_id(ENDS[0]), "--to", str(tmp_path)]) == 0
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model"].pop("head_dim") == 8
    assert ModelSpec(**config["model"]) == LARGE.model
    assert config["separator"] == 256
    assert config["trained"]["n_tokens"] == ENDS[0]
    assert config["n_params"] == sum(leaf.size for _, leaf in named(load_run(tmp_path).params))


def test_an_exported_model_takes_the_place_of_a_sweep(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export.main([str(trained), "--run", "d8", "--to", str(tmp_path)]) == 0
    assert export.main([str(tmp_path), "--to", str(tmp_path)]) == 0
    capsys.readouterr()
    options = ["--run", "d8", "--tokens", "5"]
    assert [sample.main([str(folder), *options]) for folder in (trained, tmp_path)] == [0, 0]
    said = capsys.readouterr().out
    assert said[: len(said) // 2] == said[len(said) // 2 :]


@pytest.mark.parametrize("n_tags", [0, 3])
def test_the_tokenizer_gives_the_same_ids(tmp_path: Path, n_tags: int) -> None:
    for own in (train_tokenizer("bpe", TEXTS, 300, n_tags), TOKENIZER):
        path = tmp_path / "tokenizer.json"
        path.write_text(library_tokenizer(own).to_str())
        theirs = hf.Tokenizer.from_file(str(path))
        assert theirs.get_vocab_size() == own.vocab_size
        assert theirs.token_to_id(SEPARATOR) == own.separator
        for text in TEXTS:
            ids = theirs.encode(text).ids
            assert [*ids, own.separator] == own.encode([text]).tolist()
            assert theirs.decode(ids) == text


def test_a_model_of_symbols_has_no_tokenizer(trained: Path, tmp_path: Path) -> None:
    """Made from one of text, as only the card differs."""
    kept = read_kept(find_kept(trained, "d8"))
    write_kept(tmp_path / "model.safetensors", replace(kept.card, tokenizer=None), kept.params)
    assert export.main([str(tmp_path), "--to", str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out" / "tokenizer.json").exists()
    run = load_run(tmp_path / "out")
    assert run.tokenizer is None
    assert np.isfinite(run.logits([0, 1])).all()
    with pytest.raises(InputError, match="without a tokenizer and knows no text"):
        run.sample("x")


def test_a_tokenizer_from_a_file_goes_along(trained: Path, tmp_path: Path) -> None:
    kept = read_kept(find_kept(trained, "d8"))
    definition = library_tokenizer(TOKENIZER).to_str()
    for separator in (256, None):
        own = FileTokenizer(257, definition, separator)
        card = Card.of(kept.spec, kept.card.n_tokens, 1.5, None, Keep(frozenset(), "fp32", own))
        write_kept(tmp_path / "model.safetensors", card, kept.params)
        run = load_run(tmp_path)
        assert (run.tokenizer, run.card.bits_per_byte) == (own, None)
        assert export.main([str(tmp_path), "--to", str(tmp_path / "out")]) == 0
        theirs = hf.Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
        assert theirs.encode(TEXTS[0]).ids == TOKENIZER.encode(TEXTS[:1])[:-1].tolist()
        if separator is None:
            with pytest.raises(InputError, match=r"train with data\.separator=ID, which names one"):
                run.sample("one")
        else:
            same = [list(each.sample("one", n_tokens=9, seed=1)) for each in (run, load_run(trained, "d8"))]
            assert same[0] == same[1]


def test_wrong_targets_are_one_sentence(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for target, words in ((tmp_path / "file", "is a file"), (trained, "is the folder of a sweep")):
        assert export.main([str(trained), "--to", str(target)]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.endswith("(--to)\n")
        assert error.count("\n") == 1
    assert not (trained / "config.json").exists()
