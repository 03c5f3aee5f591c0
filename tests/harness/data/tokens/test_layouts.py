"""Every layout of token files gives the same tokens, and a broken file a sentence."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from harness.data.build import DataConfig
from harness.data.corpus import Corpus
from harness.data.prepare import prepare_corpus
from harness.data.tokens.stream import TokenStream
from harness.records.errors import InputError
from tests.fakes import token_files as made

Write = Callable[[Path, list[np.ndarray]], None]
LAYOUTS: dict[str, tuple[str, Write]] = {
    "raw": ("a.bin", made.raw),
    "raw, 32 bits": ("a.bin", partial(made.raw, dtype="<u4")),
    "header": ("a.bin", made.with_header),
    "header of 32 bits": ("a.bin", partial(made.with_header, magic=20240801, version=7)),
    "NumPy": ("a.npy", made.numpy_file),
    "NumPy, signed": ("a.npy", partial(made.numpy_file, dtype="<i8")),
    "Megatron": ("a.bin", made.megatron),
    "Megatron, sequences": ("a.bin", partial(made.megatron, parts=3)),
    "datatrove": ("a.ds", made.datatrove),
    "datatrove, 32 bits": ("a.ds", partial(made.datatrove, dtype="<u4")),
    "parquet": ("a.parquet", made.parquet),
    "arrow stream": ("a.arrow", made.arrow),
    "arrow file": ("a.arrow", partial(made.arrow, stream=False)),
}
WITH_DOCUMENTS = [name for name in LAYOUTS if not name.startswith(("raw", "header", "NumPy"))]
DOCS = made.documents(0, 400)
EVERY = np.concatenate(DOCS)


def config(folder: Path, **options: object) -> DataConfig:
    values = {"vocab_size": made.VOCAB, "tokenizer": "none", "min_eval_tokens": 1000, "eval_fraction": 0.1}
    return DataConfig(name="tokens", path=str(folder), **(values | options))


def prepared(tmp_path: Path, **options: object) -> Corpus:
    return prepare_corpus(config(tmp_path / "data", **options), tmp_path / "cache")


def tokens_of(corpus: Corpus) -> np.ndarray:
    assert isinstance(corpus.train, TokenStream)
    return corpus.train.windows(np.zeros(1, np.int64), len(corpus.train))[0]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_token_is_trained_on_or_scored_once(layout: str, data: Path, tmp_path: Path) -> None:
    name, write = LAYOUTS[layout]
    write(data / name, DOCS)
    corpus = prepared(tmp_path)
    both = np.concatenate([tokens_of(corpus), corpus.eval])
    assert np.array_equal(np.sort(both), np.sort(EVERY))
    assert 0.1 <= len(corpus.eval) / len(EVERY) < 0.13
    assert corpus.n_train_tokens == len(tokens_of(corpus))
    assert (corpus.token_bytes, corpus.tokenizer_id, corpus.n_train_bytes) == (None, "unknown", None)


@pytest.mark.parametrize("layout", WITH_DOCUMENTS)
def test_whole_documents_are_held_out(layout: str, data: Path, tmp_path: Path) -> None:
    name, write = LAYOUTS[layout]
    write(data / name, DOCS)
    corpus = prepared(tmp_path)
    held = np.split(corpus.eval.astype(np.int64), np.flatnonzero(corpus.eval == made.SEPARATOR) + 1)[:-1]
    known = {doc.tobytes() for doc in DOCS}
    assert all(doc.tobytes() in known for doc in held)
    assert corpus.n_documents == len(DOCS) - len(held)


def test_blocks_are_trimmed_to_documents_if_the_separator_is_known(data: Path, tmp_path: Path) -> None:
    made.raw(data / "a.bin", made.documents(0, 3000))
    corpus = prepared(tmp_path, separator=made.SEPARATOR)
    held = np.split(corpus.eval.astype(np.int64), np.flatnonzero(corpus.eval == made.SEPARATOR) + 1)[:-1]
    known = {doc.tobytes() for doc in made.documents(0, 3000)}
    assert len(held) > 100
    assert all(doc.tobytes() in known for doc in held)
    assert corpus.n_documents is None


def test_several_layouts_are_one_corpus(data: Path, tmp_path: Path) -> None:
    made.raw(data / "a.bin", DOCS[:100])
    (data / "more").mkdir()
    made.parquet(data / "more" / "b.parquet", DOCS[100:200])
    made.megatron(data / "c.bin", DOCS[200:])
    both = np.concatenate([tokens_of(prepared(tmp_path)), prepared(tmp_path).eval])
    assert np.array_equal(np.sort(both), np.sort(EVERY))


@pytest.mark.parametrize("options", [{}, {"eval_path": "val"}])
def test_files_that_are_named_for_it_are_scored(options: dict[str, str], data: Path, tmp_path: Path) -> None:
    made.raw(data / "train_0.bin", DOCS[:200])
    made.with_header(data / "train_1.bin", DOCS[200:300])
    place = data / "fineweb_val_0.bin" if not options else tmp_path / "val.bin"
    made.raw(place, DOCS[300:])
    corpus = prepared(tmp_path, **({"eval_path": str(place)} if options else {}))
    assert np.array_equal(corpus.eval, np.concatenate(DOCS[300:]))
    assert np.array_equal(tokens_of(corpus), np.concatenate(DOCS[:300]))


def test_a_prepared_corpus_is_found_again_and_a_changed_one_is_another(data: Path, tmp_path: Path) -> None:
    made.parquet(data / "a.parquet", DOCS)
    said: list[str] = []
    first = prepare_corpus(config(data), tmp_path / "cache", said.append)
    assert any("rewriting the token lists of 1 file (" in line for line in said)
    said.clear()
    again = prepare_corpus(config(data), tmp_path / "cache", said.append)
    assert not said
    assert (again.corpus_id, again.unigram_nats) == (first.corpus_id, first.unigram_nats)
    assert np.array_equal(tokens_of(again), tokens_of(first))
    made.parquet(data / "a.parquet", DOCS[1:])
    assert prepared(tmp_path).corpus_id != first.corpus_id
    assert not list((tmp_path / "cache").glob(".partial-*"))


def broken(name: str, folder: Path) -> None:
    """Write a corpus with one fault."""
    if name == "of another version":
        made.with_header(folder / "a.bin", DOCS, version=2)
    elif name == "cut behind its header":
        made.with_header(folder / "a.bin", DOCS)
        (folder / "a.bin").write_bytes((folder / "a.bin").read_bytes()[:-100])
    elif name == "with half a token":
        (folder / "a.bin").write_bytes(b"\x01" * 3001)
    elif name == "with another index":
        made.megatron(folder / "a.bin", DOCS)
        made.raw(folder / "a.bin", DOCS[1:])
    elif name == "with a cut index":
        made.megatron(folder / "a.bin", DOCS)
        (folder / "a.idx").write_bytes((folder / "a.idx").read_bytes()[:-9])
    elif name == "with no index in .idx":
        made.raw(folder / "a.bin", DOCS)
        (folder / "a.idx").write_text("nothing of the kind, but longer than the head of such a file")
    elif name == "of two axes":
        np.save(folder / "a.npy", np.zeros((4, 100), np.uint16))
    elif name == "of real numbers":
        np.save(folder / "a.npy", np.zeros(100))
    elif name == "with ids beyond the vocabulary":
        made.raw(folder / "a.bin", [*DOCS, np.full(20_000, 700)])
    elif name == "with such ids in a column":
        made.parquet(folder / "a.parquet", [*DOCS, np.array([5, 700])])
    elif name == "with no such column":
        made.parquet(folder / "a.parquet", DOCS, column="input_ids")
        made.parquet(folder / "b.parquet", DOCS, column="other")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("of another version", r"a\.bin has a header of version 2, expected version 1"),
        ("cut behind its header", r"holds \d.* tokens and its header says .*: it was cut"),
        ("with half a token", r"3,001 bytes, no multiple of the 2 bytes"),
        ("with another index", r"a\.idx ends at token .* and .*a\.bin has .*do not belong together"),
        ("with a cut index", r"a\.idx has .* bytes, expected .*: it was cut, copy it again"),
        ("with no index in .idx", r"a\.idx is no Megatron index"),
        ("of two axes", r"uint16 of shape \(4, 100\), expected one axis of integers"),
        ("of real numbers", r"float64 of shape \(100,\), expected one axis of integers"),
        (
            "with ids beyond the vocabulary",
            r"a\.bin has the id 700 at token [\d,]+, expected ids below",
        ),
        ("with such ids in a column", r"a\.parquet has the id 700 in row 400, expected ids below"),
        (
            "with no such column",
            r"b\.parquet .* named input_ids, .*such: other; type data\.token_field=other",
        ),
    ],
)
def test_a_broken_file_gets_a_sentence(name: str, said: str, data: Path, tmp_path: Path) -> None:
    broken(name, data)
    field = {"token_field": "input_ids"} if "no such column" in name else {}
    with pytest.raises(InputError, match=said):
        prepared(tmp_path, **field)


def test_a_vocabulary_that_nobody_named_is_asked_for_with_what_was_seen(data: Path, tmp_path: Path) -> None:
    made.raw(data / "a.bin", DOCS)
    with pytest.raises(InputError, match=r"ids up to 499, so .* at least data\.vocab_size=500$"):
        prepared(tmp_path, vocab_size=0)
    made.parquet(data / "a.parquet", DOCS)
    (data / "a.bin").unlink()
    with pytest.raises(InputError, match=r"at least data\.vocab_size=500$"):
        prepared(tmp_path, vocab_size=0)


def test_an_id_beyond_the_vocabulary_that_no_sample_met_stops_the_step(data: Path, tmp_path: Path) -> None:
    made.raw(data / "a.bin", DOCS)
    corpus = prepared(tmp_path)
    assert isinstance(corpus.train, TokenStream)
    tokens = np.fromfile(data / "a.bin", "<u2")
    place = int(corpus.train.stretches[0, 1]) + 77
    tokens[place] = 600
    tokens.tofile(data / "a.bin")
    fresh = TokenStream(corpus.train.shards, corpus.train.stretches, made.VOCAB)
    with pytest.raises(InputError, match=rf"a\.bin has the id 600 at token {place:,}, expected ids below"):
        fresh.windows(np.array([0, 70]), 20)


def test_tokens_of_16_bits_under_a_vocabulary_that_needs_32(data: Path, tmp_path: Path) -> None:
    made.raw(data / "a.bin", [EVERY[: len(EVERY) // 2 * 2]])
    with pytest.raises(InputError, match=r"a\.bin .* below data\.vocab_size=70000; .* with 32 bits"):
        prepared(tmp_path, vocab_size=70_000)


MIXED: dict[str, tuple[str, Write, str]] = {
    "bare": ("b.bin", partial(made.raw, dtype="<u4"), "uint32"),
    "header": ("b.bin", partial(made.with_header, magic=20240801, version=7), "uint32"),
    "NumPy": ("b.npy", partial(made.numpy_file, dtype="<i8"), "int64"),
}


@pytest.mark.parametrize("layout", MIXED)
@pytest.mark.parametrize("option", [None, "eval_path"])
def test_shards_of_mixed_types_are_refused(
    layout: str, option: str | None, data: Path, tmp_path: Path
) -> None:
    name, write, kind = MIXED[layout]
    made.raw(data / "a.bin", DOCS)
    made.parquet(data / "c.parquet", DOCS[:50])
    other = data if option is None else tmp_path / "val"
    other.mkdir(exist_ok=True)
    write(other / name, DOCS)
    said = rf"a\.bin holds tokens of type uint16 and .*{name} of type {kind}, .*; write one of them again, or"
    with pytest.raises(InputError, match=said):
        prepared(tmp_path, **({} if option is None else {option: str(other)}))


@pytest.mark.parametrize(
    ("separator", "said"),
    [
        (500, r"data\.separator=500 is no id of the vocabulary, expected 0 to 499$"),
        (-4, r"data\.separator=-4 is no id"),
        (
            498,
            r"data\.separator=498 never stands twice in a block to score.* with data\.eval_path, .* the id",
        ),
    ],
)
def test_a_separator_that_separates_nothing(separator: int, said: str, data: Path, tmp_path: Path) -> None:
    docs = [doc[doc != 498] for doc in made.documents(0, 400)]
    made.raw(data / "a.bin", docs)
    with pytest.raises(InputError, match=said):
        prepared(tmp_path, separator=separator)


def test_a_separator_is_added_to_rows_without_one(data: Path, tmp_path: Path) -> None:
    made.parquet(data / "a.parquet", [doc[:-1] for doc in DOCS[:200]] + DOCS[200:])
    both = [
        tokens_of(prepared(tmp_path, separator=made.SEPARATOR)),
        prepared(tmp_path, separator=made.SEPARATOR).eval,
    ]
    assert np.array_equal(np.sort(np.concatenate(both)), np.sort(EVERY))
