"""A corpus from files of tokens: which files, what is held out, and what a sample says about them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.build import DataConfig, Prepared
from harness.data.curation.report import shown
from harness.data.streaming.pace import Pace
from harness.data.text.corpora import SourceFile, list_files
from harness.data.text.file_tokenizer import FileTokenizer
from harness.data.text.remote import copy, is_remote
from harness.data.tokens import columns, shards
from harness.data.tokens.shards import Shard, open_shard
from harness.data.tokens.split import Split, given, held_out, is_for_evaluation
from harness.data.tokens.stream import TokenStream
from harness.records.errors import InputError

SUFFIXES = (*shards.SUFFIXES, *columns.SUFFIXES)
# Tokens of the training split behind the hash of the corpus and the bytes of a token. To read a whole corpus
# would take minutes.
SAMPLED = 2**21
WIDEST = 2**32  # ids that any layout holds


def list_tokens(config: DataConfig) -> tuple[list[SourceFile], list[SourceFile]]:
    """List the files of the corpus, and those of `eval_path`, with the indexes beside them.

    Raises:
        InputError: a path is missing or holds no file of a known kind.
    """
    kinds = (*SUFFIXES, *shards.BESIDE)
    files = list_files(config.path, kinds)
    held = list_files(config.eval_path, kinds, "data.eval_path") if config.eval_path else []
    places = {Path(each.path).resolve() for each in held}
    return [each for each in files if Path(each.path).resolve() not in places], held


def build_tokens(
    config: DataConfig,
    files: list[SourceFile],
    held: list[SourceFile],
    tokenizer: FileTokenizer | None,
    scratch: Path,
    progress: Callable[[str], None],
) -> Prepared:
    """Map the files, split them, and describe the corpus from a sample.

    Args:
        config: description of the corpus.
        files: its files, and the indexes beside them.
        held: files for evaluation alone; with none, names of files or a share of the tokens decide.
        tokenizer: that made the tokens; None if it is unknown.
        scratch: folder for files that have to be rewritten.
        progress: receives one line before every slow step.

    Raises:
        InputError: a file cannot be used, or nothing is left to train on or to score.
    """
    separator = config.separator
    if separator is None and tokenizer is not None:
        separator = tokenizer.separator
    files, held = _here(files, scratch, progress), _here(held, scratch, progress)
    every = [each for each in files + held if not each.name.lower().endswith(shards.BESIDE)]
    opened = _open(config, every, separator, scratch, progress)
    n_held = sum(not each.name.lower().endswith(shards.BESIDE) for each in held)
    names = [is_for_evaluation(shard.name) for shard in opened]
    if n_held:
        split = given(opened, [False] * (len(opened) - n_held) + [True] * n_held)
    elif any(names) and not all(names):
        split = given(opened, names)
    else:
        split = held_out(opened, config.eval_fraction, separator)
    progress(f"{sum(s.n_tokens for s in opened):,} tokens in {len(opened):,} file(s); to score: {split.said}")
    if not len(split.evaluation) and separator is not None:
        raise InputError(
            f"data.separator={separator} never stands twice in a block to score, so documents are longer or "
            "end with another id; name files to score with data.eval_path, raise "
            f"data.eval_fraction={config.eval_fraction}, or type the id behind each document"
        )
    if not len(split.train) or not len(split.evaluation):
        raise InputError(
            f"data.eval_fraction={config.eval_fraction} leaves {len(split.train)} stretches to train on and "
            f"{len(split.evaluation)} to score; change it, or name files to score with data.eval_path"
        )
    return _described(config, opened, split, tokenizer, scratch)


def _here(files: list[SourceFile], scratch: Path, progress: Callable[[str], None]) -> list[SourceFile]:
    """Return the files on this machine: tokens are mapped from disk, so those behind addresses are copied."""
    remote = [each for each in files if is_remote(each.path)]
    if not remote:
        return files
    size = sum(each.size for each in remote)
    progress(f"copying {len(remote):,} file(s) ({size / 1e6:,.0f} MB) into the cache, once")
    pace, found = Pace("copying", size, progress), []
    for file in files:
        if file in remote:
            # Flat, but an index still has the name of its tokens.
            target = scratch / file.name.replace("/", "__")
            if target.exists():
                pace.skip(file.size)
            else:
                copy(file.path, str(target), pace.add)
            file = replace(file, path=str(target), size=target.stat().st_size)
        found.append(file)
    pace.finish()
    return found


def _open(
    config: DataConfig,
    files: list[SourceFile],
    separator: int | None,
    scratch: Path,
    progress: Callable[[str], None],
) -> list[Shard]:
    """Return the shards; token lists in columns are rewritten first."""
    lists = [each for each in files if each.name.lower().endswith(columns.SUFFIXES)]
    mapped = {file.path: open_shard(file, config.vocab_size) for file in files if file not in lists}
    _check_types(list(mapped.values()))
    if lists:
        which = f"{len(lists):,} file{'' if len(lists) == 1 else 's'}"
        size = sum(each.size for each in lists) / 1e6
        progress(f"rewriting the token lists of {which} ({size:,.0f} MB) into the cache, once")
    found: list[Shard] = []
    for file in files:
        if file in lists:
            target = scratch / f"{len(found):05d}.ds"
            found.append(columns.rewrite(file, config.token_field, config.vocab_size, separator, target))
            if Path(file.path).parent == scratch:
                Path(file.path).unlink()
        else:
            found.append(mapped[file.path])
    return found


def _check_types(opened: list[Shard]) -> None:
    """Raise InputError if two shards hold tokens of other types: one was cut, misread or is another corpus.

    Token lists in columns are rewritten with the type of the vocabulary, so theirs does not matter.
    """
    first: dict[str, Shard] = {}
    for shard in opened:
        first.setdefault(np.dtype(shard.dtype).name, shard)
    if len(first) > 1:
        (one, a), (other, b), *_ = first.items()
        raise InputError(
            f"{a.path} holds tokens of type {one} and {b.path} of type {other}, expected one type in all "
            "files of a corpus; write one of them again, or move it to a folder of its own and mix both by "
            "data=mixture"
        )


def _described(
    config: DataConfig, opened: list[Shard], split: Split, tokenizer: FileTokenizer | None, scratch: Path
) -> Prepared:
    train = TokenStream(tuple(opened), split.train, config.vocab_size)
    evaluation = TokenStream(tuple(opened), split.evaluation, config.vocab_size)
    evaluation.prefetch(np.zeros(1, np.int64), len(evaluation))
    held = evaluation.windows(np.zeros(1, np.int64), len(evaluation))[0]
    sample = train.sample(SAMPLED)
    report: dict[str, Any] = {
        "files": len(opened),
        "split": split.said,
        "train": {"documents": split.n_documents, "tokens": len(train)},
        "eval": {"tokens": len(held)},
    }
    curation = None if is_remote(config.path) else shown(Path(config.path or ""))
    if curation:
        report["curation"] = curation
    if tokenizer:
        report["bytes_per_token"] = float(tokenizer.token_bytes[sample].mean())
    digest = hashlib.sha256(f"{len(train)} {config.vocab_size}".encode())
    for part in (split.train[:, 1:], held, sample):
        digest.update(np.ascontiguousarray(part).data)
    # Rewritten files move into the folder of the corpus, so their names are kept without a folder.
    kept = {each.name: each for each in sorted(scratch.iterdir())}
    moved = tuple(_inside(shard, scratch) for shard in opened)
    return Prepared(
        digest.hexdigest()[:12],
        TokenStream(moved, split.train, config.vocab_size),
        held,
        tokenizer,
        None,
        split.n_documents,
        None,
        report,
        kept,
        sample,
    )


def _inside(shard: Shard, scratch: Path) -> Shard:
    """Return the shard with the name of its file alone if it lies in `scratch`."""
    if Path(shard.path).parent != scratch:
        return shard
    return replace(shard, path=Path(shard.path).name, index=None)


def largest_id(config: DataConfig, files: list[SourceFile]) -> int:
    """Return the largest id in a sample of a corpus whose vocabulary nobody has named."""
    first = next(each for each in files if each.name.lower().endswith(SUFFIXES))
    if first.name.lower().endswith(columns.SUFFIXES):
        return columns.largest(first, config.token_field)
    shard = open_shard(first, 2**16)
    return int(TokenStream((shard,), np.array([[0, 0, shard.n_tokens]]), WIDEST).sample(SAMPLED).max())
