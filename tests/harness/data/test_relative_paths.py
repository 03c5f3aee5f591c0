"""Paths that are typed from the folder of the command: corpora and workers that start elsewhere find them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import tokenizers as hf

from harness.config.cells_file import read_cells
from harness.data.build import DataConfig
from harness.data.contamination import read_items
from harness.data.corpus import Corpus
from harness.data.curation.recipe import Recipe
from harness.data.prepare import prepare_corpus
from harness.data.sources import Source
from harness.data.text.tokenizer import train_tokenizer
from harness.data.tokens.mixture import Mixture
from harness.data.tokens.stream import TokenStream
from harness.records.errors import InputError
from harness.sweep.record import read_record
from tests import ROOT
from tests.fakes import token_files as made

DOCS = made.documents(0, 400)
VALUES = {"vocab_size": made.VOCAB, "tokenizer": "none", "min_eval_tokens": 1000, "eval_fraction": 0.1}
WRITERS: dict[str, Callable[[Path, list[np.ndarray]], None]] = {
    "a.bin": made.raw,
    "a.npy": made.numpy_file,
    "a.ds": made.datatrove,
    "a.parquet": made.parquet,
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the command is typed."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Go to a folder in which no relative path leads anywhere."""

    def go() -> None:
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / "elsewhere")

    return go


def all_tokens(corpus: Corpus) -> np.ndarray:
    streams = corpus.train.streams if isinstance(corpus.train, Mixture) else (corpus.train,)
    found = [s.windows(np.zeros(1, np.int64), len(s))[0] for s in streams if isinstance(s, TokenStream)]
    return np.sort(np.concatenate([*found, corpus.eval]))


def texts(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = [" ".join(f"w{word}" for word in rng.integers(0, 900, 150)) for _ in range(60)]
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("typed", ["shards", "./shards", "shards/{name}", "."])
def test_tokens_beside_the_command_are_those_of_the_absolute_path(
    name: str, typed: str, home: Path, tmp_path: Path, elsewhere: Callable[[], None]
) -> None:
    (home / "shards").mkdir()
    WRITERS[name](home / "shards" / name, DOCS)
    typed = typed.format(name=name)
    own = DataConfig(name="tokens", path=typed, **VALUES)
    found = prepare_corpus(own, tmp_path / "cache")
    told: list[str] = []
    absolute = replace(own, path=str(home / typed))
    elsewhere()
    assert np.array_equal(all_tokens(found), np.sort(np.concatenate(DOCS)))
    again = prepare_corpus(absolute, tmp_path / "cache", told.append)
    assert told == [], "both paths are one entry of the cache"
    assert again.corpus_id == found.corpus_id
    assert np.array_equal(all_tokens(again), all_tokens(found))


def test_a_relative_eval_path_is_scored(home: Path, tmp_path: Path, elsewhere: Callable[[], None]) -> None:
    for folder, docs in (("shards", DOCS[:300]), ("held", DOCS[300:])):
        (home / folder).mkdir()
        made.megatron(home / folder / "a.bin", docs)
    own = DataConfig(name="tokens", path="shards", eval_path="held/a.bin", **VALUES)
    found = prepare_corpus(own, tmp_path / "cache")
    elsewhere()
    assert np.array_equal(found.eval, np.concatenate(DOCS[300:]))
    assert np.array_equal(all_tokens(found), np.sort(np.concatenate(DOCS)))


def test_an_entry_that_holds_in_one_folder_alone_is_prepared_again(home: Path, tmp_path: Path) -> None:
    """Earlier versions stored the paths of shards as typed, under the key of the absolute path."""
    (home / "shards").mkdir()
    made.raw(home / "shards" / "a.bin", DOCS)
    own = DataConfig(name="tokens", path=str(home / "shards"), **VALUES)
    first = prepare_corpus(own, tmp_path / "cache")
    (index,) = (tmp_path / "cache" / "index").glob("*.json")
    entry = json.loads(index.read_text())
    for bad in ("shards/a.bin", "a.bin"):
        entry["meta"]["shards"][0]["path"] = bad
        index.write_text(json.dumps(entry))
        told: list[str] = []
        again = prepare_corpus(own, tmp_path / "cache", told.append)
        assert told[0].startswith("preparing the tokens corpus")
        assert again.corpus_id == first.corpus_id
        assert np.array_equal(all_tokens(again), np.sort(np.concatenate(DOCS)))


def test_a_relative_mixture_is_read_by_a_worker_that_starts_elsewhere(
    home: Path, tmp_path: Path, elsewhere: Callable[[], None]
) -> None:
    texts(home / "web")
    text = (home / "web" / "rows.jsonl").read_text()
    (home / "tokenizer.json").write_text(train_tokenizer("bpe", [text], 320).definition)
    for folder in ("shards", "held"):
        (home / folder).mkdir()
        made.raw(home / folder / "a.bin", made.documents(0, 100, 300))
    sources = (
        Source("web", 0.5, "text", path="web", eval_fraction=0.2),
        Source("shards", 0.5, "tokens", path="shards", eval_path="held"),
    )
    typed = DataConfig(
        "mixture", 320, tokenizer="tokenizer.json", min_eval_tokens=33, separator=256, sources=sources
    )
    found = prepare_corpus(typed, tmp_path / "cache")
    carried = DataConfig.from_dict(json.loads(json.dumps(asdict(typed.located()))))
    elsewhere()
    told: list[str] = []
    again = prepare_corpus(carried, tmp_path / "cache", told.append)
    assert told == [], "a worker prepares nothing anew"
    assert again.corpus_id == found.corpus_id
    np.testing.assert_array_equal(again.eval, found.eval)


def test_text_and_items_are_read_by_relative_paths(
    home: Path, tmp_path: Path, elsewhere: Callable[[], None]
) -> None:
    texts(home / "web")
    own = DataConfig("text", 300, eval_fraction=0.2, min_eval_tokens=33, path="web")
    found = prepare_corpus(own, tmp_path / "cache")
    assert len(read_items("web/rows.jsonl", own).texts) == 60
    located = own.located()
    elsewhere()
    assert prepare_corpus(located, tmp_path / "cache").corpus_id == found.corpus_id


def test_curation_reads_a_relative_folder_wherever_its_workers_start(home: Path) -> None:
    texts(home / "web")
    model = hf.Tokenizer.from_str(train_tokenizer("bpe", ["a b c " * 99], 300).definition)
    model.add_special_tokens(["</s>"])
    model.save(str(home / "tokenizer.json"))
    recipe = Recipe({"path": "web"}, (), {"tokenizer": "tokenizer.json", "separator": "</s>"}, "out", {})
    files, _ = recipe.inputs()
    assert [file.path for file in files] == [str(home / "web" / "rows.jsonl")]


def test_files_of_the_command_are_read_by_relative_paths(home: Path) -> None:
    (home / "more.yaml").write_text("cells: [{d_model: 48, n_tokens: [8000000], seeds: [0]}]")
    assert read_cells("cells", "more.yaml").cells[0]["d_model"] == 48
    record = os.path.relpath(ROOT / "results" / "chinchilla" / "sweep.json", home)
    assert read_record(record).grid == "chinchilla"
    with pytest.raises(InputError, match=r"cells=.*there is no such file"):
        read_cells("cells", "other.yaml")
