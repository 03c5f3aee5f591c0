"""The live report of a made-up sweep in a browser, for all modules of this folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.report.build import Sweep, read_sweep
from tests.analysis.report.live_pages import DRAWN, as_opened
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
def fresh_page(chromium: Browser, file: Path) -> Iterator[Page]:
    """A page of its own, for tests that leave on it what its address does not hold."""
    opened = chromium.open(file)
    opened.until(DRAWN)
    yield opened
    assert opened.complaints() == []
    opened.close()


@pytest.fixture(scope="module")
def kept_page(chromium: Browser, file: Path) -> Iterator[Page]:
    opened = chromium.open(file)
    opened.until(DRAWN)
    yield opened
    opened.close()


@pytest.fixture
def page(kept_page: Page) -> Iterator[Page]:
    """The one page of a module, as if it were just opened; opening one takes long."""
    as_opened(kept_page)
    yield kept_page
    assert kept_page.complaints() == []
