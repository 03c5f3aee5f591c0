"""A page of several sweeps in a browser: a budget moves every answer and every difference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.records.averages import AveragedQuantity, AveragedRecord
from analysis.report.together import difference
from tests.analysis.report.live_pages import all_of, number
from tests.analysis.report.pages import SCRIPT, TOGETHER
from tests.analysis.report.test_live_sections import card, count, ends
from tests.browser import CHROMIUM, NO_BROWSER, Browser, Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)
Json = dict[str, Any]
FIGURE = "#figure-frontiers"
DRAWN = f"document.querySelectorAll('{FIGURE} .live-chart svg').length === 3"


@pytest.fixture(scope="module")
def file(together_file: Path) -> Path:
    return together_file


@pytest.fixture(scope="module")
def data(file: Path) -> Json:
    found: Json = json.loads(SCRIPT.findall(file.read_text())[0])["several"]
    return found


@pytest.fixture(scope="module")
def opened(chromium: Browser, file: Path) -> Iterator[Page]:
    page = chromium.open(file)
    page.place(FIGURE)
    page.until(DRAWN)
    yield page
    assert page.complaints() == []
    page.close()


@pytest.fixture
def page(opened: Page) -> Iterator[Page]:
    """The one page of this module, over all laws."""
    yield opened
    opened.choose("[data-choice=by]", "")


def read(data: Json, place: int, law: str, field: str, flops: float) -> float:
    curve = data["frontiers"][place][law]
    return float(np.exp(np.interp(np.log(flops), np.log(curve["c"]), np.log(curve[field]))))


def recorded(data: Json, place: int, law: str, name: str, flops: float) -> AveragedRecord:
    """A quantity with its interval: in logs, except a loss."""
    fields = (name, f"{name}_low", f"{name}_high")
    found = [read(data, place, law, field, flops) for field in fields]
    value, low, high = found if name == "loss" else np.log(found)
    return AveragedRecord(AveragedQuantity.E, value, low, high, 0.9, True, ())


def said(page: Page, name: str, place: int, part: str = "") -> str:
    return page.text(f"#live-several-{name}-{place}{part}")


@pytest.mark.parametrize("law", ["", "joint"])
def test_a_budget_moves_every_answer_and_difference(page: Page, data: Json, law: str) -> None:
    page.choose("[data-choice=by]", law)
    for flops in (3e12, 4e14):
        page.choose("#live-value", str(flops))
        for place in range(len(TOGETHER)):
            for name in ("n", "d", "loss"):
                text = said(page, name, place)
                assert number(text) == pytest.approx(read(data, place, law, name, flops), rel=6e-3)
            low, high = said(page, "n", place).split("[")[1].strip("]").split(", ")
            assert number(low) == pytest.approx(read(data, place, law, "n_low", flops), rel=6e-3)
            assert number(high) == pytest.approx(read(data, place, law, "n_high", flops), rel=6e-3)
        for name in ("n", "d", "loss"):
            one, two = (recorded(data, place, law, name, flops) for place in (0, 1))
            value, interval = difference(one, two)
            text = said(page, name, 1, "-apart").replace("×", "").replace("−", "-").replace("+", "")
            back = (lambda each: each) if name == "loss" else np.exp
            near = {"abs": 1.5e-3} if name == "loss" else {"rel": 6e-3}
            assert float(text.split(" ")[0]) == pytest.approx(back(value), **near)
            assert ends(text) == pytest.approx(tuple(back(np.array(interval))), **near)
    assert "extrapolation there" in page.text("#live-far")


def test_losses_of_other_texts_are_not_subtracted(page: Page) -> None:
    assert said(page, "loss", 2, "-apart") == "–"
    assert said(page, "n", 2, "-apart") != "–"
    assert "Losses of chinchilla-synthetic and chinchilla are not subtracted" in page.text("#live-budget")


def test_the_slider_moves_the_markers(page: Page) -> None:
    """A diamond for each sweep in each chart, at one compute."""
    places = all_of(f"{FIGURE} .answers path", "e.getAttribute('transform')")
    before = page.run(places)
    assert len(before) == 3 * len(TOGETHER)
    x, y = page.place("#live-slider")
    for kind in ("mousePressed", "mouseReleased"):
        page.send("Input.dispatchMouseEvent", type=kind, x=x + 60, y=y, button="left", clickCount=1)
    page.until(f"JSON.stringify({places}) !== {json.dumps(json.dumps(before, separators=(',', ':')))}")
    across = all_of(f"{FIGURE} .live-chart:first-child .answers path", "e.getBoundingClientRect().x")
    assert np.ptp(page.run(across)) < 1e-3


def test_runs_and_budgets_say_their_numbers_and_a_sweep_is_hidden(page: Page, data: Json) -> None:
    own = [each[""]["c"] for each in data["frontiers"]]
    # The last point lies on top of its neighbours.
    told = card(page, FIGURE, "their_frontiers", sum(map(len, own)) - 1)
    assert told[""] == TOGETHER[2]
    curve = data["frontiers"][2][""]
    assert number(told["best size N*"]) == pytest.approx(curve["n"][-1], rel=6e-3)
    assert number(told["lowest loss"]) == pytest.approx(curve["loss"][-1], rel=6e-3)
    n = count(page, FIGURE, "their_frontiers")
    page.click(f"{FIGURE} [data-series=sweep0]")
    assert count(page, FIGURE, "their_frontiers") == n - 3 * len(own[0])
    page.click(f"{FIGURE} [data-series=sweep0]")


def test_the_view_travels_in_the_address(page: Page, chromium: Browser, file: Path) -> None:
    page.choose("[data-choice=by]", "bounded")
    page.choose("#live-value", "2e14")
    wanted = said(page, "n", 1), said(page, "loss", 1, "-apart")
    other = chromium.open(file, page.run("location.hash"))
    other.until("document.querySelector('#live-several-n-1').textContent")
    assert (said(other, "n", 1), said(other, "loss", 1, "-apart")) == wanted
    assert other.run("document.querySelector('[data-choice=by]').value") == "bounded"
    other.close()
    spoiled = chromium.open(file, "#by=%3Cb%3E&c=-1")
    spoiled.until("document.querySelector('#live-several-n-1').textContent")
    assert spoiled.run("document.querySelector('[data-choice=by]').value") == ""
    assert spoiled.complaints() == []
    spoiled.close()


def test_every_table_sorts_and_is_saved(page: Page) -> None:
    tables = "[...document.querySelectorAll('.scroll > table')]"
    n = page.run(f"{tables}.length")
    assert n >= 6
    assert page.run("document.querySelectorAll('.live-tools .live-save[title$=CSV]').length") == n
    unsorted = f"{tables}.filter((e) => e.tBodies[0].rows.length > 1 && !e.querySelector('.live-sort'))"
    assert page.run(f"{unsorted}.map((e) => e.innerText.slice(0, 80))") == []
    heading = "#budgets ~ .scroll thead th:nth-child(2)"
    page.click(f"{heading} button")
    page.click(f"{heading} button")
    cells = all_of("#budgets + h3 + .scroll tbody td:nth-child(2)", "e.innerText")
    values = [number(text) for text in page.run(cells)]
    assert len(values) > 3
    assert values == sorted(values, reverse=True)
