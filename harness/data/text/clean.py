"""Cleaning of documents: normalise them and drop those that are not worth learning, each with a reason."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from harness.data.text.document import Document, Dropped, Unusable

LEADING_COMMENTS = re.compile(r"\A(?:[ \t]*(?:#[^\n]*)?\n)+")
LICENCE = re.compile(r"copyright|licen[sc]e", re.IGNORECASE)
GENERATED = re.compile(
    r"do not (?:edit|modify)|auto-?generated|automatically generated|@generated|generated (?:by|from|with) ",
    re.IGNORECASE,
)
# Generators sign at the head of a file (characters searched); elsewhere such words may be plain text.
GENERATED_HEAD = 1_000
# In bytes; longer lines and words are mostly data, encoded or minified.
LONG_LINE = 200
LONG_WORD = 60


@dataclass(frozen=True)
class Limits:
    """Limits of a document; one outside any of them is dropped.

    Attributes:
        min_bytes: least length in UTF-8 bytes. The limits that follow are shares of these bytes.
        max_digits: ASCII digits.
        max_non_ascii: bytes outside ASCII.
        max_long_lines: bytes in lines of more than LONG_LINE bytes.
        max_long_words: bytes in words of more than LONG_WORD bytes.
        max_control: control characters except white space.
        min_compressed: least size after compression.
        drop_generated: whether files that say they are generated are dropped, and licence headers removed.
    """

    min_bytes: int
    max_digits: float
    max_non_ascii: float
    max_long_lines: float
    max_long_words: float
    max_control: float
    # By zlib at its fastest: tables and repeated boilerplate compress far better than prose.
    min_compressed: float
    drop_generated: bool


# Thresholds lie in the tails of the default corpus. Beyond them are number tables, serialised test data and
# generated bindings, and hardly any hand-written modules.
PYTHON_LIMITS = Limits(256, 0.15, 0.05, 0.10, 0.25, 0.001, 0.15, True)
# The user's own text may be in any language or notation, so only what is no text at all is dropped.
TEXT_LIMITS = Limits(16, 1.0, 1.0, 1.0, 1.0, 0.05, 0.02, False)


def clean(documents: Iterable[Document | Unusable], limits: Limits, dropped: Dropped) -> Iterator[Document]:
    """Normalise documents and yield those inside the limits, in order.

    Args:
        documents: documents, and records without a text.
        limits: limits of a document.
        dropped: receives what is left out.
    """
    for document in documents:
        if isinstance(document, Unusable):
            dropped.add(document.reason, f"{document.name} {document.detail}".rstrip())
            continue
        text = normalise(document.text)
        # Looked for first, because the licence block often has the generator's notice in it.
        generated = limits.drop_generated and GENERATED.search(text[:GENERATED_HEAD]) is not None
        if limits.drop_generated:
            text = strip_licence(text)
        reason = "generated" if generated else defect(text, limits)
        if reason is None:
            yield Document(document.name, text)
        else:
            dropped.add(reason, document.name)


def normalise(text: str) -> str:
    """Return text with newlines as \\n, no byte-order mark, and one newline at the end.

    Text of white space alone becomes empty.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    stripped = text.rstrip()
    return stripped + "\n" if stripped else ""


def strip_licence(text: str) -> str:
    """Remove a leading comment block that is a licence: the same lines head thousands of files."""
    head = LEADING_COMMENTS.match(text)
    if head and LICENCE.search(head.group()):
        return text[head.end() :]
    return text


def defect(text: str, limits: Limits) -> str | None:
    """Return the first limit that `text` breaks, as a reason, or None."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        return "not Unicode"
    size = len(data)
    if size < limits.min_bytes:
        return "short"
    codes = np.frombuffer(data, np.uint8)
    counts = np.bincount(codes, minlength=256)
    # Bytes 9 to 13 are tab, newline and other white space; 48 to 57 are digits.
    control = counts[:9].sum() + counts[14:32].sum() + counts[127]
    shares = {
        "control characters": (control, limits.max_control),
        "digits": (counts[48:58].sum(), limits.max_digits),
        "not ASCII": (counts[128:].sum(), limits.max_non_ascii),
        "long lines": (_bytes_in_long_runs(codes == 10, LONG_LINE), limits.max_long_lines),
        "long words": (_bytes_in_long_runs(codes <= 32, LONG_WORD), limits.max_long_words),
    }
    for reason, (count, limit) in shares.items():
        if count > limit * size:
            return reason
    if len(zlib.compress(data, 1)) < limits.min_compressed * size:
        return "repetitive"
    return None


def _bytes_in_long_runs(is_break: np.ndarray, longest: int) -> int:
    """Return the number of bytes in runs of more than `longest` bytes between breaks."""
    edges = np.concatenate([[-1], np.flatnonzero(is_break), [len(is_break)]])
    lengths = np.diff(edges) - 1
    return int(lengths[lengths > longest].sum())
