"""The documents have a page of every README and notebook, under links that hold; Sphinx is not needed.

`sphinx-build -EW .docs .docs/html` is the test of the rest; `.ci/run` has it.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import runpy
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

import analysis
import harness
from tests import ROOT

PAGES = runpy.run_path(str(ROOT / ".docs/pages.py"))
INTERVALS = ROOT / "tests/INTERVALS.md"
TWO_IN_ONE = re.compile(r"^ {4,}(?:\w+, )+\w+: .*|^ {4,}\w+: .*\.  \w+: .*", re.MULTILINE)
QUOTE = re.compile(r"((?:^>.*\n)+)\n— .*?\[([\w/.]+)\]", re.MULTILINE)


@pytest.fixture(scope="module")
def written() -> Any:
    return PAGES["Pages"]()


def committed(*patterns: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return listed.stdout.split()


def flat(text: str) -> str:
    return " ".join(text.split())


def test_every_text_and_notebook_has_a_page(written: Any) -> None:
    files = committed("*.md", "*.ipynb")
    assert len(files) > 10
    assert [file for file in files if file not in PAGES["pages"]()] == []
    assert [file for file in PAGES["pages"]() if not (ROOT / file).exists()] == []
    names = [f"{name}{Path(file).suffix}" for file, name in PAGES["pages"]().items()]
    assert len(set(names)) == len(names)
    assert set(names) < set(written.texts)


def test_the_sidebar_lists_every_page(written: Any) -> None:
    listed = re.findall(r"^.+ <([\w-]+)>$", written.texts["index.md"], re.MULTILINE)
    assert len(listed) == len(set(listed))
    pages = {Path(name).stem for name in written.texts if "/" not in name}
    assert {"index", *listed} == pages | {"api-analysis", "api-harness"}


def test_links_lead_to_pages_copies_and_listings(written: Any) -> None:
    """A link that was left as it was leads nowhere."""
    found = 0
    for name, text in written.texts.items():
        prose = text if name.endswith(".md") else "\n".join(markdown_of(text))
        for link in PAGES["LINK"].finditer(prose):
            path = link["path"]
            beside = os.path.relpath((ROOT / ".docs" / name).parent / path, ROOT / ".docs")
            assert beside in written.texts or (ROOT / ".docs" / beside).is_file(), (name, path)
            found += 1
    assert found > 30
    assert written.copied
    assert all((ROOT / file).is_file() for file in written.copied)


def markdown_of(notebook: str) -> list[str]:
    return [
        "".join(cell["source"]) for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "markdown"
    ]


def test_an_anchor_is_kept_and_names_a_heading(written: Any) -> None:
    found = [
        (Path(link["path"]).stem, link["fragment"][1:])
        for name, text in written.texts.items()
        if name.endswith(".md")
        for link in PAGES["LINK"].finditer(text)
        if link["fragment"]
    ]
    assert len(found) >= 2
    for page, anchor in found:
        headings = re.findall(r"^#+ (.+)$", written.texts[f"{page}.md"], re.MULTILINE)
        assert anchor in [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings]


def test_the_gallery_has_every_committed_kind_of_figure_once(written: Any) -> None:
    shown = re.findall(r"^!\[(\w+)\]", written.texts["gallery.md"], re.MULTILINE)
    assert len(shown) == len(set(shown))
    assert {Path(file).stem for file in committed("results/*/figures/*.svg")} <= set(shown)
    drawing = re.findall(r"<analysis\.figures\.(\w+)>", written.texts["gallery.md"])
    assert set(drawing) <= set(analysis.figures.__all__)


def test_pages_of_before_are_removed_and_equal_ones_left_alone(tmp_path: Path, written: Any) -> None:
    written.write(tmp_path)
    (tmp_path / "of_before.md").write_text("")
    index = tmp_path / "index.md"
    before = index.stat().st_mtime_ns
    written.write(tmp_path)
    assert not (tmp_path / "of_before.md").exists()
    assert index.stat().st_mtime_ns == before


@pytest.mark.parametrize("package", [analysis, harness], ids=lambda package: package.__name__)
def test_the_api_page_has_the_public_names_and_no_others(package: Any) -> None:
    text = PAGES["api"](package, package.__all__)
    shown = re.findall(r"^\.\. (?:auto\w+|py:data):: ([\w.]+)$", text, re.MULTILINE)
    figures = [f"figures.{name}" for name in analysis.figures.__all__] if package is analysis else []
    public = [name for name in package.__all__ if name not in ("__version__", "figures")]
    assert sorted(shown) == sorted(
        [package.__name__, *(f"{package.__name__}.{name}" for name in (*public, *figures))]
    )


@pytest.mark.parametrize("package", [analysis, harness], ids=lambda package: package.__name__)
def test_docstrings_say_one_thing_an_entry(package: Any) -> None:
    """Sphinx takes `a, b: text` for a b of type a, and `Text: more` on a property for a type."""
    classes = [each for name in package.__all__ if isinstance(each := getattr(package, name), type)]
    assert classes
    wrong = [
        f"{each.__name__}: {entry}" for each in classes for entry in TWO_IN_ONE.findall(each.__doc__ or "")
    ]
    for each in classes:
        for name, value in vars(each).items():
            if not name.startswith("_") and isinstance(value, property | cached_property):
                first = (inspect.getdoc(value) or "").split("\n")[0]
                wrong += [f"{each.__name__}.{name}: {first}"] if ": " in first else []
    assert wrong == []


def test_quotes_on_intervals_are_word_for_word() -> None:
    quotes = QUOTE.findall(INTERVALS.read_text())
    assert len(quotes) == INTERVALS.read_text().count("\n\n>") > 10
    wrong = [
        f"not in {file}: {quote}"
        for lines, file in quotes
        if (quote := flat(lines.replace("\n> ", " ").removeprefix("> ")))
        not in flat((ROOT / file).read_text())
    ]
    assert wrong == []


def test_tests_named_on_intervals_exist() -> None:
    named = [
        (file, name)
        for file, text in re.findall(r"`(tests/[\w/]+\.py)`([^.—]*)", INTERVALS.read_text())
        for name in re.findall(r"`(test_\w+)`", text)
    ]
    assert len(named) > 25
    assert [each for each in named if f"\ndef {each[1]}(" not in (ROOT / each[0]).read_text()] == []
