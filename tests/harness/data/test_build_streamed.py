"""Text prepared piece by piece: the same documents as in memory, whatever is killed in between."""

from __future__ import annotations

import errno
import fcntl
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.data import build_streamed
from harness.data.build import DataConfig, Prepared, build_text
from harness.data.build_streamed import Sizes
from harness.data.build_streamed import build_streamed as build
from harness.data.corpus import check_size
from harness.data.prepare import prepare_corpus
from harness.data.store import PARTIAL, Store
from harness.data.streaming import folder as folder_module
from harness.data.tasks.mixture import TaskConfig
from harness.data.text.corpora import list_files
from harness.data.tokens.stream import TokenStream
from harness.records.errors import InputError
from tests import ROOT

SMALL = Sizes(characters=20_000, blocks=3, processes=1)


def article(rng: np.random.Generator, n_words: int = 200) -> str:
    return " ".join(f"w{word}" for word in rng.integers(0, 5_000, n_words)) + "\n"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four kinds of files, with a text that comes twice, one edited a little, and records without a text."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("texts")
    articles = [article(rng) for _ in range(300)]
    edited = articles[0].replace(articles[0].split()[90], "edited")
    rows = [{"text": text} for text in articles[:100]] + [
        {"text": edited},
        {"title": "none"},
        {"text": articles[7]},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (folder / "a.jsonl.zst").write_bytes(pa.compress(lines, codec="zstd", asbytes=True))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(lines[:0] + b"\n", 1))
    pq.write_table(pa.table({"text": [*articles[100:200], None]}), folder / "c.parquet")
    (folder / "d.txt").write_text("\n".join(articles[200:]))
    return folder


@pytest.fixture(scope="module")
def config(texts: Path) -> DataConfig:
    return DataConfig("text", 300, path=str(texts), eval_fraction=0.2, min_eval_tokens=1_000)


def streamed(config: DataConfig, work: Path, sizes: Sizes = SMALL) -> Prepared:
    work.mkdir(exist_ok=True)
    return build(config, list_files(config.path), work, lambda _: None, sizes)


def tokens_of(prepared: Prepared) -> bytes:
    """All tokens to train on, from the files that would move into the cache."""
    assert isinstance(prepared.train, TokenStream)
    return b"".join(prepared.kept[shard.name].read_bytes() for shard in prepared.train.shards)


def contents(prepared: Prepared) -> tuple[object, ...]:
    assert prepared.tokenizer is not None
    return (
        prepared.corpus_id,
        prepared.tokenizer.tokenizer_id,
        tokens_of(prepared),
        prepared.eval.tobytes(),
        json.dumps(prepared.report, sort_keys=True),
    )


@pytest.fixture(scope="module")
def whole(config: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    return contents(streamed(config, tmp_path_factory.mktemp("whole")))


def documents(tokens: np.ndarray, separator: int) -> list[bytes]:
    return sorted(part.tobytes() for part in np.split(tokens, np.flatnonzero(tokens == separator) + 1))


def test_the_documents_are_those_of_the_way_in_memory(config: DataConfig, tmp_path: Path) -> None:
    """Same tokenizer and evaluation split; the documents to train on are in the order of the files."""
    found = streamed(config, tmp_path / "work")
    expected = build_text(config, list_files(config.path), lambda _: None)
    assert found.tokenizer is not None
    assert expected.tokenizer is not None
    assert found.tokenizer.tokenizer_id == expected.tokenizer.tokenizer_id
    assert found.eval.tolist() == expected.eval.tolist()
    separator = found.tokenizer.separator
    assert separator is not None
    train = np.frombuffer(tokens_of(found), found.tokenizer.dtype)
    assert isinstance(expected.train, np.ndarray)
    assert documents(train, separator) == documents(expected.train, separator)
    assert (found.n_train_bytes, found.n_documents) == (expected.n_train_bytes, expected.n_documents)
    ways = [prepared.report.pop("deduplication") for prepared in (found, expected)]
    assert ways == ["MinHash with banding", "exact"]
    assert found.report == expected.report
    steps = found.report["steps"]
    assert steps["without near duplicates"]["documents"] < steps["cleaned"]["documents"]
    assert len(found.kept) > 1


def test_the_number_of_processes_changes_nothing(
    config: DataConfig, tmp_path: Path, whole: tuple[object, ...]
) -> None:
    assert contents(streamed(config, tmp_path / "two", replace(SMALL, processes=2))) == whole


class Killed(BaseException):
    """Stands for the end of the process."""


@contextmanager
def killed_after(n_files: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """End the preparation in the middle of writing a file, after so many were finished."""
    left, original = [n_files], Path.replace

    def replace_or_end(path: Path, target: Path) -> Path:
        if left[0] == 0:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            raise Killed
        left[0] -= 1
        return original(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", replace_or_end)
        yield


def test_a_preparation_killed_at_any_file_goes_on_and_gives_the_same_bytes(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: tuple[object, ...]
) -> None:
    """Every few files a kill, in one and the same folder, until it comes to its end."""
    kills = 0
    for _ in range(100):
        try:
            with killed_after(3, monkeypatch):
                found = streamed(config, tmp_path / "work")
            break
        except Killed:
            kills += 1
    assert kills > 8
    assert contents(found) == whole


def test_what_is_finished_is_not_made_again(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: tuple[object, ...]
) -> None:
    streamed(config, tmp_path / "work")
    # A file of tokens has moved into the cache when the process was killed.
    (tmp_path / "work" / "train-00001.bin").unlink()
    made: list[str] = []
    original = folder_module.replacing

    @contextmanager
    def noted(path: Path) -> Iterator[Path]:
        made.append(path.name)
        with original(path) as temporary:
            yield temporary

    for name in ("folder", "encode", "curate", "blocks"):
        monkeypatch.setattr(f"harness.data.streaming.{name}.replacing", noted, raising=False)
    assert contents(streamed(config, tmp_path / "work")) == whole
    assert made == ["train-00001.bin", "train-00001.npz"]


PROCESS = """
import sys
from pathlib import Path
from harness.data.build import DataConfig
from harness.data.build_streamed import Sizes, build_streamed
from harness.data.text.corpora import list_files

if __name__ == "__main__":
    config = DataConfig("text", 300, path=sys.argv[1], eval_fraction=0.2)
    build_streamed(config, list_files(config.path), Path(sys.argv[2]), print, Sizes(2000, 3, processes=2))
"""


def test_after_a_kill_no_process_is_left_and_the_bytes_are_the_same(
    texts: Path, config: DataConfig, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "one.py").write_text(PROCESS)
    command = [sys.executable, str(tmp_path / "one.py"), str(texts), str(work)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not list(work.glob("block-*.npz")) and time.monotonic() < until:
        time.sleep(0.01)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(work.glob("block-*.npz"))
    assert not (work / "selection.npz").exists()
    assert psutil.wait_procs(workers, timeout=20)[1] == []
    sizes = Sizes(2000, 3, processes=1)
    assert contents(streamed(config, work, sizes)) == contents(streamed(config, tmp_path / "other", sizes))


def test_evaluation_text_that_training_text_contains_is_dropped(tmp_path: Path) -> None:
    """Whole evaluation documents stand inside longer ones, where MinHash does not see them."""
    rng = np.random.default_rng(1)
    short = [article(rng, 60) for _ in range(60)]
    long = [article(rng, 300) + text + article(rng, 300) for text in short]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in short + long))
    config = DataConfig("text", 300, path=str(tmp_path / "a.jsonl"), eval_fraction=0.3)
    found = streamed(config, tmp_path / "work")
    expected = build_text(config, list_files(config.path), lambda _: None)
    assert found.report["steps"]["without near duplicates"]["documents"] == 120
    assert found.report["evaluation_leaks_dropped"] > 5
    assert found.report["eval"]["documents"] > 5
    # In memory such a document is dropped as a near duplicate before the split.
    assert expected.report["steps"]["without near duplicates"]["documents"] == 60


def test_text_beyond_the_largest_evaluation_split_is_trained_on(config: DataConfig, tmp_path: Path) -> None:
    most = streamed(config, tmp_path / "all").report
    found = streamed(config, tmp_path / "few", replace(SMALL, most_eval_bytes=20_000)).report
    assert 15_000 < found["eval"]["bytes"] <= 20_000
    assert found["train"]["bytes"] + found["eval"]["bytes"] == most["train"]["bytes"] + most["eval"]["bytes"]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take any text for one that does not fit into memory."""
    monkeypatch.setattr(build_streamed, "LARGEST_IN_MEMORY", 1_000)
    monkeypatch.setattr(build_streamed, "n_processes", lambda: 1)


@pytest.mark.usefixtures("large")
def test_a_large_corpus_is_mapped_from_the_cache(config: DataConfig, tmp_path: Path) -> None:
    told: list[str] = []
    corpus = prepare_corpus(config, tmp_path / "cache", told.append)
    assert isinstance(corpus.train, TokenStream)
    assert any("streaming about" in line and "near duplicates by MinHash" in line for line in told)
    assert corpus.tokenizer is not None
    assert corpus.token_bytes is not None
    first = corpus.tokenizer.decode(corpus.train.windows(np.zeros(1, np.int64), 200)[0])
    assert first.split()[0] in (Path(config.path or "") / "d.txt").read_text() or first.startswith("w")
    assert corpus.n_train_bytes == int(
        corpus.token_bytes[corpus.train.windows(np.zeros(1, np.int64), len(corpus.train))].sum()
    )
    assert 0 < corpus.unigram_nats < np.log(300)
    check_size(corpus, corpus.n_train_tokens)
    assert not list((tmp_path / "cache").glob(f"{PARTIAL}*"))
    told.clear()
    again = prepare_corpus(config, tmp_path / "cache", told.append)
    assert (again.corpus_id, told) == (corpus.corpus_id, [])


@pytest.mark.usefixtures("large")
def test_a_full_disk_is_said_and_the_work_stays(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("harness.data.streaming.encode.write_arrays", full)
        with pytest.raises(InputError, match=r"^the disk of .* is full: free space and type the same"):
            prepare_corpus(config, tmp_path / "cache")
    (work,) = (path for path in (tmp_path / "cache").glob(f"{PARTIAL}*") if path.is_dir())
    assert list(work.glob("block-*.npz"))
    prepare_corpus(config, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob(f"{PARTIAL}*"))


@pytest.mark.usefixtures("large")
def test_tasks_are_not_mixed_into_a_large_corpus(config: DataConfig, tmp_path: Path) -> None:
    tasks = (TaskConfig("copy", 0.1, (4,)),)
    with pytest.raises(InputError, match=r"^data.path has about 0 MB of text, and data.tasks are mixed into"):
        prepare_corpus(replace(config, tasks=tasks), tmp_path / "cache")


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "a.jsonl",
            b'{"title": "none"}\n' * 100,
            "no usable text in 100 documents .dropped: no text in",
        ),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfd" * 300, r"a.jsonl.zst cannot be read .*: expected a whole file"),
        ("a.txt", b"one text of a few words and then the same again " * 40, "1 documents cannot be split"),
    ],
)
def test_bad_text_is_one_sentence(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        prepare_corpus(DataConfig("text", 300, path=str(tmp_path / name)), tmp_path / "cache")


def test_a_second_process_waits_for_the_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.work("key") as work:
        (work / "file").touch()
        held = (tmp_path / f"{PARTIAL}key.lock").open()
        with pytest.raises(BlockingIOError):
            folder_lock(held.fileno())
        held.close()
    with store.work("key") as work:
        assert not list(work.iterdir())


def folder_lock(descriptor: int) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
