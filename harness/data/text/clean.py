"""Normalise documents and drop those that are no text worth learning, each with a named reason."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from harness.data.text.corpora import Document

LEADING_COMMENTS = re.compile(r"\A(?:[ \t]*(?:#[^\n]*)?\n)+")
LICENCE = re.compile(r"copyright|licen[sc]e", re.IGNORECASE)
GENERATED = re.compile(
    r"do not (?:edit|modify)|auto-?generated|automatically generated|@generated|generated (?:by|from|with) ",
    re.IGNORECASE,
)
GENERATED_HEAD = 1_000
LONG_LINE = 200
LONG_WORD = 60


@dataclass(frozen=True)
class Limits:
    """A document outside any of these is dropped; shares are of its bytes."""

    min_bytes: int
    max_digits: float
    max_non_ascii: float
    max_long_lines: float
    max_long_words: float
    max_control: float
    # Compressed size over size (zlib, fastest): tables and repeated boilerplate lie far below prose.
    min_compressed: float
    drop_generated: bool


# Thresholds from the tails of the default corpus: beyond them lie number tables, serialised test data and
# generated bindings, with next to no hand-written modules.
PYTHON_LIMITS = Limits(256, 0.15, 0.05, 0.10, 0.25, 0.001, 0.15, True)
# The user's own text may be in any language or notation: only what is no text at all is dropped.
TEXT_LIMITS = Limits(16, 1.0, 1.0, 1.0, 1.0, 0.05, 0.02, False)


def clean(documents: Iterable[Document], limits: Limits) -> tuple[list[Document], Counter[str]]:
    """Return normalised documents inside `limits`, and how many were dropped for which reason."""
    kept: list[Document] = []
    dropped: Counter[str] = Counter()
    for document in documents:
        text = normalise(document.text)
        generated = limits.drop_generated and GENERATED.search(text[:GENERATED_HEAD]) is not None
        if limits.drop_generated:
            text = strip_licence(text)
        reason = "generated" if generated else defect(text, limits)
        if reason is None:
            kept.append(Document(document.name, text))
        else:
            dropped[reason] += 1
    return kept, dropped


def normalise(text: str) -> str:
    """Newlines as \\n, no byte-order mark, one newline at the end."""
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
    """The first limit that `text` breaks, or None."""
    data = text.encode("utf-8")
    size = len(data)
    if size < limits.min_bytes:
        return "short"
    codes = np.frombuffer(data, np.uint8)
    counts = np.bincount(codes, minlength=256)
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
    """Bytes that lie in runs longer than `longest` between breaks."""
    edges = np.concatenate([[-1], np.flatnonzero(is_break), [len(is_break)]])
    lengths = np.diff(edges) - 1
    return int(lengths[lengths > longest].sum())
