"""Selecting runs in one figure, and views that travel: ranges, hidden parts, units, saved pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from analysis import plots
from analysis.explorer.page import NOTHING
from analysis.report import build as report
from analysis.report.build import Sweep
from analysis.report.live import live_page
from harness.records.number_text import power_of_ten
from tests.analysis.report.live_pages import DRAWN, all_of, hover, largest, number
from tests.browser import CHROMIUM, NO_BROWSER, Browser, Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)
PLACES = (
    "[...document.querySelectorAll('#figure-overview .hits path')].map(e => {"
    "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]})"
)


def drag(page: Page, first: tuple[float, float], last: tuple[float, float]) -> None:
    for kind, (x, y) in (("mousePressed", first), ("mouseMoved", last), ("mouseReleased", last)):
        page.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def opacities(page: Page, figure: str) -> list[float]:
    found = page.run(
        all_of(f"#figure-{figure} .live-chart:first-child .dots path", "e.getAttribute('opacity')")
    )
    return [float(each) for each in found]


@pytest.fixture
def picked(page: Page) -> list[int]:
    """Select the right half of the runs in the first figure; return their places in the rows of the page."""
    page.choose("#live-drag", "pick")
    page.place("#figure-overview .live-chart")
    places = np.array(page.run(PLACES))
    edge = float(np.median(places[:, 0])) + 2
    top, bottom = places[:, 1].min() - 8, places[:, 1].max() + 8
    drag(page, (edge, top), (places[:, 0].max() + 6, bottom))
    return [row for row, (x, _) in enumerate(places) if x >= edge]


def test_runs_selected_in_one_figure_stand_out_in_all(
    page: Page, data: dict[str, Any], picked: list[int]
) -> None:
    assert 3 < len(picked) < len(data["runs"])
    off = np.array([data["runs"][row]["residual"][0] for row in picked])
    words = f"{len(picked)} runs selected, RMS {np.sqrt(np.mean(off**2)):.2f} % off the law"
    assert page.text("#live-picked-words") == words
    for figure in ("overview", "frontier", "residuals", "loss_curves", "contours", "isoflop"):
        page.place(f"#figure-{figure}")
        page.until(f"document.querySelector('#figure-{figure} .dots path')")
        shown = opacities(page, figure)
        assert [row for row, opacity in enumerate(shown) if opacity > 0.5] == picked, figure
    rows = page.run("[...document.querySelectorAll('tr.picked')].map(e => e.id)")
    assert set(rows) == {f"point-row-{data['runs'][row]['id']}" for row in picked}
    page.click("#live-let-go")
    assert page.run("document.querySelector('#live-let-go').hidden")
    assert page.run("document.querySelectorAll('tr.picked').length") == 0


def test_selection_follows_the_law_and_escape_lets_it_go(
    page: Page, data: dict[str, Any], picked: list[int]
) -> None:
    law = data["laws"].index("chinchilla")
    page.choose("#live-law", str(law))
    off = np.array([data["runs"][row]["residual"][law] for row in picked])
    assert f"RMS {np.sqrt(np.mean(off**2)):.2f} %" in page.text("#live-picked-words")
    page.press("Escape")
    assert page.run("document.querySelector('#live-let-go').hidden")


def test_selection_travels_in_the_address(
    page: Page, chromium: Browser, file: Path, picked: list[int]
) -> None:
    other = chromium.open(file, page.run("location.hash"))
    other.until(DRAWN)
    assert other.text("#live-picked-words") == page.text("#live-picked-words")
    assert [row for row, opacity in enumerate(opacities(other, "overview")) if opacity > 0.5] == picked
    other.close()


def test_enlarged_range_is_shared_by_charts_and_travels(page: Page, chromium: Browser, file: Path) -> None:
    page.place("#figure-frontier .live-chart")
    page.until("document.querySelectorAll('#figure-frontier .live-chart svg').length === 2")
    texts = all_of("#figure-frontier .live-chart:nth-child(2) .role-axis-label text", "e.textContent")
    before = page.run(texts)
    left, top, width, height = page.run(
        "(() => {const b = document.querySelector('#figure-frontier .live-chart').getBoundingClientRect();"
        "return [b.x, b.y, b.width, b.height]})()"
    )
    drag(page, (left + 0.3 * width, top + 0.2 * height), (left + 0.6 * width, top + 0.6 * height))
    inside = page.run(texts)
    assert inside != before
    page.click("#figure-frontier [data-series=flat]")
    other = chromium.open(file, page.run("location.hash"))
    other.until(DRAWN)
    other.place("#figure-frontier .live-chart")
    other.until("document.querySelectorAll('#figure-frontier .live-chart svg').length === 2")
    assert set(other.run(texts)) == set(inside)
    pressed = "document.querySelector('#figure-frontier [data-series={}]').getAttribute('aria-pressed')"
    assert [other.run(pressed.format(name)) for name in ("flat", "interval")] == ["false", "true"]
    other.close()


@pytest.mark.parametrize("unit", ["nats", "bits", "perplexity"])
def test_loss_has_its_error_in_every_unit(page: Page, data: dict[str, Any], unit: str) -> None:
    run = data["runs"][largest(data)]
    each = {"nats": 1, "bits": data["bits_per_nat"], "perplexity": np.exp(run["loss"])}[unit]
    page.choose("#live-unit", unit)
    hover(page, largest(data))
    said = page.text("#live-card")
    assert number(said.partition(" ± ")[2]) == pytest.approx(run["sem"] * each, rel=0.2, abs=6e-4)
    assert power_of_ten(run["c"]) in said


def test_a_budget_is_left_out_by_a_click(page: Page, data: dict[str, Any]) -> None:
    law = next(law for law, name in enumerate(data["left_out"]) if name and name.startswith("C from"))
    unseen = data["unseen"][law]
    page.choose("#live-law", str(law))
    label = page.run("document.querySelector('#live-law').selectedOptions[0].parentElement.label")
    assert label == "all laws, by weight, one budget left out"
    black = all_of("#figure-overview .dots path", "e.getAttribute('stroke')")
    assert page.run(black).count("#000000") == len(unseen)
    row = next(row for row, run in enumerate(data["runs"]) if run["id"] == unseen[0])
    page.place("#figure-residuals")
    page.until("document.querySelector('#figure-residuals .hits path')")
    hover(page, row, "residuals")
    said = page.text("#live-card")
    assert "left out of this fit" in said
    residual = data["runs"][row]["residual"]
    assert f"{abs(residual[law]):.2f} %" in said
    assert residual[law] != residual[0]
    assert number(page.text("#live-out-n")) == pytest.approx(
        float(np.exp(np.interp(np.log(data["largest"]), *np.log([data["frontier"][law][k] for k in "cn"])))),
        rel=5e-3,
    )


def test_a_static_figure_is_saved_as_a_picture(chromium: Browser, sweep: Sweep, tmp_path: Path) -> None:
    """On a page of very many runs figures are static."""
    path = tmp_path / "static.html"
    assert sweep.primary
    svg = {"cloud": plots.to_svg(plots.cloud(sweep.primary), "cloud")}
    path.write_text(report.render(sweep, svg, live_page(NOTHING)))
    page = chromium.open(path)
    page.browser.send(
        "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path), eventsEnabled=True
    )
    page.browser.events.clear()
    page.click("#figure-cloud .live-save")
    done = "Browser.downloadProgress"
    while not any(e["method"] == done and e["params"]["state"] == "completed" for e in page.browser.events):
        page.run("1")
    picture = imread(tmp_path / "cloud.png")
    assert picture.shape[1] > 600
    assert picture[0, 0, :3].min() == 1
    assert picture[..., :3].min() < 0.5
    assert page.complaints() == []
    page.close()
