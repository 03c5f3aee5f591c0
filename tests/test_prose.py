"""Rules of prose that a machine can check: lengths of sentences, and how errors begin and end."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tests import ROOT

MODULES = sorted(path for package in ("harness", "analysis") for path in (ROOT / package).rglob("*.py"))
LONGEST = 25  # words of a sentence in a docstring or comment
ERRORS = ("InputError",)


def docstrings(text: str) -> Iterator[tuple[int, str]]:
    """(line, text) of every docstring."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found = ast.get_docstring(node)
            if found:
                yield getattr(node, "lineno", 1), found


def comments(text: str) -> Iterator[tuple[int, str]]:
    """(line, text) of every comment; whole lines of comment that follow each other are one."""
    block: list[str] = []
    first, last = 0, -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        if token.line.lstrip()[0] != "#":
            yield line, token.string.lstrip("# ")
            continue
        if line != last + 1 and block:
            yield first, " ".join(block)
            block = []
        first, last = (first if block else line), line
        block.append(token.string.lstrip("# "))
    if block:
        yield first, " ".join(block)


def sentences(text: str) -> Iterator[str]:
    """Sentences of prose: code blocks, doctests, and entries such as `name: meaning` are split off."""
    for paragraph in re.split(r"\n\s*\n|\n\s*[-*] |\n(?=\s*[\w., `*]+: )|\n(?=\s*>>>)", text):
        if paragraph.lstrip().startswith(">>>"):
            continue
        flat = re.sub(r"\s+", " ", paragraph).strip()
        flat = re.sub(r"(et al|e\.g|i\.e|cf|vs|arXiv:\d+)\. ", r"\1 ", flat)
        yield from re.split(r"(?<=[.;:!?])\s+(?=[A-Z`(\d\w])", flat)


def words(sentence: str) -> int:
    """Words with a letter in them: numbers and signs of a formula do not count."""
    return sum(bool(re.search(r"[A-Za-z]{2}", word)) for word in sentence.split())


def too_long(path: Path) -> list[str]:
    text = path.read_text()
    return [
        f"{path.relative_to(ROOT)}:{line}: {words(sentence)} words: {sentence}"
        for line, prose in [*docstrings(text), *comments(text)]
        for sentence in sentences(prose)
        if words(sentence) > LONGEST
    ]


def test_no_sentence_is_too_long() -> None:
    assert "\n".join(entry for path in MODULES for entry in too_long(path)) == ""
