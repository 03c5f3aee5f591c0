"""What the registry holds of a published set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DataFile:
    """One file of a set: its name, the SHA-256 of its bytes, and URLs to try in order (none if prepared)."""

    name: str
    sha256: str
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSet:
    """A published set.

    Attributes:
        reference: the paper, by arXiv id where it has one.
        source: repository and commit (or page) that the files come from.
        files: the data files, the first being the table that is refitted; empty for a set of constants.
        columns: unit and meaning by column name; `*` stands for any text.
        published: the numbers that the authors give, by the quantity they belong to.
        prepared: how the table was made from its source; None where the file is the source's, byte for byte.
    """

    name: str
    title: str
    reference: str
    source: str
    licence: str
    files: tuple[DataFile, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, float] = field(default_factory=dict)
    prepared: str | None = None
