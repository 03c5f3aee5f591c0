"""A corpus of text that is larger than memory: the same steps as in memory, piece by piece.

Near duplicates are found by MinHash. Documents to train on stay in the order of their files. The unigram
model counts a sample of the tokens. Leaks into the evaluation split are found exactly, as in memory.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.build import DataConfig, Prepared, check_split, check_usable, tokenizer_of
from harness.data.build_tokens import SAMPLED
from harness.data.streaming.blocks import CHARACTERS, finished_blocks, read_blocks, text_bytes
from harness.data.streaming.curate import Block, Curation, curate
from harness.data.streaming.encode import Piece, encode
from harness.data.streaming.folder import EVAL, TRAIN, Folder, read_facts, read_texts, replacing
from harness.data.streaming.held_out import hold_out
from harness.data.streaming.pace import Pace
from harness.data.streaming.select import MOST_EVAL_BYTES, Documents, read_documents, select
from harness.data.text.corpora import SourceFile
from harness.data.text.encode import encode_documents
from harness.data.text.file_tokenizer import AnyTokenizer
from harness.data.text.tokenizer import KINDS, Tokenizer, n_sampled, train_tokenizer
from harness.data.text.workers import n_processes, results
from harness.data.tokens.shards import Shard
from harness.data.tokens.stream import TokenStream, whole
from harness.records.errors import InputError

# Part of the cache key of such corpora. Raise it when the same inputs would give other tokens.
STREAMING_VERSION = 1
# Text of about this many bytes fits into memory: there it takes eleven times as much.
LARGEST_IN_MEMORY = 2**27
METHOD = "MinHash with banding"


@dataclass(frozen=True)
class Sizes:
    """Sizes of the parts of a preparation; all but the processes decide on the order of the tokens.

    Attributes:
        characters: least length of a block.
        blocks: blocks of a piece.
        most_eval_bytes: bytes of text to score, at most.
        processes: how many work at once; None takes what this machine has.
    """

    characters: int = CHARACTERS
    blocks: int = 16
    most_eval_bytes: int = MOST_EVAL_BYTES
    processes: int | None = None


def is_large(config: DataConfig, files: list[SourceFile]) -> bool:
    """Return whether a corpus is text that is too large to be prepared in memory."""
    return config.name == "text" and sum(map(text_bytes, files)) > LARGEST_IN_MEMORY


def build_streamed(
    config: DataConfig,
    files: list[SourceFile],
    work: Path,
    progress: Callable[[str], None],
    sizes: Sizes = Sizes(),  # noqa: B008 - frozen
) -> Prepared:
    """Clean, deduplicate, split and tokenise the text of `files`; go on from what is in `work`.

    Args:
        config: description of the corpus.
        files: the input files.
        work: folder of this preparation, which an earlier process may have begun.
        progress: receives a line before every slow step, and how fast it goes.
        sizes: sizes of the parts.

    Raises:
        InputError: a file cannot be read, too little usable text is left to split, or the disk is full.
    """
    if config.tasks:
        raise InputError(
            f"data.path has about {sum(map(text_bytes, files)) / 1e6:,.0f} MB of text, and data.tasks are "
            f"mixed into {LARGEST_IN_MEMORY / 1e6:.0f} MB at most: name fewer files, or remove data.tasks"
        )
    try:
        return _build(config, files, Folder(work), progress, sizes)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise InputError(
                f"the disk of {work.parent} is full: free space and type the same command, which goes on, or "
                "set SCALING_CACHE to another folder"
            ) from error
        raise


def _build(
    config: DataConfig, files: list[SourceFile], folder: Folder, progress: Callable[[str], None], sizes: Sizes
) -> Prepared:
    processes = n_processes() if sizes.processes is None else sizes.processes
    about = sum(map(text_bytes, files))
    progress(
        f"streaming about {about / 1e6:,.0f} MB of text from {len(files):,} file(s) through {processes} "
        f"process(es); near duplicates by {METHOD}"
    )
    _curate(config, files, folder, Pace("cleaning", about, progress), processes, sizes.characters)
    blocks = finished_blocks(folder, len(files))
    curation = Curation.of(blocks)
    check_usable(curation.read, curation.cleaned, curation.dropped, True, progress)
    progress(f"looking for duplicates among {curation.cleaned.documents:,} documents")
    documents = read_documents(blocks)
    selection = select(folder, blocks, documents, config.eval_fraction, sizes.most_eval_bytes)
    train, held = documents.by_key(selection.sides == TRAIN), documents.by_key(selection.sides == EVAL)
    check_split(config, len(train), len(held), len(train) + len(held))
    sample = train[: n_sampled(documents.characters[train])] if config.tokenizer in KINDS else train[:0]
    texts = _texts(blocks, documents, np.concatenate([held, sample]))
    held_out = hold_out(folder, [texts[place] for place in held.tolist()])
    tokenizer = _tokenizer(config, folder, [texts[place] for place in sample.tolist()], progress)
    pieces = _pieces(folder, blocks, documents, selection.sides, tokenizer, sizes.blocks)
    _encode(folder, pieces, Pace("tokenising", documents.sizes[train].sum(), progress), processes)
    apart = held_out.apart(_seen(folder, pieces, held_out.n_distinct))
    eval_tokens = encode_documents(tokenizer, apart)
    shards = _shards(folder, pieces, tokenizer)
    n_train_tokens, n_train_bytes = sum(shard.n_tokens for shard in shards), int(documents.sizes[train].sum())
    report: dict[str, Any] = {
        "steps": {"read": vars(curation.read), "cleaned": vars(curation.cleaned)} | selection.steps,
        "deduplication": METHOD,
        "dropped": dict(curation.dropped.counts),
        "dropped_first": curation.dropped.first,
        "evaluation_leaks_dropped": len(held) - len(apart),
        "train": {"documents": len(train), "bytes": n_train_bytes, "tokens": n_train_tokens},
        "eval": {
            "documents": len(apart),
            "bytes": sum(len(text.encode()) for text in apart),
            "tokens": len(eval_tokens),
        },
        "bytes_per_token": n_train_bytes / n_train_tokens,
    }
    stretches = whole(shards)
    # The files move into the folder of the corpus, so their names are kept without a folder.
    moved = tuple(replace(shard, path=shard.name) for shard in shards)
    return Prepared(
        _text_id(documents.keys[selection.sides == TRAIN], apart),
        TokenStream(moved, stretches, tokenizer.vocab_size),
        eval_tokens,
        tokenizer,
        n_train_bytes,
        len(train),
        None,
        report,
        {shard.name: Path(shard.path) for shard in shards},
        TokenStream(shards, stretches, tokenizer.vocab_size).sample(SAMPLED),
    )


def _text_id(train: np.ndarray, held_out: list[str]) -> str:
    """Return a hash of both splits: of the hashes of the training documents in order, and of the others."""
    digest = hashlib.sha256(f"{len(train)} documents".encode())
    digest.update(np.ascontiguousarray(train).data)
    for text in held_out:
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()[:12]


def _curate(
    config: DataConfig, files: list[SourceFile], folder: Folder, pace: Pace, processes: int, characters: int
) -> None:
    """Clean the blocks of all files that are not finished."""

    def to_do() -> Iterator[Block]:
        for each in read_blocks(folder, files, config.text_field, characters):
            if isinstance(each, Block):
                yield each
            else:
                pace.skip(read_facts(each)["read"]["bytes"])

    for n_bytes in results(partial(curate, folder.root, config.text_field), to_do(), processes):
        pace.add(n_bytes)
    pace.finish()


def _encode(folder: Folder, pieces: list[Piece], pace: Pace, processes: int) -> None:
    """Tokenise the pieces that are not finished."""

    def to_do() -> Iterator[Piece]:
        for piece in pieces:
            if folder.piece(piece.number).exists() and folder.tokens(piece.number).exists():
                pace.skip(read_facts(folder.piece(piece.number))["bytes"])
            else:
                yield piece

    for n_bytes in results(encode, to_do(), processes):
        pace.add(n_bytes)
    pace.finish()


def _pieces(
    folder: Folder,
    blocks: list[Path],
    documents: Documents,
    sides: np.ndarray,
    tokenizer: AnyTokenizer,
    size: int,
) -> list[Piece]:
    """Return what to tokenise: `size` blocks in each piece."""
    found = []
    for number, first in enumerate(range(0, len(blocks), size)):
        own = range(first, min(first + size, len(blocks)))
        parts = [sides[documents.bounds(block)] for block in own]
        found.append(Piece(folder.root, number, [blocks[block] for block in own], parts, tokenizer))
    return found


def _seen(folder: Folder, pieces: list[Piece], n_distinct: int) -> np.ndarray:
    """Return which of the held-out shingles are in any piece."""
    seen = np.zeros(n_distinct, bool)
    for piece in pieces:
        with np.load(folder.piece(piece.number)) as arrays:
            seen[arrays["seen"]] = True
    return seen


def _shards(folder: Folder, pieces: list[Piece], tokenizer: AnyTokenizer) -> tuple[Shard, ...]:
    """Return the files of tokens."""
    dtype = np.dtype(tokenizer.dtype).newbyteorder("<").str
    paths = {folder.tokens(piece.number): read_facts(folder.piece(piece.number)) for piece in pieces}
    return tuple(Shard(path.name, str(path), dtype, 0, facts["tokens"]) for path, facts in paths.items())


def _texts(blocks: list[Path], documents: Documents, places: np.ndarray) -> dict[int, str]:
    """Return the texts of some documents by their places."""
    chosen = np.zeros(len(documents.keys), bool)
    chosen[places] = True
    found: dict[int, str] = {}
    for index, block in enumerate(blocks):
        inside = documents.bounds(index)
        if chosen[inside].any():
            own = read_texts(block, documents.sizes[inside], chosen[inside])
            numbers = inside.start + np.flatnonzero(chosen[inside])
            found |= {int(number): data.decode() for number, data in zip(numbers, own, strict=True)}
    return found


def _tokenizer(
    config: DataConfig, folder: Folder, sample: list[str], progress: Callable[[str], None]
) -> AnyTokenizer:
    """Return the tokenizer: that of a file, or one that is learned from a sample, once."""
    if config.tokenizer not in KINDS:
        return tokenizer_of(config)
    path = folder.tokenizer
    if not path.exists():
        n_bytes = sum(len(text) for text in sample)
        progress(
            f"learning {config.vocab_size} tokens from {len(sample):,} documents drawn by their hash "
            f"({n_bytes / 1e6:.0f} MB)"
        )
        found = train_tokenizer(config.tokenizer, sample, config.vocab_size)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps([found.vocab_size, found.definition]))
    return Tokenizer(*json.loads(path.read_text()))
