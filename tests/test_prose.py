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
ERRORS = ("InputError", "PreparedTableMissing")
# First words of an error that keep their capital letter.
NAMES = ("PyTorch", "Ray", "Slurm")


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


def errors(path: Path) -> Iterator[tuple[int, ast.expr]]:
    """(line, text as an expression) of every error that is raised for the user's input."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ERRORS and node.args:
            yield node.lineno, node.args[0]


def parts(text: ast.expr) -> Iterator[str]:
    """Literal parts of a text in order; an empty string stands for a part that is computed."""
    if isinstance(text, ast.JoinedStr):
        for value in text.values:
            yield from parts(value)
    elif isinstance(text, ast.BinOp):
        yield from parts(text.left)
        yield from parts(text.right)
    else:
        yield str(text.value) if isinstance(text, ast.Constant) else ""


def faults(text: ast.expr) -> Iterator[str]:
    """A capital letter at the beginning, except of a name; a full stop at the end."""
    found = [*parts(text)]
    first, last = found[0], found[-1]
    word = re.match(r"\w*", first)
    # One letter alone is a quantity, such as N; capitals throughout are a variable of the environment.
    if word and word[0][1:].islower() and word[0][0].isupper() and word[0] not in NAMES:
        yield f"begins with {word[0]}"
    if last.rstrip().endswith(".") and not last.endswith("..."):
        yield "ends with a full stop"


def test_errors_begin_small_and_end_without_a_full_stop() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {fault}"
        for path in MODULES
        for line, text in errors(path)
        for fault in faults(text)
    ]
    assert "\n".join(wrong) == ""


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every string literal that is no docstring."""
    tree = ast.parse(path.read_text())
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def test_the_library_of_the_analysis_names_no_option_of_a_command() -> None:
    """It serves notebooks too: an error names the argument, and the command line adds the option."""
    commands = {
        "__main__.py", "table_options.py", "advice.py", "fit.py", "import_runs.py", "same_law.py",
        "summary.py",
    }  # fmt: skip
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in MODULES
        if path.is_relative_to(ROOT / "analysis") and path.name not in commands
        for line, text in strings(path)
        if re.search(r"(^|[\s('`])--[a-z]", text)
    ]
    assert "\n".join(wrong) == ""
