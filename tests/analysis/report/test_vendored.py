"""Foreign programs that a report carries: the published files, with their licences."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from analysis.report.live import EXPORT, IMPORT, VENDORED, programs

FILES: list[dict[str, Any]] = json.loads((VENDORED / "versions.json").read_text())


@pytest.mark.parametrize("each", FILES, ids=lambda each: each["file"])
def test_file_is_the_published_one(each: dict[str, Any]) -> None:
    content = (VENDORED / each["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == each["sha256"]
    assert each["archive"].endswith(f"/{each['package']}-{each['version']}.tgz")


def test_every_vendored_file_is_listed() -> None:
    there = {path.name for path in VENDORED.iterdir()}
    assert there == {each["file"] for each in FILES} | {"versions.json", "LICENCES.txt"}


def test_vega_says_its_version() -> None:
    (vega,) = (each for each in FILES if each["package"] == "vega")
    assert f'.version="{vega["version"]}"' in (VENDORED / vega["file"]).read_text()


def test_licences_name_every_package_and_travel_with_the_page() -> None:
    licences = (VENDORED / "LICENCES.txt").read_text()
    assert all(f"{each['package']} {each['version']} ({each['licence']})" in licences for each in FILES)
    assert licences in programs()[0]
    # Else the comment that holds them would end early.
    assert "*/" not in licences


def test_interpreter_is_tied_to_the_global_of_vega() -> None:
    interpreter = programs()[1]
    assert "import " not in interpreter
    assert "export " not in interpreter
    module = (VENDORED / "vega-interpreter.js").read_text()
    assert module.count(IMPORT) == module.count(EXPORT) == 1


def test_no_program_ends_its_element() -> None:
    assert not any("</script" in text or "<!--" in text for text in programs())
