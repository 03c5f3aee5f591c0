"""Corpora in memory: read, clean, deduplicate, split and tokenise text, or generate synthetic symbols."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt

from harness.data.sources import Source
from harness.data.synthetic import make_source, n_chains
from harness.data.tasks.contamination import contamination
from harness.data.tasks.documents import TASKS, Tokens
from harness.data.tasks.mixture import TaskConfig, document_lengths, mix_tasks
from harness.data.text.clean import PYTHON_LIMITS, TEXT_LIMITS, clean
from harness.data.text.corpora import PYTHON_PACKAGES, SourceFile
from harness.data.text.dedup import Split, drop_exact, drop_near, shingle, split_documents
from harness.data.text.document import Document, Dropped, Tally, n_bytes
from harness.data.text.encode import encode_documents
from harness.data.text.file_tokenizer import AnyTokenizer, FileTokenizer, read_tokenizer
from harness.data.text.read import read_python, read_text
from harness.data.text.remote import from_root
from harness.data.text.tokenizer import KINDS, Tokenizer, train_tokenizer
from harness.data.tokens.stream import TokenStream
from harness.records.errors import InputError

# Random streams of the synthetic source; stream 0 draws its tables.
TRAIN_STREAM, EVAL_STREAM = 1, 2
METHOD = "exact"  # of near duplicates: every run of words is compared


@dataclass(frozen=True)
class DataConfig:
    """Source of a corpus, and how its text becomes tokens.

    Attributes:
        name: `python`, `text`, `tokens`, `mixture` or `synthetic`.
        vocab_size: number of token ids, the document separator included.
        tokenizer: `bpe`, `bytes`, or the path of a tokenizer.json; `none` for tokens of unknown origin.
        eval_fraction: share of documents that are held out for evaluation.
        min_eval_tokens: tokens that the evaluation split must have; a synthetic one has just as many.
        packages: distributions whose sources are read (name=python).
        path: file or folder of text or tokens (name=text, tokens).
        eval_path: file or folder that is held out (name=tokens); None takes names of files, or a share.
        token_field: column of token lists in parquet and arrow files; None finds it (name=tokens).
        separator: id between documents; None takes that of the tokenizer (name=tokens, text).
        text_field: field of JSON lines, or column of parquet files, that holds the text (name=text).
        synthetic_tokens: symbols of the training split (name=synthetic, as all that follow but the last).
        markov_order: symbols of context on which the next one depends.
        branching: successors drawn for every context.
        zipf: exponent of the symbol frequencies.
        source_seed: seed of the source's tables and symbols.
        tasks: task documents that are mixed into the training split of text.
        sources: what is mixed (name=mixture).
    """

    name: str
    vocab_size: int
    tokenizer: str = "bpe"
    eval_fraction: float = 0.04
    min_eval_tokens: int = 1_100_000
    packages: tuple[str, ...] = PYTHON_PACKAGES
    path: str | None = None
    text_field: str = "text"
    eval_path: str | None = None
    token_field: str | None = None
    separator: int | None = None
    synthetic_tokens: int = 33_554_432
    markov_order: int = 2
    branching: int = 4
    zipf: float = 1.0
    source_seed: int = 0
    tasks: tuple[TaskConfig, ...] = ()
    sources: tuple[Source, ...] = ()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DataConfig:
        """Return the configuration from its `dataclasses.asdict`, even if JSON turned tuples into lists."""
        tasks = tuple(TaskConfig.from_dict(task) for task in values["tasks"])
        sources = tuple(Source.from_dict(source) for source in values.get("sources", ()))
        packages = tuple(values["packages"])
        return cls(**(values | {"packages": packages, "tasks": tasks, "sources": sources}))

    def located(self) -> DataConfig:
        """Return the description with paths from the root, for workers that start elsewhere."""
        is_file = self.tokenizer not in (*KINDS, "none")
        return replace(
            self,
            tokenizer=from_root(self.tokenizer) or "" if is_file else self.tokenizer,
            path=from_root(self.path),
            eval_path=from_root(self.eval_path),
            sources=tuple(each.located() for each in self.sources),
        )


@dataclass(frozen=True)
class Prepared:
    """A corpus in memory.

    Attributes:
        corpus_id: hash of its content.
        train: tokens to train on.
        eval: tokens to score.
        tokenizer: None for synthetic symbols and for tokens of unknown origin.
        n_train_bytes: bytes of the training text, task documents left out; None if they were not counted.
        n_documents: documents of the training text, task documents left out; None if unknown.
        entropy_rate: exact entropy rate in nats per token; None for text.
        report: counts after every step of the preparation.
        kept: files that belong into the folder of the corpus, by name.
        sample: part of `train` that stands for the whole in counts; None counts the whole.
    """

    corpus_id: str
    train: UInt[np.ndarray, "train"] | TokenStream
    eval: Integer[np.ndarray, "eval"]
    tokenizer: AnyTokenizer | None
    n_train_bytes: int | None
    n_documents: int | None
    entropy_rate: float | None
    report: dict[str, Any]
    kept: dict[str, Path] = field(default_factory=dict)
    sample: np.ndarray | None = None


def build_text(config: DataConfig, files: list[SourceFile], progress: Callable[[str], None]) -> Prepared:
    """Curate the text of `files`, learn the tokenizer on its training split and tokenise both splits.

    Args:
        config: description of the corpus.
        files: the input files, listed by `harness.data.text.corpora`.
        progress: receives one line before every slow step.

    Raises:
        InputError: a file cannot be read, or too little usable text is left to split.
    """
    progress(
        f"reading {len(files):,} files ({sum(file.size for file in files) / 1e6:.0f} MB) into memory; near "
        "duplicates are found exactly"
    )
    split, report = _curate(config, files, progress)
    train, held_out = ([d.text for d in side] for side in (split.train, split.eval))
    tokenizer: AnyTokenizer
    if config.tokenizer in KINDS:
        progress(f"learning {config.vocab_size} tokens from {len(train):,} documents")
        tokenizer = train_tokenizer(config.tokenizer, train, config.vocab_size, n_tags(config))
    else:
        tokenizer = tokenizer_of(config)
    progress("tokenising")
    train_tokens, eval_tokens = encode_documents(tokenizer, train), encode_documents(tokenizer, held_out)
    n_train_bytes, n_eval_bytes = (int(tokenizer.token_bytes[t].sum()) for t in (train_tokens, eval_tokens))
    report["train"] = _counts(len(train), n_train_bytes) | {"tokens": len(train_tokens)}
    report["eval"] = _counts(len(held_out), n_eval_bytes) | {"tokens": len(eval_tokens)}
    report["bytes_per_token"] = n_train_bytes / len(train_tokens)
    corpus_id = text_id(train, held_out)
    if config.tasks and isinstance(tokenizer, Tokenizer):
        progress("making task documents")
        train_tokens, corpus_id = _with_tasks(config, tokenizer, train, train_tokens, corpus_id, report)
    return Prepared(
        corpus_id,
        train_tokens,
        eval_tokens,
        tokenizer,
        n_train_bytes,
        len(train),
        None,
        report,
    )


def tokenizer_of(config: DataConfig) -> FileTokenizer:
    """Return the tokenizer of a file; raise InputError if text cannot be encoded with it."""
    found = read_tokenizer(config.tokenizer, config.separator)
    if config.name != "tokens" and found.separator is None:
        raise InputError(
            f"data.tokenizer={config.tokenizer} has none of the usual tokens between documents; type "
            "data.separator=ID"
        )
    return found


def n_tags(config: DataConfig) -> int:
    """Return the number of token ids that name the task of a document."""
    return len(TASKS) if config.tasks else 0


def _with_tasks(
    config: DataConfig,
    tokenizer: Tokenizer,
    texts: list[str],
    text_tokens: np.ndarray,
    text_only_id: str,
    report: dict[str, Any],
) -> tuple[np.ndarray, str]:
    """Mix task documents into the training stream; return the stream and the hash of text and stream.

    The counts of task documents go into `report`.
    """
    text = Tokens(text_tokens, document_lengths(text_tokens, tokenizer.separator))
    stream, report["tasks"] = mix_tasks(text, config.tasks, tokenizer)
    report["test_problems_in_text"] = contamination(config.tasks, texts)
    digest = hashlib.sha256(text_only_id.encode())
    digest.update(np.ascontiguousarray(stream).data)
    return stream, digest.hexdigest()[:12]


def build_synthetic(config: DataConfig, progress: Callable[[str], None]) -> Prepared:
    """Draw the tables of a Markov source, generate both splits and compute its exact entropies.

    Raises:
        InputError: the source's parameters are impossible, see `make_source`.
    """
    source = make_source(
        config.vocab_size, config.markov_order, config.branching, config.zipf, config.source_seed
    )
    progress(f"generating {config.synthetic_tokens:,} symbols")
    train = source.generate(config.synthetic_tokens, config.source_seed, TRAIN_STREAM)
    held_out = source.generate(config.min_eval_tokens, config.source_seed, EVAL_STREAM)
    conditional = source.conditional_entropies()
    report = {
        "conditional_entropies": list(conditional),
        "train": _counts(n_chains(len(train)), len(train)) | {"tokens": len(train)},
        "eval": _counts(n_chains(len(held_out)), len(held_out)) | {"tokens": len(held_out)},
        "bytes_per_token": 1.0,
    }
    corpus_id = hashlib.sha256(train.tobytes() + held_out.tobytes()).hexdigest()[:12]
    documents = n_chains(len(train))
    return Prepared(corpus_id, train, held_out, None, len(train), documents, conditional[-1], report)


def _curate(
    config: DataConfig, files: list[SourceFile], progress: Callable[[str], None]
) -> tuple[Split, dict[str, Any]]:
    """Read, clean, deduplicate and split; the report has the documents and bytes after every step."""
    is_python = config.name == "python"
    read, cleaned, dropped = Tally(), Tally(), Dropped()
    found = read.watch(read_python(files) if is_python else read_text(files, config.text_field))
    usable = clean(found, PYTHON_LIMITS if is_python else TEXT_LIMITS, dropped)
    # Exact duplicates go first, because shingling is the slow step. They also go while the text is read, so
    # that memory holds no copies. Near duplicates go before the split, or copies would land on both sides.
    exact = drop_exact(cleaned.watch(usable))
    # Nobody mends the files of a package, so their places are left to the report.
    check_usable(read, cleaned, dropped, not is_python, progress)
    shingles = shingle(exact)
    near = drop_near(exact, shingles)
    steps = {
        "read": _counts(read.documents, read.bytes),
        "cleaned": _counts(cleaned.documents, cleaned.bytes),
        "without exact duplicates": _sizes(exact),
        "without near duplicates": _sizes(near),
    }
    split = split_documents(near, shingles, config.eval_fraction)
    check_split(config, len(split.train), len(split.eval), len(near))
    report = {
        "steps": steps,
        "deduplication": METHOD,
        "dropped": dict(dropped.counts),
        "dropped_first": dropped.first,
        "evaluation_leaks_dropped": split.n_leaks,
    }
    return split, report


def check_usable(
    read: Tally, cleaned: Tally, dropped: Dropped, with_places: bool, progress: Callable[[str], None]
) -> None:
    """Say what cleaning dropped; raise InputError if it left nothing."""
    if dropped.counts:
        said = dropped.in_words(with_places)
        progress(f"{cleaned.documents:,} of {read.documents:,} documents are usable; dropped: {said}")
    if not cleaned.documents:
        why = f" (dropped: {dropped.in_words(with_places=True)})" if dropped.counts else ""
        raise InputError(
            f"no usable text in {read.documents:,} documents{why}: give UTF-8 text, or name the field "
            "that holds it by data.text_field=FIELD"
        )


def check_split(config: DataConfig, n_train: int, n_eval: int, n_documents: int) -> None:
    """Raise InputError unless `n_documents` left some to train on and some to score."""
    if not n_train or not n_eval:
        raise InputError(
            f"{n_documents} documents cannot be split: data.eval_fraction={config.eval_fraction} leaves "
            f"{n_train} to train on and {n_eval} to score; give more text or change it"
        )


def _counts(documents: int, size: int) -> dict[str, int]:
    """Return the counts of one step for the report."""
    return {"documents": documents, "bytes": size}


def _sizes(documents: list[Document]) -> dict[str, int]:
    """Return the counts of documents in memory."""
    return _counts(len(documents), sum(n_bytes(document.text) for document in documents))


def text_id(train: list[str], held_out: list[str]) -> str:
    """Return a hash of both splits, document by document."""
    digest = hashlib.sha256()
    for side in (train, held_out):
        # Counts and lengths are hashed too: text that moves across a boundary must change the hash.
        digest.update(f"{len(side)} documents".encode())
        for text in side:
            data = text.encode("utf-8")
            digest.update(f"{len(data)} bytes".encode())
            digest.update(data)
    return digest.hexdigest()[:12]
