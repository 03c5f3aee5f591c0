"""Stages of a recipe: pipelines of datatrove's blocks that run one after the other.

Without deduplication there is one. MinHash needs all signatures before any document can be dropped, so it
cuts the recipe into four: filter and sign, compare by bucket, cluster, and drop with the rest of the steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq  # type: ignore[import-untyped]

from harness.data.curation.count import Count, Document, Dropped
from harness.data.curation.pages import PAGE_SUFFIXES, read_pages
from harness.data.curation.recipe import EXTRACT, Options, Recipe, Step
from harness.data.text.corpora import SourceFile
from harness.data.text.document import Unusable
from harness.data.text.parse import Record, parse
from harness.data.text.read import READ_ERRORS, read_raw
from harness.data.text.remote import open_binary

COUNTS, TOKENS, FILTERED, SIGNED = "counts", "tokens", "filtered", "minhash"
READ_STEP, MINHASH = "read", "minhash"


@dataclass(frozen=True)
class Stage:
    """Blocks that one executor runs.

    Attributes:
        name: name of its folder.
        pipeline: the blocks.
        n_tasks: parts that run apart.
    """

    name: str
    pipeline: list[Any]
    n_tasks: int


@dataclass(frozen=True)
class Read:
    """Yield the documents of every n-th file, n being the number of tasks; count records without one.

    Attributes:
        files: all files.
        counts: folder of the counts.
        text_field: field of a record that holds the text.
        url_field: field of a record that holds its address.
    """

    files: tuple[SourceFile, ...]
    counts: str
    text_field: str = "text"
    url_field: str = "url"

    def __call__(self, data: object = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:  # noqa: ARG002
        """Yield the documents of one task; raise InputError for a damaged file."""
        from datatrove.data import Document as Datatrove

        with Dropped(self.counts, READ_STEP) as unusable:
            for file in self.files[rank::world_size]:
                for found, known in self._records(file):
                    reason = found.reason if isinstance(found, Unusable) else _why_not(found.text)
                    if isinstance(found, Unusable) or reason:
                        empty = Datatrove(text="", id=found.name, metadata={"filter_reason": reason})
                        unusable.write(empty, rank)
                        continue
                    metadata = {key: value for key, value in known.items() if isinstance(value, (str, bool))}
                    yield Datatrove(text=found.text, id=found.name, metadata=metadata)

    def _records(self, file: SourceFile) -> Iterator[tuple[Record, dict[str, Any]]]:
        """Yield the records of a file with what is known of each: its address, whether it is plain text."""
        kind = file.name.lower()
        if kind.endswith(PAGE_SUFFIXES):
            yield from read_pages(file)
            return
        is_json = not kind.endswith((".txt", ".parquet"))
        records = zip(read_raw(file, self.text_field), self._addresses(file), strict=False)
        for number, (raw, url) in enumerate(records, 1):
            found = parse(file.name, number, raw, self.text_field)
            if isinstance(found, Unusable):
                yield found, {}
            elif found is not None:
                address = json.loads(str(raw)).get(self.url_field) if is_json else url
                yield found, {"url": address} | ({"plain": True} if kind.endswith(".txt") else {})

    def _addresses(self, file: SourceFile) -> Iterator[Any]:
        """Yield the address in each record of a parquet file that has a column of them; else None."""
        if file.name.lower().endswith(".parquet"):
            # Reading the texts says what is wrong with the file.
            with suppress(*READ_ERRORS), open_binary(file.path) as source:
                if self.url_field in pq.read_schema(source).names:
                    return read_raw(file, self.url_field)
        return repeat(None)


def _why_not(text: str) -> str | None:
    """Return why a text is no document; None if it is one."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "not UTF-8"
    return None if text.strip() else "empty"


@dataclass(frozen=True)
class ReadBack:
    """Yield the documents that the same task wrote in the stage before; it may have dropped all of them.

    Attributes:
        folder: where each task has a file.
    """

    folder: str

    def __call__(self, data: object = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:  # noqa: ARG002
        """Yield the documents of one task."""
        from datatrove.pipeline.readers import JsonlReader

        name = f"{rank:05d}.jsonl.gz"
        if (Path(self.folder) / name).exists():
            yield from JsonlReader(self.folder).read_files_shard([name])


def stages(recipe: Recipe, files: Sequence[SourceFile], separator: str, work: Path) -> list[Stage]:
    """Return the stages of a recipe in their order.

    Args:
        recipe: the recipe.
        files: files to read.
        separator: token behind each document.
        work: folder for everything in between.
    """
    fields = {key: value for key, value in recipe.read.items() if key != "path"}
    counts = str(work / COUNTS)
    begin: list[Any] = [Read(tuple(files), counts, **fields), Count(counts, READ_STEP)]
    tokenize = _tokenize(recipe.tokenize, separator, str(work / TOKENS))
    names = [step.name for step in recipe.steps]
    if MINHASH not in names:
        return [Stage("curate", [*begin, *_counted(recipe.steps, counts), tokenize], recipe.n_tasks)]
    cut = names.index(MINHASH)
    begin += _counted(recipe.steps[:cut], counts)
    rest = [*_counted(recipe.steps[cut + 1 :], counts), tokenize]
    return _deduplicated(recipe.n_tasks, recipe.steps[cut].options, begin, rest, work)


def _deduplicated(
    n_tasks: int, options: Options, begin: list[Any], rest: list[Any], work: Path
) -> list[Stage]:
    """Return the four stages of a recipe with MinHash."""
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.hashing import HashConfig

    from harness.data.curation.filters import Words

    config = MinhashConfig(**options, hash_config=HashConfig(hash_fc="sha1"))
    filtered, counts = str(work / FILTERED), str(work / COUNTS)
    signatures, pairs, removed = (str(work / SIGNED / name) for name in ("signatures", "pairs", "removed"))
    sign = MinhashDedupSignature(signatures, config, language=Words())
    drop = MinhashDedupFilter(removed, exclusion_writer=Dropped(counts, MINHASH, "near duplicate"))
    return [
        Stage("1_filter", [*begin, JsonlWriter(filtered), sign], n_tasks),
        Stage("2_compare", [MinhashDedupBuckets(signatures, pairs, config=config)], config.num_buckets),
        Stage("3_cluster", [MinhashDedupCluster(pairs, removed, config)], 1),
        Stage("4_finish", [ReadBack(filtered), drop, Count(counts, MINHASH), *rest], n_tasks),
    ]


def _counted(steps: Sequence[Step], counts: str) -> Iterator[Any]:
    """Yield the block of each step, and a count behind it."""
    for step in steps:
        yield _block(step, Dropped(counts, step.name))
        yield Count(counts, step.name)


def _block(step: Step, dropped: Dropped) -> Any:
    """Return the block of a step other than MinHash."""
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.pipeline.formatters import PIIFormatter

    from harness.data.curation.filters import BadWords, Language, Url, Words

    if step.name == "pii":
        return PIIFormatter(**step.options)
    if step.name == EXTRACT:
        from harness.data.curation.extract import Extract

        return Extract(dropped, **step.options)
    kinds: dict[str, Any] = {"url": Url, "language": Language, "bad_words": BadWords}
    if step.name in kinds:
        return kinds[step.name](dropped, **step.options)
    kinds = {
        "gopher_repetition": GopherRepetitionFilter,
        "gopher_quality": GopherQualityFilter,
        "c4": C4QualityFilter,
        "fineweb": FineWebQualityFilter,
    }
    return kinds[step.name](exclusion_writer=dropped, language=Words(), **step.options)


def masking(recipe: Recipe) -> Callable[[str], str]:
    """Return what the step `pii` of a recipe does to a text; without that step a text stays as it is."""
    from datatrove.pipeline.formatters import PIIFormatter

    options = next((step.options for step in recipe.steps if step.name == "pii"), None)
    return str if options is None else PIIFormatter(**options).format


def _tokenize(options: Options, separator: str, folder: str) -> Any:
    """Return datatrove's tokenizer writer; every task draws its order from the same seed."""
    from datatrove.pipeline.tokens import DocumentTokenizer

    return DocumentTokenizer(
        folder,
        str(Path(options["tokenizer"]).expanduser().resolve()),
        eos_token=separator,
        shuffle_documents=options.get("shuffle", True),
        seed=options.get("seed", 0),
        max_tokens_per_file=options.get("max_tokens_per_file"),
    )
