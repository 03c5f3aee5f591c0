"""Contamination: items of a benchmark that occur in the training text.

Texts are compared as in Brown et al., arXiv:2005.14165, appendix C: in lower case, without punctuation, by
runs of 13 words. Of an item with fewer words all are one run. The text is read back from the tokens, so any
corpus with a known tokenizer can be checked, of any size.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from jaxtyping import Int64, UInt64

from harness.data.build import DataConfig
from harness.data.corpus import Corpus
from harness.data.store import Store
from harness.data.text.corpora import SourceFile, list_files
from harness.data.text.document import Document
from harness.data.text.file_tokenizer import AnyTokenizer
from harness.data.text.hashes import Lookup, run_hashes, word_hashes
from harness.data.text.parse import parse
from harness.data.text.read import read_raw
from harness.data.text.remote import open_binary
from harness.data.text.workers import n_processes, results
from harness.data.tokens.mixture import Mixture
from harness.data.tokens.shards import Shard
from harness.data.tokens.stream import TokenStream, joined, whole
from harness.records.errors import InputError, printable

CHECK_VERSION = 1
RUN = 13  # words
SHORTEST = 8  # words; fewer are found by chance
# Fields that hold the text of an item, if data.text_field is not among them.
USUAL = ("text", "question", "prompt", "problem", "query", "input", "instruction", "sentence", "content")
# A mark between documents is a word that no item has.
WORD = re.compile(r"[^\W_]+|\0")
SEPARATOR = b" \0 "
TOKENS_AT_ONCE = 2**21
OVERLAP = 2**10  # tokens that two parts share, so that no run is cut
EXAMPLES = 10
EXCERPT = 200  # characters


@dataclass(frozen=True)
class Items:
    """Items of a benchmark.

    Attributes:
        name: name of the file or folder.
        places: file and record of each item.
        texts: their texts.
    """

    name: str
    places: list[str]
    texts: list[str]

    @property
    def digest(self) -> str:
        """Hash of everything that decides what is found."""
        content = "\0".join([f"{CHECK_VERSION}", *self.places, *self.texts])
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:20]


@dataclass(frozen=True)
class Text:
    """Training text, as tokens on disk.

    Attributes:
        tokens: the tokens.
        pieces: bytes of each token; SEPARATOR of the one between documents.
    """

    tokens: TokenStream
    pieces: list[bytes]

    def words(self, first: int) -> list[str]:
        """Return the words of the part that begins at token `first`."""
        width = min(TOKENS_AT_ONCE + OVERLAP, len(self.tokens) - first)
        tokens = self.tokens.windows(np.array([first]), width)[0].tolist()
        return words(b"".join(map(self.pieces.__getitem__, tokens)).decode("utf-8", "replace"))


@dataclass(frozen=True)
class Runs:
    """Runs of words that are looked for, by their number of words.

    Attributes:
        lookups: the runs of each length.
        of_item: length and numbers of the runs of each item; None for an item that is too short.
    """

    lookups: dict[int, Lookup]
    of_item: list[tuple[int, Int64[np.ndarray, "runs"]] | None]


def read_items(path: str, config: DataConfig) -> Items:
    """Return the items of a file: each line of .txt, each record of JSON lines or parquet.

    Args:
        path: the file, or a folder of such files.
        config: corpus that will be searched; its text field goes before those of USUAL.

    Raises:
        InputError: the file cannot be read, holds no item with a text, or the corpus has no text.
    """
    if config.name == "synthetic" or config.tokenizer == "none":
        has = "symbols" if config.name == "synthetic" else "tokens of an unknown tokenizer"
        raise InputError(
            f"data.contamination={path} is looked for in text, and data.name={config.name} has {has}; leave "
            "it out, or name the tokenizer.json of the tokens by data.tokenizer=PATH"
        )
    files = list_files(path, key="data.contamination")
    found = [
        (f"{file.name}:{number}", text) for file in files for number, text in _texts(file, config.text_field)
    ]
    if not found:
        raise InputError(
            f"data.contamination={path} holds no item with a text; name its field by data.text_field=FIELD, "
            f"or call it one of {', '.join(USUAL)}"
        )
    return Items(Path(path).name, [place for place, _ in found], [text for _, text in found])


def _texts(file: SourceFile, text_field: str) -> Iterator[tuple[int, str]]:
    """Yield the number and text of each item of a file."""
    fields: tuple[str, ...] = (text_field, *USUAL)
    if file.name.lower().endswith(".txt"):
        lines = (line for piece in read_raw(file, text_field) for line in str(piece).splitlines())
        yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())
        return
    if file.name.lower().endswith(".parquet"):
        with open_binary(file.path) as source:
            columns = pq.read_schema(source).names
        fields = (next((field for field in fields if field in columns), text_field),)
    for number, raw in enumerate(read_raw(file, fields[0]), 1):
        records = (parse(file.name, number, raw, field) for field in fields)
        document = next((record for record in records if isinstance(record, Document)), None)
        if document is not None:
            yield number, document.text


def contamination(
    items: Items,
    train: np.ndarray | TokenStream | Mixture,
    tokenizer: AnyTokenizer,
    progress: Callable[[str], None] = lambda _: None,
    processes: int | None = None,
) -> dict[str, Any]:
    """Return how many items occur in the training text, with examples.

    Args:
        items: items of a benchmark.
        train: the training split, mapped from disk.
        tokenizer: that made the tokens.
        progress: receives one line before the search.
        processes: how many search at once; None takes what this machine has.

    Returns:
        Number of `items`, of those `too_short`, of those `found` (a run of theirs occurs) and `mostly_found`
        (half of their runs or more occur). Of the `examples` the place, the text, the share of runs that
        occur, and a part of the training text.
    """
    progress(f"searching {len(train):,} training tokens for {len(items.texts):,} items of {items.name}")
    text, runs = _text(train, tokenizer), _runs(items)
    found: dict[tuple[int, int], tuple[int, int]] = {}
    parts = range(0, len(text.tokens), TOKENS_AT_ONCE)
    # To start a process costs as much as some parts do.
    processes = processes or max(1, min(n_processes(), len(parts) // 4))
    for part in results(partial(_search, text, runs.lookups), parts, processes):
        for run, place in part.items():
            found[run] = min(place, found.get(run, place))
    shares = np.array([_share(own, found) for own in runs.of_item])
    order = np.argsort(-shares, kind="stable")[:EXAMPLES]
    return {
        "file": printable(items.name),
        "words": RUN,
        "items": len(items.texts),
        "too_short": sum(own is None for own in runs.of_item),
        "found": int((shares > 0).sum()),
        "mostly_found": int((shares >= 0.5).sum()),
        "examples": [
            {
                "item": printable(items.places[index]),
                "text": printable(items.texts[index][:EXCERPT]),
                "share": float(shares[index]),
                "in_text": printable(_excerpt(text, runs.of_item[index], found)),
            }
            for index in order.tolist()
            if shares[index] > 0
        ],
    }


def with_contamination(
    corpus: Corpus, items: Items, cache_dir: Path, progress: Callable[[str], None] = lambda _: None
) -> Corpus:
    """Return the corpus with what it has of a benchmark in its report; it is searched once.

    Args:
        corpus: a corpus with a known tokenizer.
        items: items of a benchmark.
        cache_dir: folder of the cache.
        progress: receives a line before the search, and one with what was found.
    """
    assert corpus.tokenizer is not None
    store = Store(cache_dir)
    name = f"contamination-{corpus.corpus_id}-{corpus.tokenizer_id}-{items.digest}"
    found = store.note(name)
    if found is None:
        found = contamination(items, corpus.train, corpus.tokenizer, progress)
        store.write_note(name, found)
    progress(
        f"{found['found']:,} of {found['items']:,} items of {found['file']} occur in the training text in "
        f"part, {found['mostly_found']:,} of them by half or more"
    )
    return replace(corpus, report=corpus.report | {"contamination": found})


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, and a mark between documents.

    >>> words("The cat's 2nd hat -- it_was RED.")
    ['the', 'cat', 's', '2nd', 'hat', 'it', 'was', 'red']
    """
    return WORD.findall(text.lower())


def _text(train: np.ndarray | TokenStream | Mixture, tokenizer: AnyTokenizer) -> Text:
    """Return what a process needs to read the training text."""
    stream = _stream(train, tokenizer.vocab_size)
    pieces = [*tokenizer.pieces, *[b""] * (stream.vocab_size - len(tokenizer.pieces))]
    if tokenizer.separator is not None:
        pieces[tokenizer.separator] = SEPARATOR
    return Text(stream, pieces)


def _stream(train: np.ndarray | TokenStream | Mixture, vocab_size: int) -> TokenStream:
    """Return the training tokens as one stream, without what is mapped: that cannot go to another process."""
    if isinstance(train, TokenStream):
        return TokenStream(train.shards, train.stretches, train.vocab_size)
    if isinstance(train, Mixture):
        return joined([_stream(s, vocab_size) for s, n in zip(train.streams, train.counts, strict=True) if n])
    assert isinstance(train, np.memmap)
    shard = Shard("train", str(train.filename), train.dtype.str, train.offset, len(train))
    return TokenStream((shard,), whole([shard]), vocab_size)


def _runs(items: Items) -> Runs:
    """Return the runs of all items."""
    hashes = [word_hashes(" ".join(words(text))) for text in items.texts]
    sizes = [min(len(each), RUN) for each in hashes]
    by_size: dict[int, list[UInt64[np.ndarray, "runs"]]] = {}
    for each, size in zip(hashes, sizes, strict=True):
        if size >= SHORTEST:
            by_size.setdefault(size, []).append(run_hashes(each, size))
    lookups = {size: Lookup(np.unique(np.concatenate(parts))) for size, parts in by_size.items()}
    of_item = [
        (size, np.searchsorted(lookups[size].hashes, run_hashes(each, size))) if size >= SHORTEST else None
        for each, size in zip(hashes, sizes, strict=True)
    ]
    return Runs(lookups, of_item)


def _search(text: Text, lookups: dict[int, Lookup], first: int) -> dict[tuple[int, int], tuple[int, int]]:
    """Return the length and number of each run in a part of the text, with the part and the place in it."""
    hashes = word_hashes(" ".join(text.words(first)))
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for size, lookup in lookups.items():
        if len(hashes) >= size:
            numbers, places = lookup.found(run_hashes(hashes, size))
            found |= {(size, n): (first, p) for n, p in zip(numbers.tolist(), places.tolist(), strict=True)}
    return found


def _share(
    own: tuple[int, Int64[np.ndarray, "runs"]] | None, found: dict[tuple[int, int], tuple[int, int]]
) -> float:
    """Return the share of an item's runs that occur."""
    return 0.0 if own is None else float(np.mean([(own[0], run) in found for run in own[1].tolist()]))


def _excerpt(
    text: Text,
    own: tuple[int, Int64[np.ndarray, "runs"]] | None,
    found: dict[tuple[int, int], tuple[int, int]],
) -> str:
    """Return the words of the training text around the first run of an item that occurs."""
    assert own is not None
    first, place = next(found[own[0], run] for run in own[1].tolist() if (own[0], run) in found)
    around = text.words(first)[max(place - RUN, 0) : place + own[0] + RUN]
    return " ".join("|" if word == "\0" else word for word in around)
