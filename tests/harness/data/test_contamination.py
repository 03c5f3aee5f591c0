"""Items of a benchmark in the training text."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.data import contamination as module
from harness.data.build import DataConfig
from harness.data.contamination import Items, contamination, read_items, with_contamination
from harness.data.prepare import prepare_corpus
from harness.data.text.tokenizer import Tokenizer
from harness.records.errors import InputError

WORDS = [f"Word{n}" for n in range(400)]
BYTES = Tokenizer(257, "")
TEXT = DataConfig("text", 257, tokenizer="bytes")


def items(*texts: str) -> Items:
    return Items("bench.jsonl", [f"bench.jsonl:{n}" for n in range(1, len(texts) + 1)], list(texts))


def mapped(folder: Path, texts: list[str]) -> np.memmap:
    BYTES.encode(texts).tofile(folder / "train.bin")
    return np.memmap(folder / "train.bin", BYTES.dtype, "r")


def test_items_are_found_whatever_their_case_and_punctuation(tmp_path: Path) -> None:
    """Whole, in part, short, too short, and not at all; a run never spans two documents."""
    train = mapped(tmp_path, [" ".join(WORDS[:100]), " ".join(WORDS[100:200])])
    found = contamination(
        items(
            " ".join(WORDS[300:330]),
            "“" + ", ".join(WORDS[10:40]).upper() + "”!",
            " ".join(WORDS[320:337] + WORDS[20:36]),
            "(" + "--".join(WORDS[50:59]) + ")",
            " ".join(WORDS[60:67]),
            " ".join(WORDS[94:106]),
        ),
        train,
        BYTES,
    )
    examples = found.pop("examples")
    assert found == {
        "file": "bench.jsonl",
        "words": 13,
        "items": 6,
        "too_short": 1,
        "found": 3,
        "mostly_found": 2,
    }
    assert [each["item"] for each in examples] == ["bench.jsonl:2", "bench.jsonl:4", "bench.jsonl:3"]
    # 33 words have 21 runs of 13; the last 16 of them have four.
    assert [each["share"] for each in examples] == pytest.approx([1, 1, 4 / 21])
    assert examples[2]["in_text"].split() == [word.lower() for word in WORDS[7:46]]
    assert examples[1]["text"].startswith("(Word50--Word51")


def test_parts_of_the_text_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = mapped(tmp_path, [" ".join(WORDS)])
    every = items(*(" ".join(WORDS[first : first + 13]) for first in range(0, 387, 3)))
    monkeypatch.setattr(module, "TOKENS_AT_ONCE", 211)
    monkeypatch.setattr(module, "OVERLAP", 128)
    assert contamination(every, train, BYTES, processes=1)["found"] == len(every.texts)
    monkeypatch.setattr(module, "OVERLAP", 0)
    assert contamination(every, train, BYTES, processes=1)["found"] < len(every.texts)


def test_what_goes_to_a_process_is_no_copy_of_the_text(tmp_path: Path) -> None:
    text = module._text(mapped(tmp_path, [" ".join(WORDS) * 200]), BYTES)
    assert len(text.words(0)) > 399
    again = module._text(text.tokens, BYTES)
    assert len(pickle.dumps(again)) < 20_000


def test_the_field_of_the_items_is_found(tmp_path: Path) -> None:
    rows = [{"id": 1, "question": "who?"}, {"question": "when?", "answer": "now"}, {"title": "nothing"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.table({"id": [1, 2], "prompt": ["where?", None]}), tmp_path / "b.parquet")
    (tmp_path / "c.txt").write_text("what?\n\nwhy?\n")
    found = read_items(str(tmp_path), TEXT)
    assert dict(zip(found.places, found.texts, strict=True)) == {
        "a.jsonl:1": "who?",
        "a.jsonl:2": "when?",
        "b.parquet:1": "where?",
        "c.txt:1": "what?",
        "c.txt:3": "why?",
    }
    named = read_items(str(tmp_path / "a.jsonl"), replace(TEXT, text_field="answer"))
    assert named.texts == ["who?", "now"]
    assert named.digest != found.digest


def test_files_and_corpora_that_cannot_be_searched_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"title": "nothing"}\n')
    path = str(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match=r"holds no item with a text; name its field by data\.text_field"):
        read_items(path, TEXT)
    with pytest.raises(InputError, match=r"^data.contamination=.*nowhere does not exist"):
        read_items(str(tmp_path / "nowhere"), TEXT)
    with pytest.raises(InputError, match=r"data.name=synthetic has symbols; leave it out"):
        read_items(path, replace(TEXT, name="synthetic"))
    with pytest.raises(InputError, match=r"data.name=tokens has tokens of an unknown tokenizer"):
        read_items(path, replace(TEXT, name="tokens", tokenizer="none"))


def test_a_corpus_is_searched_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{n}" for n in rng.integers(0, 5_000, 200)) for _ in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    config = DataConfig("text", 300, path=str(tmp_path / "a.jsonl"), eval_fraction=0.2, min_eval_tokens=100)
    corpus = prepare_corpus(config, tmp_path / "cache")
    bench = items(*texts)
    told: list[str] = []
    found = with_contamination(corpus, bench, tmp_path / "cache", told.append)
    # All documents are items, and those that are held out are not in the training text.
    report = found.report["contamination"]
    assert report["items"] == 40
    assert report["found"] == report["mostly_found"] == corpus.n_documents
    assert len(report["examples"]) == 10
    assert found.corpus_id == corpus.corpus_id
    assert [line.split()[0] for line in told] == ["searching", str(corpus.n_documents)]
    told.clear()
    assert with_contamination(corpus, bench, tmp_path / "cache", told.append).report == found.report
    assert [line.split()[0] for line in told] == [str(corpus.n_documents)]
