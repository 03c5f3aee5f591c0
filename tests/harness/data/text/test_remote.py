"""Text and tokens behind addresses: in memory, in an archive, and in an object store on this machine."""

from __future__ import annotations

import gzip
import json
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.data import build_streamed
from harness.data.prepare import Corpus, DataConfig, prepare_corpus
from harness.data.store import PARTIAL
from harness.data.text.corpora import list_files
from harness.data.text.remote import copy
from harness.data.tokens.stream import TokenStream
from harness.records.errors import InputError

TEXT = DataConfig("text", 300, eval_fraction=0.2, min_eval_tokens=1_000)
TOKENS = DataConfig("tokens", 1_000, tokenizer="none", eval_fraction=0.1, min_eval_tokens=100)


def article(rng: np.random.Generator) -> str:
    return " ".join(f"w{word}" for word in rng.integers(0, 5_000, 200)) + "\n"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of each kind, one of them in a folder below, and one that is no text."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("texts")
    lines = ["".join(json.dumps({"text": article(rng)}) + "\n" for _ in range(20)).encode() for _ in range(3)]
    (folder / "below").mkdir()
    (folder / "a.jsonl").write_bytes(lines[0])
    (folder / "below" / "b.jsonl.gz").write_bytes(gzip.compress(lines[1], 1))
    (folder / "c.jsonl.zst").write_bytes(pa.compress(lines[2], codec="zstd", asbytes=True))
    pq.write_table(pa.table({"text": [article(rng) for _ in range(20)]}), folder / "d.parquet")
    (folder / "e.txt").write_text("\n".join(article(rng) for _ in range(60)))
    (folder / "image.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bare tokens, tokens with ends of documents beside them, and token lists in a column."""
    rng = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("tokens")
    rng.integers(0, 1_000, 5_000).astype("<u2").tofile(folder / "a.bin")
    rng.integers(0, 1_000, 3_000).astype("<u2").tofile(folder / "b.ds")
    np.arange(100, 3_001, 100).astype("<u8").tofile(folder / "b.ds.index")
    lists = [rng.integers(0, 1_000, 50).tolist() for _ in range(40)]
    pq.write_table(pa.table({"ids": pa.array(lists, pa.list_(pa.int32()))}), folder / "c.parquet")
    return folder


@pytest.fixture
def memory(texts: Path, tokens: Path) -> Iterator[str]:
    """The same files in memory."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    for folder in (texts, tokens):
        name = "texts" if folder == texts else "tokens"
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                system.pipe(f"/{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    yield "memory://"
    system.store.clear()


def same_text(address: str, texts: Path, cache: Path) -> Corpus:
    """The corpus at an address, which must be that of the folder."""
    found = prepare_corpus(replace(TEXT, path=address), cache)
    expected = prepare_corpus(replace(TEXT, path=str(texts)), cache)
    assert (found.corpus_id, found.report) == (expected.corpus_id, expected.report)
    return found


def same_tokens(address: str, tokens: Path, cache: Path) -> None:
    """Tokens at an address are copied into the cache, and are those of the folder."""
    told: list[str] = []
    found = prepare_corpus(replace(TOKENS, path=address), cache, told.append)
    expected = prepare_corpus(replace(TOKENS, path=str(tokens)), cache)
    assert any(line.startswith("copying 4 file(s) (0 MB) into the cache, once") for line in told)
    assert (found.corpus_id, len(found.train)) == (expected.corpus_id, len(expected.train))
    assert isinstance(found.train, TokenStream)
    assert isinstance(expected.train, TokenStream)
    start = np.zeros(1, np.int64)
    assert (found.train.windows(start, 500) == expected.train.windows(start, 500)).all()
    assert all(Path(shard.path).is_relative_to(cache) for shard in found.train.shards)
    assert not list(cache.glob(f"{PARTIAL}*"))


def test_text_in_memory_is_read_as_from_a_folder(memory: str, texts: Path, tmp_path: Path) -> None:
    same_text(f"{memory}texts", texts, tmp_path)
    names = [file.name for file in list_files(f"{memory}texts")]
    assert sorted(names) == ["a.jsonl", "below/b.jsonl.gz", "c.jsonl.zst", "d.parquet", "e.txt"]


def test_a_single_file_and_a_pattern_name_files(memory: str) -> None:
    assert [(f.name, f.path) for f in list_files(f"{memory}texts/a.jsonl")] == [
        ("a.jsonl", "memory:///texts/a.jsonl")
    ]
    assert [file.name for file in list_files(f"{memory}texts/*.jsonl*")] == ["a.jsonl", "c.jsonl.zst"]


@pytest.mark.usefixtures("memory")
def test_large_text_is_streamed_from_its_address(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_streamed, "LARGEST_IN_MEMORY", 1_000)
    monkeypatch.setattr(build_streamed, "n_processes", lambda: 1)
    assert isinstance(same_text("memory://texts", texts, tmp_path).train, TokenStream)


def test_a_changed_file_is_another_corpus(memory: str, tmp_path: Path) -> None:
    config = replace(TEXT, path=f"{memory}texts/e.txt")
    first = prepare_corpus(config, tmp_path)
    told: list[str] = []
    assert prepare_corpus(config, tmp_path, told.append).corpus_id == first.corpus_id
    assert told == []
    system = fsspec.filesystem("memory")
    data = system.cat("/texts/e.txt")
    system.pipe("/texts/e.txt", data.replace(b"w1", b"w2"))
    assert prepare_corpus(config, tmp_path, told.append).corpus_id != first.corpus_id


def test_an_archive_is_read_without_unpacking(texts: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as archive:
        for path in sorted(texts.rglob("*.*")):
            archive.write(path, path.relative_to(texts))
    same_text(f"zip://::{tmp_path / 'texts.zip'}", texts, tmp_path / "cache")
    assert len(list_files(f"zip://*.txt::{tmp_path / 'texts.zip'}")) == 1


class Quiet(SimpleHTTPRequestHandler):
    """A handler that says nothing of its requests."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_web_server_is_read(texts: Path, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(texts))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        same_text(f"{address}/e.txt", texts / "e.txt", tmp_path)
        with pytest.raises(InputError, match=r"/missing.txt does not exist or does not answer: give"):
            list_files(f"{address}/missing.txt")
        server.shutdown()


def test_tokens_in_memory_are_copied_into_the_cache(memory: str, tokens: Path, tmp_path: Path) -> None:
    same_tokens(f"{memory}tokens", tokens, tmp_path)


def test_a_copy_that_is_whole_is_not_made_again(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []

    def failing(path: str, target: str, _: object) -> None:
        copied.append(Path(target).name)
        if len(copied) == 2:
            raise KeyboardInterrupt
        copy(path, target)

    config = replace(TOKENS, path=f"{memory}tokens")
    monkeypatch.setattr("harness.data.build_tokens.copy", failing)
    with pytest.raises(KeyboardInterrupt):
        prepare_corpus(config, tmp_path)
    prepare_corpus(config, tmp_path)
    assert copied == ["a.bin", "b.ds", "b.ds", "b.ds.index", "c.parquet"]


def test_addresses_that_lead_nowhere_are_one_sentence(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^data.path=memory://nothing does not exist or does not answer"):
        list_files(f"{memory}nothing")
    with pytest.raises(InputError, match=r"^data.path=memory://tokens/\*.npy holds no file of a known kind"):
        list_files(f"{memory}tokens/*.npy")
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(InputError, match=r"that is not installed \(Please install gcsfs .*\); type uv pip"):
        list_files("gs://bucket/x")
    with pytest.raises(InputError, match=r"^data.path=nope://x cannot be read .*Protocol not known: nope"):
        list_files("nope://x")
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match=r"^data.path=s3://b/x needs a package .*type uv sync --extra s3"):
        list_files("s3://b/x")


def test_a_damaged_file_is_named_by_its_address(memory: str, tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe("/texts/c.jsonl.zst", b"\x28\xb5\x2f\xfd" * 50)
    with pytest.raises(InputError, match=r"^memory:///texts/c.jsonl.zst cannot be read"):
        prepare_corpus(replace(TEXT, path=f"{memory}texts/c.jsonl.zst"), tmp_path)


@pytest.fixture(scope="module")
def object_store(texts: Path, tokens: Path) -> Iterator[str]:
    """The address of a bucket in an object store on this machine."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name, value in {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret"}.items():
            patched.setenv(f"AWS_{name}", value)
        patched.setenv("AWS_DEFAULT_REGION", "us-east-1")
        system = fsspec.filesystem("s3", skip_instance_cache=True)
        system.mkdir("bucket")
        system.put(str(texts), "bucket/texts", recursive=True)
        system.put(str(tokens), "bucket/tokens", recursive=True)
        fsspec.filesystem("s3").clear_instance_cache()
        yield "s3://bucket"
    server.stop()


def test_text_in_an_object_store(object_store: str, texts: Path, tmp_path: Path) -> None:
    same_text(f"{object_store}/texts", texts, tmp_path)


def test_tokens_in_an_object_store(object_store: str, tokens: Path, tmp_path: Path) -> None:
    same_tokens(f"{object_store}/tokens", tokens, tmp_path)


def test_an_object_store_without_credentials_is_one_sentence(
    object_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.delenv(f"AWS_{name}")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(InputError, match=r"was refused for want of credentials .*; set AWS_ACCESS"):
        list_files(f"{object_store}/texts")
