"""The live report of a made-up sweep in a browser, for all modules of this folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.report.build import Sweep, read_sweep
from tests.analysis.report.live_pages import DRAWN
from tests.analysis.report.pages import SCRIPT
from tests.browser import Browser, Page


@pytest.fixture(scope="session")
def file(live_report: Path) -> Path:
    return live_report


@pytest.fixture(scope="session")
def sweep(file: Path) -> Sweep:
    return read_sweep(file.parent / "fake")


@pytest.fixture(scope="session")
def data(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SCRIPT.findall(file.read_text())[0])
    return found


@pytest.fixture
def page(chromium: Browser, file: Path) -> Iterator[Page]:
    opened = chromium.open(file)
    opened.until(DRAWN)
    yield opened
    assert opened.complaints() == []
    opened.close()
