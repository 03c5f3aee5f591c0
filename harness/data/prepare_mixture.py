"""A mixture from its prepared sources: what is common to them, and a tokenizer learned from their text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import tokenizers as hf
from jaxtyping import Float64

from harness.data.build import DataConfig
from harness.data.build_tokens import SAMPLED
from harness.data.corpus import Corpus, Part
from harness.data.sources import Source
from harness.data.store import Store
from harness.data.text.clean import PYTHON_LIMITS, TEXT_LIMITS, clean
from harness.data.text.corpora import SourceFile
from harness.data.text.document import Dropped
from harness.data.text.hashes import is_held_out
from harness.data.text.read import read_python, read_text
from harness.data.text.tokenizer import SEPARATOR, TRAINING_BYTES, token_dtype, train_tokenizer
from harness.data.tokens.interleave import Interleaving, in_period
from harness.data.tokens.mixture import Mixture
from harness.data.tokens.stream import TokenStream
from harness.data.unigram import frequencies, token_counts
from harness.records.errors import InputError

# Part of every key. Raise it when the same sources would give another mixture or another description.
VERSION = 1
EVAL, TOKENIZER = "eval.bin", "tokenizer.json"
# Files from which each source's text for the tokenizer is taken, at least, if it has so many.
FILES_SAMPLED = 8


def source_config(config: DataConfig, source: Source) -> DataConfig:
    """Return the description of a source as a corpus of its own."""
    return DataConfig(
        name=source.kind,
        vocab_size=config.vocab_size,
        tokenizer=config.tokenizer,
        eval_fraction=config.eval_fraction if source.eval_fraction is None else source.eval_fraction,
        min_eval_tokens=config.min_eval_tokens,
        packages=source.packages,
        path=source.path,
        text_field=source.text_field,
        eval_path=source.eval_path,
        token_field=source.token_field,
        separator=config.separator,
    )


def mix(sources: Sequence[Source], corpora: Sequence[Corpus], store: Store) -> Corpus:
    """Return the mixture of prepared sources; its tokens to score and their unigram losses are cached.

    Args:
        sources: the sources.
        corpora: the corpus of each, all with the same tokenizer.
        store: the cache.
    """
    counts = in_period([each.weight for each in sources])
    content = [(s.name, n, c.corpus_id) for s, n, c in zip(sources, counts, corpora, strict=True)]
    corpus_id, tokenizer_id = _hash([VERSION, content])[:12], corpora[0].tokenizer_id
    vocab_size = max(each.vocab_size for each in corpora)
    # The id of a corpus is that of its text, which has other tokens under another tokenizer.
    key = _hash([VERSION, content, tokenizer_id, vocab_size])
    found = store.find(key)
    if found is None:
        held_out = np.concatenate([each.eval.astype(token_dtype(vocab_size)) for each in corpora])
        losses = _unigram_losses(corpora, Interleaving(counts), vocab_size)
        store.add(key, f"{corpus_id}-{tokenizer_id}-mixture", {EVAL: held_out}, {"unigram_nats": losses})
        found = store.find(key)
    if found is None:
        raise RuntimeError(f"the mixture just written to {store.root} cannot be read back")
    folder, meta = found
    return _mixed(sources, corpora, corpus_id, np.memmap(folder / EVAL, token_dtype(vocab_size), "r"), **meta)


def _mixed(
    sources: Sequence[Source],
    corpora: Sequence[Corpus],
    corpus_id: str,
    held_out: np.ndarray,
    unigram_nats: Sequence[float],
) -> Corpus:
    """Return the mixture, described from its sources and the unigram loss on each."""
    order = Interleaving(in_period([each.weight for each in sources]))
    ends = np.cumsum([each.n_eval_tokens for each in corpora])
    parts, streams = [], []
    for source, corpus, weight, end in zip(sources, corpora, order.weights, ends, strict=True):
        assert not isinstance(corpus.train, Mixture)
        own = held_out[end - corpus.n_eval_tokens : end]
        parts.append(Part(source.name, weight, source.max_epochs, own))
        streams.append(corpus.train)
    train = Mixture(tuple(each.name for each in sources), order.counts, tuple(streams))
    trained = [each for each, count in zip(corpora, order.counts, strict=True) if count]
    sizes, documents = [each.n_train_bytes for each in trained], [each.n_documents for each in trained]
    return Corpus(
        corpus_id=corpus_id,
        tokenizer_id=corpora[0].tokenizer_id,
        vocab_size=max(each.vocab_size for each in corpora),
        train=train,
        eval=held_out,
        token_bytes=corpora[0].token_bytes,
        n_train_tokens=len(train),
        n_train_bytes=None if None in sizes else sum(size or 0 for size in sizes),
        n_eval_tokens=len(held_out),
        n_documents=None if None in documents else sum(n or 0 for n in documents),
        entropy_rate=None,
        unigram_nats=round(float(np.dot(order.weights, unigram_nats)), 4),
        report=_report(sources, corpora, order.weights, unigram_nats),
        tokenizer=corpora[0].tokenizer,
        parts=tuple(parts),
    )


def _report(
    sources: Sequence[Source],
    corpora: Sequence[Corpus],
    weights: Sequence[float],
    unigram_nats: Sequence[float],
) -> dict[str, Any]:
    """Return what is told about each source, with the report of its own preparation."""
    report: dict[str, Any] = {
        "sources": {
            source.name: {
                "kind": source.kind,
                "place": source.path or ", ".join(source.packages),
                "weight": weight,
                "max_epochs": source.max_epochs,
                "corpus_id": corpus.corpus_id,
                "n_train_tokens": corpus.n_train_tokens if weight else 0,
                "n_eval_tokens": corpus.n_eval_tokens,
                "n_documents": corpus.n_documents,
                "bytes_per_token": corpus.report.get("bytes_per_token"),
                "unigram_nats": round(loss, 4),
                "report": corpus.report,
            }
            for source, corpus, weight, loss in zip(sources, corpora, weights, unigram_nats, strict=True)
        }
    }
    bytes_per_token = [each.report.get("bytes_per_token") for each in corpora]
    if None not in bytes_per_token:
        report["bytes_per_token"] = float(np.dot(weights, np.array(bytes_per_token, float)))
    return report


def _unigram_losses(corpora: Sequence[Corpus], order: Interleaving, vocab_size: int) -> list[float]:
    """Return the loss on each source of a model that knows the token frequencies of the mixture alone."""
    known = np.log(np.array(order.weights) @ np.array([_frequencies(each, vocab_size) for each in corpora]))
    return [float(-token_counts(each.eval, vocab_size) @ known / each.n_eval_tokens) for each in corpora]


def _frequencies(corpus: Corpus, vocab_size: int) -> Float64[np.ndarray, "vocab"]:
    """Return the token frequencies of a source's training split, with one added to each count."""
    train = corpus.train
    assert not isinstance(train, Mixture)
    tokens = train.sample(SAMPLED).ravel() if isinstance(train, TokenStream) else train
    return frequencies(tokens, vocab_size)


def learned_tokenizer(
    config: DataConfig, listed: Sequence[list[SourceFile]], store: Store, progress: Callable[[str], None]
) -> str:
    """Learn a byte-level BPE tokenizer from the text of all sources, by their weights; return its file.

    Documents that are held out are left out.

    Args:
        config: the mixture.
        listed: the files of each source.
        store: the cache, which keeps the tokenizer.
        progress: receives one line before the slow step.

    Raises:
        InputError: no source has text to learn from.
    """
    facts: list[Any] = [VERSION, version("tokenizers"), config.vocab_size, config.eval_fraction]
    for source, files in zip(config.sources, listed, strict=True):
        facts.append([asdict(source), [(file.name, file.size, file.mtime_ns) for file in files]])
    key = _hash(facts)
    found = store.find(key)
    if found is None:
        texts: list[str] = []
        total = sum(source.weight for source in config.sources)
        for source, files in zip(config.sources, listed, strict=True):
            wanted = int(TRAINING_BYTES * source.weight / total)
            fraction = source_config(config, source).eval_fraction
            texts += _sample(source, files, wanted, fraction) if wanted else []
        if not texts:
            raise InputError(
                "data.sources hold no text to learn a tokenizer from: name a tokenizer.json by "
                "data.tokenizer=PATH"
            )
        progress(f"learning {config.vocab_size} tokens from {len(texts):,} documents of all sources")
        learned = train_tokenizer("bpe", texts, config.vocab_size)
        model = hf.Tokenizer.from_str(learned.definition)
        model.add_special_tokens([hf.AddedToken(SEPARATOR, special=True)])
        definition = model.to_str(pretty=True).encode()
        name = f"{hashlib.sha256(definition).hexdigest()[:12]}-tokenizer"
        store.add(key, name, {TOKENIZER: definition}, {})
        found = store.find(key)
    if found is None:
        raise RuntimeError(f"the tokenizer just written to {store.root} cannot be read back")
    return str(found[0] / TOKENIZER)


def _sample(source: Source, files: list[SourceFile], n_characters: int, fraction: float) -> Iterator[str]:
    """Yield about `n_characters` of the source's training documents, from files all over it."""
    is_python = source.kind == "python"
    # By a hash of the name, because neighbouring files are alike; with as much from each of the first.
    order = sorted(files, key=lambda file: hashlib.sha256(file.name.encode()).digest())
    most = n_characters if is_python else -(-n_characters // min(FILES_SAMPLED, max(len(files), 1)))
    left = n_characters
    for file in order:
        if left <= 0:
            return
        records = read_python([file]) if is_python else read_text([file], source.text_field)
        own = most
        for document in clean(records, PYTHON_LIMITS if is_python else TEXT_LIMITS, Dropped()):
            if left <= 0 or own <= 0:
                break
            if not is_held_out(document.text, fraction):
                own -= len(document.text)
                left -= len(document.text)
                yield document.text


def _hash(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:20]
