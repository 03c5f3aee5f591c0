"""Types of the registry: a published data set and its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DataFile:
    """One file of a set.

    Attributes:
        name: file name.
        sha256: SHA-256 of its bytes, hexadecimal.
        urls: addresses to try in order; none for a prepared table.
    """

    name: str
    sha256: str
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSet:
    """A published data set.

    Attributes:
        name: name of the set and of its folder.
        title: the runs that it holds, and their authors.
        reference: the paper, by arXiv id if it has one.
        source: repository and commit, or page, that the files come from.
        licence: licence of the files; `facts` for numbers out of a paper.
        files: the data files, the refitted table first; empty for a set of constants.
        columns: unit and meaning by column name; `*` stands for any text.
        published: numbers that the authors print, by quantity.
        prepared: how the table was made from its source; None if the file is the source, byte for byte.
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
