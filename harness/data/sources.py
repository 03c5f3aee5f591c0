"""Sources of a mixture: where each lies, its share of the tokens, and how its corpus is described."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import pyarrow.parquet as pq  # type: ignore[import-untyped]

from harness.data.text.corpora import TEXT_SUFFIXES, list_files
from harness.data.text.remote import from_root, open_binary
from harness.data.tokens import columns, shards
from harness.data.tokens.interleave import PERIOD, in_period
from harness.records.errors import InputError

# A source that is scored and never trained on is held out as far as possible.
HELD_OUT_FRACTION = 0.5
TOKEN_SUFFIXES = (*shards.SUFFIXES, *columns.SUFFIXES)
TOKENS_ALONE = tuple(suffix for suffix in TOKEN_SUFFIXES if suffix not in TEXT_SUFFIXES)
TEXT_ALONE = tuple(suffix for suffix in TEXT_SUFFIXES if suffix not in columns.SUFFIXES)


@dataclass(frozen=True)
class Source:
    """A part of a mixture, prepared as a corpus of its own.

    Attributes:
        name: name of the source.
        weight: share of the training tokens, before the weights are divided by their sum; 0 only scores it.
        kind: `text`, `tokens` or `python`.
        max_epochs: how often its text may be read; None takes data.max_epochs.
        path: file or folder (text, tokens).
        eval_path: file or folder that is held out (tokens).
        eval_fraction: share that is held out; None takes data.eval_fraction.
        text_field: field of JSON lines, or column of parquet files, that holds the text.
        token_field: column of token lists in parquet and arrow files; None finds it.
        packages: distributions whose sources are read (python).
    """

    name: str
    weight: float
    kind: str
    max_epochs: float | None = None
    path: str | None = None
    eval_path: str | None = None
    eval_fraction: float | None = None
    text_field: str = "text"
    token_field: str | None = None
    packages: tuple[str, ...] = ()

    @classmethod
    def from_settings(cls, name: str, values: dict[str, Any]) -> Source:
        """Return the source that data.sources.NAME sets; the kind is that of its files if none is named.

        Raises:
            InputError: it has no weight, or its path does not exist, or holds files of no kind or of two.
        """
        found = {each.name: values[each.name] for each in fields(cls) if each.name in values}
        if found["weight"] is None:
            raise InputError(
                f"data.sources.{name}.weight is missing: add its share of the training tokens, or 0 to score "
                "the source and never train on it"
            )
        kind = found["kind"] or _kind_of(name, found["path"], found["text_field"])
        fraction = found["eval_fraction"]
        if fraction is None and found["weight"] == 0 and found["eval_path"] is None:
            fraction = HELD_OUT_FRACTION
        packages = tuple(found["packages"])
        return cls(**found | {"name": name, "kind": kind, "eval_fraction": fraction, "packages": packages})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Source:
        """Return the source from its `dataclasses.asdict`, also after JSON."""
        return cls(**values | {"packages": tuple(values["packages"])})

    def located(self) -> Source:
        """Return the source with paths from the root of this machine."""
        return replace(self, path=from_root(self.path), eval_path=from_root(self.eval_path))


def check_sources(sources: tuple[Source, ...], tokenizer: str) -> None:
    """Raise InputError for weights that no mixture has, and for tokens without the tokenizer of the text.

    Args:
        sources: all sources of the mixture.
        tokenizer: `bpe`, `bytes`, `none`, or the path of a tokenizer.json.
    """
    if not sources:
        raise InputError(
            "data.sources is empty: name the sources and their weights, such as "
            "'data.sources={web: {path: FOLDER, weight: 0.7}, code: {path: FOLDER, weight: 0.3}}'"
        )
    for each in sources:
        if not math.isfinite(each.weight) or each.weight < 0:
            raise InputError(
                f"data.sources.{each.name}.weight={each.weight:g} is no share of the training tokens: use a "
                "number above 0, or 0 to score the source and never train on it"
            )
        if each.kind == "tokens" and tokenizer in ("bpe", "bytes"):
            raise InputError(
                f"data.sources.{each.name} has tokens, and data.tokenizer={tokenizer} makes others from "
                "text: name the tokenizer.json that made them by data.tokenizer=PATH"
            )
        if each.kind != "tokens" and tokenizer == "none":
            raise InputError(
                f"data.sources.{each.name} is text, which data.tokenizer=none cannot encode: name a "
                "tokenizer.json, or type data.tokenizer=bpe"
            )
    total = sum(each.weight for each in sources)
    if not total > 0:
        raise InputError(
            f"the weights of data.sources sum to {total:g}, so there is nothing to train on: give one of "
            f"{', '.join(each.name for each in sources)} a weight above 0"
        )
    for each, count in zip(sources, in_period([each.weight for each in sources]), strict=True):
        if each.weight and not count:
            raise InputError(
                f"data.sources.{each.name}.weight is {each.weight / total:.2g} of all, expected at least "
                f"1/{PERIOD:,}: raise it, or set it to 0"
            )


def _kind_of(name: str, path: str | None, text_field: str) -> str:
    """Return `text` or `tokens`, as the names of the files say; parquet files tell by their columns."""
    key = f"data.sources.{name}.path"
    if path is None:
        raise InputError(f"{key} is missing: add the file or folder of the source, or kind: python")
    files = list_files(path, (*TEXT_SUFFIXES, *TOKENS_ALONE), key)
    names = [each.name.lower() for each in files]
    texts = [each for each in names if each.endswith(TEXT_ALONE)]
    tokens = [each for each in names if each.endswith(TOKENS_ALONE)]
    if texts and tokens:
        raise InputError(
            f"{key}={path} holds text ({texts[0]}) and tokens ({tokens[0]}): set kind: text or kind: tokens, "
            "or give each a folder of its own"
        )
    if texts or tokens:
        return "text" if texts else "tokens"
    with open_binary(files[0].path) as file:
        return "text" if text_field in pq.read_schema(file).names else "tokens"
