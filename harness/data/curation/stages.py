"""Stages of a recipe: pipelines of datatrove's blocks that run one after the other.

Without deduplication there is one. MinHash needs all signatures before any document can be dropped, so it
cuts the recipe into four: filter and sign, compare by bucket, cluster, and drop with the rest of the steps.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.curation.count import Count, Document, Dropped
from harness.data.curation.recipe import Options, Recipe, Step
from harness.data.text.corpora import SourceFile
from harness.data.text.remote import is_remote

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
    """Yield the documents of every n-th file, n being the number of tasks.

    Attributes:
        places: path or address of every file.
        text_field: field of a record that holds the text.
        id_field: field of a record that holds its name.
    """

    places: tuple[str, ...]
    text_field: str = "text"
    id_field: str = "id"

    def __call__(self, data: object = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:  # noqa: ARG002
        """Yield the documents of one task."""
        from datatrove.pipeline.readers import JsonlReader, ParquetReader

        for place in self.places[rank::world_size]:
            folder, _, name = place.rpartition("/")
            kind = ParquetReader if name.lower().endswith(".parquet") else JsonlReader
            reader = kind(folder or "/", text_key=self.text_field, id_key=self.id_field)
            yield from reader.read_files_shard([name])


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
    begin: list[Any] = [
        Read(tuple(_anywhere(file.path) for file in files), **fields),
        Count(counts, READ_STEP),
    ]
    tokenize = _tokenize(recipe.tokenize, separator, str(work / TOKENS))
    names = [step.name for step in recipe.steps]
    if MINHASH not in names:
        return [Stage("curate", [*begin, *_counted(recipe.steps, counts), tokenize], recipe.n_tasks)]
    cut = names.index(MINHASH)
    begin += _counted(recipe.steps[:cut], counts)
    rest = [*_counted(recipe.steps[cut + 1 :], counts), tokenize]
    return _deduplicated(recipe.n_tasks, recipe.steps[cut].options, begin, rest, work)


def _anywhere(path: str) -> str:
    """Return a path that holds in any folder, because workers of a cluster may start elsewhere."""
    return path if is_remote(path) else os.path.abspath(path)


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
