"""Sources, the whole preparation, and the cache."""

import errno
import fcntl
import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.data import store
from harness.data.build import DataConfig
from harness.data.corpus import Corpus, check_size
from harness.data.prepare import prepare_corpus
from harness.data.text import read
from harness.data.text.corpora import TEXT_SUFFIXES, list_files, list_python
from harness.data.text.document import Document, Unusable
from harness.data.text.parse import TOO_LONG
from harness.data.text.read import PIECE_CHARACTERS, read_text
from harness.records.errors import InputError


def article(rng: np.random.Generator, n_words: int = 300) -> str:
    """Text whose words are distinct enough not to be taken for a near duplicate."""
    return " ".join(f"w{word}" for word in rng.integers(0, 5_000, n_words)) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    texts = tmp_path / "texts"
    texts.mkdir()
    rows = [{"text": article(rng)} for _ in range(120)]
    (texts / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return texts


@pytest.fixture
def config(folder: Path) -> DataConfig:
    return DataConfig("text", 300, path=str(folder), eval_fraction=0.2, min_eval_tokens=1_000)


def zstd(data: bytes) -> bytes:
    packed: bytes = pa.compress(data, codec="zstd", asbytes=True)
    return packed


def texts_of(path: Path, field: str = "text") -> list[str]:
    records = list(read_text(list_files(str(path)), field))
    return [record.text for record in records if isinstance(record, Document)]


def test_every_kind_of_file_gives_the_same_documents(tmp_path: Path) -> None:
    texts = ["first\nline", "zweites — Stück", "3"]
    lines = "".join(json.dumps({"body": text}) + "\n" for text in texts).encode()
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "c.jsonl.zst").write_bytes(zstd(lines))
    pd.DataFrame({"body": texts}).to_parquet(tmp_path / "d.parquet")
    for number, text in enumerate(texts):
        (tmp_path / f"e{number}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "notes.md").write_text("not read")
    assert texts_of(tmp_path, "body") == texts * 5


@pytest.mark.parametrize("paragraph", ["word " * 40 + "\n\n", "word " * 40 + "\n", "word"])
def test_a_long_file_is_cut_into_documents_without_loss(tmp_path: Path, paragraph: str) -> None:
    book = paragraph * (5 * PIECE_CHARACTERS // len(paragraph))
    (tmp_path / "book.txt").write_text(book)
    pieces = texts_of(tmp_path)
    assert "".join(pieces) == book
    assert all(PIECE_CHARACTERS <= len(piece) <= 2 * PIECE_CHARACTERS for piece in pieces[:-1])
    assert len(pieces) >= 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:-9], "EOFError"),
        ("bad.jsonl.zst", b"no zstandard", "OSError"),
        ("cut.JSONL.ZST", zstd(b'{"text": "abcdefgh"}\n' * 99)[:-9], "Truncated"),
        ("bad.parquet", b"no parquet", "ArrowInvalid"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        texts_of(tmp_path)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason", "place"),
    [
        (b'{"text"', "not JSON", "Expecting"),
        (b"[" * 100_000, "not JSON", "brackets within brackets"),
        (b'{"text": 1' + b"0" * 5_000 + b"}", "no text in 'text'", "holds float"),
        (b'{"text": NaN}', "no text in 'text'", "holds float"),
        (b'{"text": null}', "no text in 'text'", "holds null"),
        (b'{"text": {"de": "x"}}', "no text in 'text'", "holds dict"),
        (b'{"body": "a", "title": "b"}', "no text in 'text'", "has the fields body, title"),
        (b"[1]", "no text in 'text'", "is no object but list"),
        (b"{}", "no text in 'text'", "has no field"),
        (b'{"text": "' + b"word " * 400 + b'"}', "longer than", ""),
        (b'{"text": "\xe9 in Latin-1, long enough to be kept"}', "not Unicode", ""),
        (b'{"text": "half a smile \\ud83d, long enough to be kept"}', "not Unicode", ""),
        (b"\0" * 40, "not JSON", "Expecting value"),
    ],
)
def test_one_bad_record_is_counted_and_the_others_stay(
    folder: Path,
    config: DataConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    reason: str,
    place: str,
) -> None:
    if reason == "longer than":
        monkeypatch.setattr(read, "LONGEST_RECORD", 1_950)
    good = (folder / "rows.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "rows.jsonl").write_bytes(b"".join([*good[:7], content + b"\r\n", *good[7:]]))
    told: list[str] = []
    corpus = prepare_corpus(config, tmp_path / "cache", told.append)
    assert corpus.report["steps"]["read"]["documents"] == 121
    assert corpus.report["steps"]["cleaned"]["documents"] == 120
    ((found, count),) = corpus.report["dropped"].items()
    assert (found.startswith(reason), count) == (True, 1)
    assert corpus.report["dropped_first"][found].startswith(f"rows.jsonl:8 {place}".rstrip())
    assert any("120 of 121 documents are usable" in line and found in line for line in told)


def test_numbers_beside_the_text_may_be_of_any_size(tmp_path: Path) -> None:
    row = b'{"id": %s, "score": NaN, "text": "a"}' % (b"9" * 5_000)
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + row + b"\n")
    assert texts_of(tmp_path) == ["a"]


@pytest.mark.parametrize("name", ["bomb.jsonl.gz", "bomb.jsonl.zst"])
def test_a_line_much_longer_than_its_file_costs_no_memory(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "LONGEST_RECORD", 2**20)
    line = b'{"text": "' + b"a" * 64 * 2**20 + b'"}\n{"text": "next"}\n'
    (tmp_path / name).write_bytes(gzip.compress(line, 1) if name.endswith("gz") else zstd(line))
    del line
    tracemalloc.start()
    found = list(read_text(list_files(str(tmp_path)), "text"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [Unusable(f"{name}:1", TOO_LONG), Document(f"{name}:2", "next")]
    assert peak < 8 * 2**20


def test_text_that_is_no_utf_8_is_left_out_piece_by_piece(tmp_path: Path, config: DataConfig) -> None:
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1") * 40)
    with pytest.raises(InputError, match=r"no usable text in 1 documents \(dropped: not Unicode 1 \(first"):
        prepare_corpus(replace(config, path=str(tmp_path / "latin.txt")), tmp_path / "cache")


def test_a_wrong_field_names_those_that_are_there(config: DataConfig, tmp_path: Path) -> None:
    words = r"no text in 'body' 120 \(first: rows.jsonl:1 has the fields text\)"
    with pytest.raises(InputError, match=words):
        prepare_corpus(replace(config, text_field="body"), tmp_path / "cache")


def test_a_parquet_column_may_hold_nulls_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    pool = pa.array([b"good", None, b"caf\xe9", b"end"])
    bad = pa.Array.from_buffers(pa.string(), 4, pool.buffers())
    pq.write_table(pa.table({"text": bad}), tmp_path / "a.PARQUET")
    found = list(read_text(list_files(str(tmp_path)), "text"))
    assert found == [
        Document("a.PARQUET:1", "good"),
        Unusable("a.PARQUET:2", "no text in 'text'", "holds null"),
        Document("a.PARQUET:3", "caf\udce9"),
        Document("a.PARQUET:4", "end"),
    ]


def test_folders_behind_links_are_read_once(tmp_path: Path) -> None:
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    (elsewhere / "deep").mkdir(parents=True)
    (root / "own").mkdir(parents=True)
    for place in (elsewhere / "a.TXT", elsewhere / "deep" / "b.JsonL", root / "own" / "c.txt"):
        place.write_text('{"text": "x"}')
    (root / "a-link").symlink_to(elsewhere)
    (root / "again").symlink_to(elsewhere)
    (root / "to-own").symlink_to(root / "own")
    (elsewhere / "deep" / "back").symlink_to(elsewhere)
    (root / "file.txt").symlink_to(elsewhere / "a.TXT")
    names = [file.name for file in list_files(str(root))]
    assert names == ["a-link/a.TXT", "a-link/deep/b.JsonL", "file.txt", "own/c.txt"]
    assert [Path(file.path).read_text() for file in list_files(str(root / "a-link"))] == ['{"text": "x"}'] * 2


@pytest.mark.parametrize("target", ["nowhere", "itself"])
def test_a_link_to_nothing_is_named(tmp_path: Path, target: str) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "itself").symlink_to(tmp_path / target)
    with pytest.raises(InputError, match="itself"):
        list_files(str(tmp_path))


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.txt").write_text("x")
    scan = os.scandir

    def refuse(path: Path) -> object:
        if path.name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"Permission denied: '.*closed'.*change the permission"):
        list_files(str(tmp_path))


def test_a_smaller_vocabulary_than_asked_for_is_said_and_has_no_spare_ids(
    config: DataConfig, tmp_path: Path
) -> None:
    for _ in range(2):  # made, and then from the cache
        told: list[str] = []
        corpus = prepare_corpus(replace(config, vocab_size=20_000), tmp_path / "cache", told.append)
        assert 300 < corpus.vocab_size < 10_000
        assert any(f"data.vocab_size=20000: the vocabulary is {corpus.vocab_size:,}" in line for line in told)
        assert corpus.tokenizer is not None
        assert (corpus.token_bytes > 0).tolist() == [True] * (corpus.vocab_size - 1) + [False]
        assert corpus.train.max() == corpus.vocab_size - 1 == corpus.tokenizer.separator
    told = []
    prepare_corpus(config, tmp_path / "cache", told.append)
    assert not any("the vocabulary is" in line for line in told)


def test_a_parquet_file_without_the_column_lists_what_it_has(tmp_path: Path) -> None:
    pd.DataFrame({"title": ["a"], "body": ["b"]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match="no column 'text' but title, body"):
        texts_of(tmp_path)


def test_paths_that_hold_no_text(tmp_path: Path, config: DataConfig) -> None:
    with pytest.raises(InputError, match=r"data\.path=FILE_OR_FOLDER"):
        list_files(None)
    with pytest.raises(InputError, match="does not exist"):
        list_files(str(tmp_path / "missing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no file of a known kind"):
        list_files(str(tmp_path / "empty"))
    (tmp_path / "empty" / "nothing.txt").write_text("")
    with pytest.raises(InputError, match="no usable text in 0 documents"):
        prepare_corpus(replace(config, path=str(tmp_path / "empty")), tmp_path / "cache")
    (tmp_path / "empty" / "nothing.txt").write_text("\n \n")
    with pytest.raises(InputError, match="short 1"):
        prepare_corpus(replace(config, path=str(tmp_path / "empty")), tmp_path / "cache")


def test_python_sources_come_from_the_named_distributions() -> None:
    names = [file.name for file in list_python(("optax", "stdlib"))]
    assert names == sorted(names)
    assert "optax/optax/__init__.py" in names
    assert "stdlib/json/decoder.py" in names
    assert not any("site-packages" in name for name in names)


def test_packages_that_are_not_there() -> None:
    with pytest.raises(InputError, match="'no-such-package', which is not installed"):
        list_python(("no-such-package",))
    with pytest.raises(InputError, match=r"holds no \.py file"):
        list_python(())


def test_a_python_corpus(tmp_path: Path) -> None:
    config = DataConfig("python", 512, packages=("optax",), eval_fraction=0.1, min_eval_tokens=1_000)
    corpus = prepare_corpus(config, tmp_path)
    assert corpus.tokenizer is not None
    text = corpus.tokenizer.decode(corpus.train)
    assert text.count("<|endoftext|>") == corpus.n_documents
    assert "def apply_updates(" in text + corpus.tokenizer.decode(corpus.eval)
    steps = [step["documents"] for step in corpus.report["steps"].values()]
    assert steps == sorted(steps, reverse=True)
    assert steps[0] - steps[1] == sum(corpus.report["dropped"].values())
    kept = corpus.n_documents + corpus.report["eval"]["documents"]
    assert kept + corpus.report["evaluation_leaks_dropped"] == steps[-1]


def assert_same(left: Corpus, right: Corpus) -> None:
    assert (left.corpus_id, left.tokenizer_id, left.report) == (
        right.corpus_id,
        right.tokenizer_id,
        right.report,
    )
    np.testing.assert_array_equal(left.train, right.train)
    np.testing.assert_array_equal(left.eval, right.eval)
    np.testing.assert_array_equal(left.token_bytes, right.token_bytes)


def test_counts_agree_with_the_tokens(config: DataConfig, tmp_path: Path) -> None:
    corpus = prepare_corpus(config, tmp_path / "cache")
    assert corpus.train.dtype == np.uint16
    assert corpus.n_train_tokens == len(corpus.train) == corpus.report["train"]["tokens"]
    assert corpus.n_eval_tokens == len(corpus.eval)
    assert corpus.n_train_bytes == corpus.token_bytes[corpus.train].sum()
    assert corpus.n_documents == (corpus.train == corpus.vocab_size - 1).sum()
    assert corpus.entropy_rate is None


def test_a_second_call_reads_the_cache_and_no_text(
    config: DataConfig, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare_corpus(config, tmp_path / "cache")
    monkeypatch.setattr("harness.data.prepare.build_text", None)
    assert_same(first, prepare_corpus(config, tmp_path / "cache"))
    monkeypatch.chdir(folder.parent)
    assert_same(first, prepare_corpus(replace(config, path=folder.name), tmp_path / "cache"))


def test_changed_text_gives_another_corpus(config: DataConfig, folder: Path, tmp_path: Path) -> None:
    first = prepare_corpus(config, tmp_path / "cache")
    (folder / "more.txt").write_text(article(np.random.default_rng(1)))
    more = prepare_corpus(config, tmp_path / "cache")
    (folder / "more.txt").unlink()
    assert_same(first, prepare_corpus(config, tmp_path / "cache"))
    rows = folder / "rows.jsonl"
    rows.write_text(rows.read_text().replace("w1", "v1"))
    edited = prepare_corpus(config, tmp_path / "cache")
    assert len({first.corpus_id, more.corpus_id, edited.corpus_id}) == 3


def test_identifiers_depend_on_content_alone(config: DataConfig, folder: Path, tmp_path: Path) -> None:
    first = prepare_corpus(config, tmp_path / "cache")
    moved = folder.rename(tmp_path / "moved")
    (moved / "rows.jsonl").rename(moved / "z.jsonl")
    second = prepare_corpus(replace(config, path=str(moved)), tmp_path / "another")
    assert_same(first, second)
    larger = prepare_corpus(replace(config, path=str(moved), vocab_size=320), tmp_path / "another")
    assert larger.corpus_id == first.corpus_id
    assert larger.tokenizer_id != first.tokenizer_id


@pytest.mark.parametrize("name", ["train.bin", "eval.bin", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "remove"])
def test_a_damaged_cache_is_rebuilt(config: DataConfig, tmp_path: Path, name: str, damage: str) -> None:
    first = prepare_corpus(config, tmp_path / "cache")
    (path,) = (tmp_path / "cache" / "corpora").glob(f"*/{name}")
    data = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(data[:-2])
    elif damage == "flip":
        path.write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])
    second = prepare_corpus(config, tmp_path / "cache")
    assert path.read_bytes() == data
    assert second.n_train_tokens == first.n_train_tokens


def test_a_damaged_index_is_rebuilt(config: DataConfig, tmp_path: Path) -> None:
    first = prepare_corpus(config, tmp_path / "cache")
    (index,) = (tmp_path / "cache" / "index").iterdir()
    index.write_text(index.read_text()[:40])
    assert_same(first, prepare_corpus(config, tmp_path / "cache"))


def test_two_at_once_end_with_a_good_corpus(config: DataConfig, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with ThreadPoolExecutor(4) as pool:
        corpora = list(pool.map(lambda _: prepare_corpus(config, cache), range(4)))
    for corpus in corpora:
        assert_same(corpora[0], corpus)
    assert len(list((cache / "corpora").iterdir())) == 1
    assert not list(cache.glob(f"{store.PARTIAL}*"))


def test_only_one_process_at_a_time_replaces_folders(config: DataConfig, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        with open(tmp_path / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            waiting = pool.submit(prepare_corpus, config, tmp_path)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=1)
        assert waiting.result().n_documents > 0


def test_what_a_killed_process_left_is_removed_after_a_day(config: DataConfig, tmp_path: Path) -> None:
    old, young = (tmp_path / f"{store.PARTIAL}{name}" for name in ("old", "young"))
    for path in (old, young):
        path.mkdir()
    os.utime(old, (0, 0))
    (tmp_path / f"{store.PARTIAL}gone").symlink_to("published by another process in the meantime")
    prepare_corpus(config, tmp_path)
    assert young.exists()
    assert not old.exists()


def test_a_full_disk_is_one_sentence(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "_write", full)
    with pytest.raises(InputError, match="SCALING_CACHE"):
        prepare_corpus(config, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob(f"{store.PARTIAL}*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "books"}, "unknown: use one of python, text, tokens, mixture, synthetic"),
        ({"eval_fraction": 1.0}, "not between 0 and 1"),
        ({"eval_fraction": 1e-9}, "cannot be split"),
        ({"min_eval_tokens": 10**9}, "expected at least 1,000,000,000"),
        ({"vocab_size": 2**32 + 1}, "outside 257"),
        ({"tokenizer": "bytes"}, "set vocab_size=257"),
    ],
)
def test_settings_that_cannot_work(
    config: DataConfig, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        prepare_corpus(replace(config, **change), tmp_path / "cache")


def test_too_few_tokens_says_how_many_epochs(config: DataConfig, tmp_path: Path) -> None:
    corpus = prepare_corpus(config, tmp_path / "cache")
    check_size(corpus, 4 * corpus.n_train_tokens)
    with pytest.raises(InputError, match=rf"9\.0 times.*{4 * corpus.n_train_tokens:,}"):
        check_size(corpus, 9 * corpus.n_train_tokens)


def test_preparing_needs_neither_jax_nor_hydra() -> None:
    code = "import sys, harness.data.prepare; print({'jax', 'flax', 'hydra'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("file", "suffixes", "key", "hint"),
    [
        ("deep/a.bin", TEXT_SUFFIXES, "data.path", "; deep/a.bin is read by data=tokens"),
        ("a.jsonl.zst", (".bin", ".npy"), "data.path", "; a.jsonl.zst is read by data=text"),
        ("a.docx", TEXT_SUFFIXES, "data.path", ""),
        ("a.bin", TEXT_SUFFIXES, "data.contamination", ""),
    ],
)
def test_files_of_another_kind_name_the_setting_that_reads_them(
    file: str, suffixes: tuple[str, ...], key: str, hint: str, tmp_path: Path
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"x")
    with pytest.raises(InputError) as error:
        list_files(str(tmp_path), suffixes, key)
    said = f"{key}={tmp_path} holds no file of a known kind: expected {', '.join(suffixes)}{hint}"
    assert str(error.value) == said
