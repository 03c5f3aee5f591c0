"""The READMEs of the packages name what is there."""

from __future__ import annotations

import re

import pytest

from analysis.laws import LAWS
from analysis.laws.saturating import FAMILY
from analysis.records.warning_codes import WarningCode
from tests import ROOT
from tests.test_architecture import FLOORS

READMES = [
    "harness/README.md",
    "harness/data/README.md",
    "analysis/README.md",
    "tests/README.md",
    "tests/INTERVALS.md",
    ".github/CONTRIBUTING.md",
    "results/LOG.md",
]


@pytest.mark.parametrize("name", READMES)
def test_links_lead_somewhere(name: str) -> None:
    path = ROOT / name
    links = re.findall(r"\]\(([^)\s#]+)[^)]*\)", path.read_text())
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


@pytest.mark.parametrize("name", READMES)
def test_files_named_in_the_text_exist(name: str) -> None:
    """Paths in backticks, or their ends: `harness/grid/cells.py`, `grid/`, `spec.py`."""
    named = re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:/|\.(?:py|md|yaml|toml)))`", (ROOT / name).read_text())
    folders = [ROOT / name for name in ("harness", "analysis", "sweeps", "tests", "notebooks", ".github")]
    paths = [path for folder in folders for path in (folder, *folder.rglob("*"))]
    paths += [*ROOT.glob("*"), *(ROOT / "results").glob("*")]
    there = {f"/{path.relative_to(ROOT).as_posix()}" + "/" * path.is_dir() for path in paths}
    assert [each for each in named if not any(path.endswith(f"/{each}") for path in there)] == []


def test_every_warning_code_is_explained() -> None:
    text = (ROOT / "analysis/README.md").read_text()
    assert [code.value for code in WarningCode if f"`{code.value}`" not in text] == []


def test_every_law_is_listed() -> None:
    text = (ROOT / "analysis/README.md").read_text()
    assert [name for name in (*LAWS, FAMILY) if f"`{name}`" not in text] == []


def test_the_floors_of_the_harness_are_those_that_are_tested() -> None:
    """Each place stands in the drawing, higher ones above lower ones."""
    drawing = re.search(r"```text\n(.*?bench/.*?)```", (ROOT / "harness/README.md").read_text(), re.DOTALL)
    assert drawing
    lines = drawing[1].splitlines()
    places = {
        place.removeprefix("harness/"): floor
        for place, floor in FLOORS.items()
        if place.startswith("harness/")
    }
    at = {
        place: next(
            i for i, line in enumerate(lines) if re.search(rf"(^|\s){re.escape(place)}(/|\s|$)", line)
        )
        for place in places
    }
    assert [(a, b) for a in at for b in at if at[a] < at[b] and places[a] < places[b]] == []


def test_the_python_example_runs_as_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (block,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "analysis/README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    exec(compile(block, "analysis/README.md", "exec"), {})
    assert "FrontierCurve(C = 10¹³: N* = " in capsys.readouterr().out
