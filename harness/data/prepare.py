"""Corpora of tokens from a description of the data, prepared once and kept in a cache."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.build import DataConfig, Prepared, build_synthetic, build_text, n_tags, tokenizer_of
from harness.data.build_streamed import STREAMING_VERSION, build_streamed, is_large
from harness.data.build_tokens import build_tokens, largest_id, list_tokens
from harness.data.corpus import Corpus
from harness.data.prepare_mixture import learned_tokenizer, mix, source_config
from harness.data.sources import Source, check_sources
from harness.data.store import Store
from harness.data.tasks.mixture import check_tasks
from harness.data.text.corpora import SourceFile, list_files, list_python
from harness.data.text.file_tokenizer import AnyTokenizer, FileTokenizer, read_tokenizer
from harness.data.text.remote import is_remote
from harness.data.text.tokenizer import KINDS, Tokenizer, check_vocabulary, token_dtype
from harness.data.tokens.shards import Shard
from harness.data.tokens.stream import TokenStream
from harness.data.unigram import unigram_loss
from harness.records.errors import InputError

# Part of every cache key. Raise it when the same inputs would give other tokens or another description.
PREPARATION_VERSION = 2
# The same for task documents; corpora without tasks keep their keys when it is raised.
TASK_VERSION = 1
# Fields that decide the tokens, by source, besides name and vocab_size: with these they form the cache key.
FIELDS = {
    "python": ("tokenizer", "eval_fraction", "packages"),
    "text": ("tokenizer", "eval_fraction", "path", "text_field"),
    "tokens": ("tokenizer", "eval_fraction", "path", "eval_path", "token_field", "separator"),
    "mixture": ("tokenizer", "eval_fraction", "sources"),
    "synthetic": ("synthetic_tokens", "min_eval_tokens", "markov_order", "branching", "zipf", "source_seed"),
}
TRAIN, EVAL, TOKENIZER = "train.bin", "eval.bin", "tokenizer.json"
FILE_TOKENIZER, STRETCHES = "file_tokenizer.json", "stretches.bin"


def prepare_corpus(
    config: DataConfig, cache_dir: Path, progress: Callable[[str], None] = lambda _: None
) -> Corpus:
    """Return the corpus that `config` describes, from the cache if its inputs have not changed.

    Args:
        config: description of the corpus.
        cache_dir: folder of the cache; several processes may share it.
        progress: receives one line before every slow step.

    Raises:
        InputError: the configuration or the text cannot be used.
    """
    if config.name == "mixture":
        return _prepare_mixture(config, cache_dir, progress)
    config, files, held = _check_and_list(config)
    # What is typed is for messages. The same files have the same key, wherever the command was typed.
    config = config.located()
    store, key = Store(cache_dir), _key(config, files + held)
    found = _find(store, key)
    if found is None:
        progress(f"preparing the {config.name} corpus, once (kept in {cache_dir})")
        # What takes long goes on after a kill.
        long = is_large(config, files) or (
            config.name == "tokens" and any(is_remote(f.path) for f in files + held)
        )
        with store.work(key) if long else store.scratch() as scratch:
            # Another process may have finished it while this one waited.
            if _find(store, key) is None:
                prepared = _build(config, files, held, scratch, progress)
                _store(store, key, config.vocab_size, prepared)
        found = _find(store, key)
    if found is None:
        raise RuntimeError(f"the corpus just written to {cache_dir} cannot be read back")
    corpus = _load(config.vocab_size, *found)
    if corpus.vocab_size < config.vocab_size:
        progress(
            f"the text holds {corpus.vocab_size:,} different tokens, fewer than "
            f"data.vocab_size={config.vocab_size}: the vocabulary is {corpus.vocab_size:,}"
        )
    _check_eval_size(config, corpus)
    return corpus


def _find(store: Store, key: str) -> tuple[Path, dict[str, Any]] | None:
    """Return folder and description of a cached corpus; None if there is none, or its tokens are not there.

    Earlier versions stored paths of shards as typed, which hold in one folder alone.
    """
    found = store.find(key)
    if found is None:
        return None
    folder, meta = found
    # A path without a folder is that of a file in the cache.
    return found if all((folder / each["path"]).is_file() for each in meta.get("shards", ())) else None


def _prepare_mixture(config: DataConfig, cache_dir: Path, progress: Callable[[str], None]) -> Corpus:
    """Prepare each source as a corpus of its own, with one tokenizer, and mix them."""
    check_sources(config.sources, config.tokenizer)
    store, corpora = Store(cache_dir), []
    if config.tokenizer == "bpe":
        check_vocabulary("bpe", config.vocab_size)
        listed = []
        for each in config.sources:
            with _said_of(each):
                listed.append(_check_and_list(source_config(config, each))[1])
        config = replace(config, tokenizer=learned_tokenizer(config, listed, store, progress))
    for each in config.sources:
        with _said_of(each):
            own = partial(_of_source, progress, each.name)
            corpora.append(prepare_corpus(source_config(config, each), cache_dir, own))
    return mix(config.sources, corpora, store)


def _of_source(progress: Callable[[str], None], name: str, text: str) -> None:
    """Pass on a line about the preparation of a source."""
    progress(f"{name}: {text}")


@contextmanager
def _said_of(source: Source) -> Iterator[None]:
    """Name the source in an InputError that its preparation raises."""
    try:
        yield
    except InputError as error:
        raise InputError(f"data.sources.{source.name}: {error}") from error


def _check_and_list(config: DataConfig) -> tuple[DataConfig, list[SourceFile], list[SourceFile]]:
    """Validate the configuration, list its files and those for evaluation, and make paths absolute."""
    if config.name not in FIELDS:
        raise InputError(f"data.name={config.name} is unknown: use one of {', '.join(FIELDS)}")
    if not 0 < config.eval_fraction < 1:
        raise InputError(f"data.eval_fraction={config.eval_fraction} is not between 0 and 1: try 0.03")
    if config.name == "synthetic":
        if config.tasks:
            raise InputError(
                "data.tasks are mixed into text and data.name=synthetic has none; use data=text_and_tasks"
            )
        return config, [], []
    check_tasks(config.tasks, config.tokenizer)
    if config.name == "tokens":
        return _check_tokens(config)
    if config.tokenizer in KINDS:
        check_vocabulary(config.tokenizer, config.vocab_size, n_tags(config))
    else:
        config = replace(config, vocab_size=tokenizer_of(config).vocab_size)
    if config.name == "python":
        return config, list(list_python(tuple(config.packages))), []
    files = list_files(config.path)
    return replace(config, path=_absolute(config.path)), files, []


def _check_tokens(config: DataConfig) -> tuple[DataConfig, list[SourceFile], list[SourceFile]]:
    """Validate the configuration of a corpus of tokens, and list its files and those for evaluation."""
    if config.tokenizer in KINDS:
        raise InputError(
            f"data.tokenizer={config.tokenizer} makes tokens and data.name=tokens has them; name the "
            "tokenizer.json that made them, or type data.tokenizer=none"
        )
    files, held = list_tokens(config)
    size = 0 if config.tokenizer == "none" else tokenizer_of(config).vocab_size
    if config.vocab_size < max(size, 1):
        if not size and is_remote(files[0].path):
            raise InputError(
                "data.vocab_size was expected for tokens of an unknown tokenizer; type that of the tokenizer"
            )
        if not size:
            largest = largest_id(config, files)
            raise InputError(
                f"data.vocab_size was expected for tokens of an unknown tokenizer; a sample has ids up to "
                f"{largest}, so type that of the tokenizer, at least data.vocab_size={largest + 1}"
            )
        if config.vocab_size:
            raise InputError(
                f"data.vocab_size={config.vocab_size} is below the {size} ids of {config.tokenizer}; leave "
                "it out"
            )
    config = replace(config, vocab_size=max(config.vocab_size, size), path=_absolute(config.path))
    if config.separator is not None and not 0 <= config.separator < config.vocab_size:
        raise InputError(
            f"data.separator={config.separator} is no id of the vocabulary, expected 0 to "
            f"{config.vocab_size - 1}"
        )
    return replace(config, eval_path=config.eval_path and _absolute(config.eval_path)), files, held


def _absolute(path: str | None) -> str:
    """Return the path from the root of this machine; an address stays as it is."""
    if path is not None and is_remote(path):
        return path.rstrip("/")
    return str(Path(path or "").expanduser().resolve())


def _key(config: DataConfig, files: list[SourceFile]) -> str:
    """Return the cache key: a hash of everything that decides the tokens, without opening a source file."""
    # Modification times instead of content: a warm start would otherwise read all the text.
    listing = [(file.name, file.size, file.mtime_ns) for file in files]
    fields = [getattr(config, field) for field in ("name", "vocab_size", *FIELDS[config.name])]
    # Other versions of these libraries may learn other merges or draw other numbers.
    facts = [PREPARATION_VERSION, version("tokenizers"), version("numpy"), fields, listing]
    if config.name != "synthetic" and config.tokenizer not in (*KINDS, "none"):
        facts += [config.separator, tokenizer_of(config).tokenizer_id]
    if is_large(config, files):
        facts += [STREAMING_VERSION]
    if config.tasks:
        facts += [TASK_VERSION, [asdict(task) for task in config.tasks]]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:20]


def _build(
    config: DataConfig,
    files: list[SourceFile],
    held: list[SourceFile],
    scratch: Path,
    progress: Callable[[str], None],
) -> Prepared:
    """Prepare the corpus in memory or piece by piece, or map it."""
    if config.name == "tokens":
        tokenizer = None if config.tokenizer == "none" else tokenizer_of(config)
        return build_tokens(config, files, held, tokenizer, scratch, progress)
    if config.name == "synthetic":
        return build_synthetic(config, progress)
    if is_large(config, files):
        return build_streamed(config, files, scratch, progress)
    return build_text(config, files, progress)


def _check_eval_size(config: DataConfig, corpus: Corpus) -> None:
    """Raise InputError if the evaluation split is smaller than the evaluations that the sweep asks for."""
    if corpus.n_eval_tokens < config.min_eval_tokens:
        raise InputError(
            f"the evaluation split has {corpus.n_eval_tokens:,} tokens, expected at least "
            f"{config.min_eval_tokens:,}: raise data.eval_fraction={config.eval_fraction}, score fewer "
            "tokens (data.eval_tokens) or give more text"
        )


def _store(store: Store, key: str, asked: int, prepared: Prepared) -> None:
    """Add a corpus and its description to the cache; `asked` is the vocabulary that was asked for."""
    tokenizer, train = prepared.tokenizer, prepared.train
    # Text may hold fewer tokens than were asked for; files of tokens may leave room above their tokenizer.
    vocab_size = tokenizer.vocab_size if isinstance(tokenizer, Tokenizer) else asked
    files: dict[str, bytes | np.ndarray | Path] = {
        EVAL: prepared.eval.astype(token_dtype(vocab_size)),
        **prepared.kept,
    }
    files |= {STRETCHES: train.stretches} if isinstance(train, TokenStream) else {TRAIN: train}
    if tokenizer:
        name = FILE_TOKENIZER if isinstance(tokenizer, FileTokenizer) else TOKENIZER
        files[name] = tokenizer.definition.encode()
    without = "unknown" if isinstance(train, TokenStream) else "symbols"
    tokenizer_id = tokenizer.tokenizer_id if tokenizer else without
    counted = prepared.sample.ravel() if prepared.sample is not None else train
    assert not isinstance(counted, TokenStream)
    meta = {
        "corpus_id": prepared.corpus_id,
        "tokenizer_id": tokenizer_id,
        "vocab_size": vocab_size,
        "n_train_bytes": prepared.n_train_bytes,
        "n_documents": prepared.n_documents,
        "entropy_rate": prepared.entropy_rate,
        "unigram_nats": unigram_loss(counted, prepared.eval, vocab_size),
        "report": prepared.report,
    }
    if isinstance(train, TokenStream):
        meta["shards"] = [asdict(shard) for shard in train.shards]
    if isinstance(tokenizer, FileTokenizer):
        meta["separator"] = tokenizer.separator
    name = f"{prepared.corpus_id}-{tokenizer_id}"
    if prepared.kept:
        # The same tokens may also be mapped where they lie: a folder that has them is another one.
        name += f"-{zlib.crc32(' '.join(sorted(prepared.kept)).encode()):08x}"
    store.add(key, name, files, meta)


def _load(asked: int, folder: Path, meta: dict[str, Any]) -> Corpus:
    """Map a cached corpus from disk; `asked` is the vocabulary that was asked for."""
    # Smaller if the text held fewer tokens. Corpora of earlier versions lack the key; their runs keep ids.
    meta = {"vocab_size": asked} | meta
    vocab_size = meta["vocab_size"]
    shards, separator = meta.pop("shards", None), meta.pop("separator", None)
    # Mapped, so that all workers of a machine share one copy in memory.
    dtype = token_dtype(vocab_size)
    held_out = np.memmap(folder / EVAL, dtype, "r")
    train: np.ndarray | TokenStream
    if shards is None:
        train = np.memmap(folder / TRAIN, dtype, "r")
    else:
        # A path without a folder is that of a file in the cache.
        found = tuple(Shard(**(each | {"path": str(folder / each["path"])})) for each in shards)
        train = TokenStream(found, np.fromfile(folder / STRETCHES, np.int64).reshape(-1, 3), vocab_size)
    tokenizer = _tokenizer(folder, vocab_size, separator)
    token_bytes = None if shards is not None else np.ones(vocab_size, np.int64)
    if tokenizer:
        token_bytes = np.resize(0, vocab_size).astype(np.int64)
        token_bytes[: tokenizer.vocab_size] = tokenizer.token_bytes
    return Corpus(
        **meta,
        train=train,
        eval=held_out,
        token_bytes=token_bytes,
        n_train_tokens=len(train),
        n_eval_tokens=len(held_out),
        tokenizer=tokenizer,
    )


def _tokenizer(folder: Path, vocab_size: int, separator: int | None) -> AnyTokenizer | None:
    """Return the tokenizer of a cached corpus; None if it has none."""
    if (folder / TOKENIZER).exists():
        return Tokenizer(vocab_size, (folder / TOKENIZER).read_text())
    if not (folder / FILE_TOKENIZER).exists():
        return None
    return read_tokenizer(str(folder / FILE_TOKENIZER), separator)
