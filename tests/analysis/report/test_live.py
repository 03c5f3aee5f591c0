"""The live report in a real browser: each control is used by mouse or key, and the numbers are read off."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from analysis.averaging.average import average_laws
from analysis.explorer.answers import answers_of_laws
from analysis.explorer.page import FIELDS, NOTHING
from analysis.explorer.vega import UNITS
from analysis.prediction.predictor import Predictor
from analysis.report import build as report
from analysis.report.build import Sweep
from analysis.report.live import HERE, live_page
from harness.records.number_text import power_of_ten, si
from tests.analysis.prediction.test_predictor import runs
from tests.analysis.report.live_pages import DRAWN, all_of, answer, hidden_text, hover, largest, number, read
from tests.browser import CHROMIUM, NO_BROWSER, Browser, Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)
SECONDS, MILLISECONDS = 6.0, 500.0  # generous: a machine of tests is shared; results/LOG.md has the figures


def script(*names: str) -> str:
    """Our own files as the inside of a function, without the page."""
    return "".join((HERE / "script" / name).read_text() for name in names)


def test_numbers_are_spelled_as_in_the_rest_of_the_page(chromium: Browser, file: Path) -> None:
    page = chromium.open(file)
    values = [25_700, 1_048_576, 1.5e9, 431.0, 8.2e10, 3e12, 2.06e13, 1e14]
    spelled = f"{json.dumps(values)}.map((value) => [si(value), flops(value)])"
    found = page.run(f"(() => {{{script('format.js')}; return {spelled}}})()")
    assert found == [[si(value), power_of_ten(value)] for value in values]
    texts = ["3e12", "3×10^12", "250k", "1.5M", "2,000", "x"]
    typed = page.run(f"(() => {{{script('format.js')}; return {json.dumps(texts)}.map(typed)}})()")
    assert typed[:5] == [3e12, 3e12, 250e3, 1.5e6, 2000]
    assert typed[5] is None  # NaN
    page.close()


def test_answers_between_the_budgets_are_those_of_the_predictor(chromium: Browser, file: Path) -> None:
    """For a compute, and for the size or the tokens that are to be the best ones, with all intervals."""
    table, laws = runs(0.004), ["chinchilla", "joint"]
    together = answers_of_laws(table, laws, resamples=80)[0].frontier
    curve = {name: [getattr(row, field) for row in together] for name, field in FIELDS.items()}
    predictor = Predictor.over_laws(table, laws=laws, resamples=80)
    assert len(average_laws(table, laws, resamples=80).kept) == 2
    page = chromium.open(file)
    for name, value, wanted in (
        ("c", 3.3e21, predictor.best(flops=3.3e21)),
        ("n", 1.1e9, predictor.best(n=1.1e9)),
        ("d", 2.2e10, predictor.best(d=2.2e10)),
    ):
        asked = f"answerOf({json.dumps(curve)}, {name!r}, {value})"
        found = page.run(f"(() => {{{script('answers.js')}; return {asked}}})()")
        for axis, one in (("c", wanted.flops), ("n", wanted.n), ("d", wanted.d), ("loss", wanted.loss)):
            assert found[axis] == pytest.approx(one.value, rel=5e-3), (name, axis)
            if one.interval and axis != name:
                ends = found[f"{axis}_low"], found[f"{axis}_high"]
                assert ends == pytest.approx(one.interval, rel=0.02), (name, axis)
    page.close()


def test_page_runs_its_own_scripts_and_no_other(page: Page, file: Path) -> None:
    assert page.run("typeof vega.View") == "function"
    page.run(
        "(() => {const planted = document.createElement('script');"
        "planted.textContent = 'window.planted = 1'; document.body.append(planted)})()"
    )
    assert page.run("window.planted") is None
    # What was refused is no fault of the page.
    page.browser.events.clear()
    assert "unsafe-eval" not in file.read_text()[:2000]


def test_the_first_figure_comes_soon(page: Page) -> None:
    assert page.run("performance.getEntriesByName('first figure')[0].startTime") < 1000 * SECONDS


def test_the_largest_run_is_the_first_answer(page: Page, data: dict[str, Any]) -> None:
    found, curve = answer(page), data["frontier"][0]
    assert number(found["c"]) == pytest.approx(data["largest"], rel=5e-3)
    for name in ("n", "d", "loss"):
        assert number(found[name]) == pytest.approx(read(curve, name, data["largest"]), rel=5e-3)
    low, high = (number(part) for part in page.text("#live-low-high-n").strip("[]").split(", "))
    assert low == pytest.approx(read(curve, "n_low", data["largest"]), rel=5e-3)
    assert high == pytest.approx(read(curve, "n_high", data["largest"]), rel=5e-3)
    assert number(found["ratio"]) == pytest.approx(number(found["d"]) / number(found["n"]), rel=0.02)
    assert page.text("#live-far") == "Within the compute of the runs."


def test_an_objection_stands_beside_the_answer(sweep: Sweep, file: Path) -> None:
    assert "live-objection" not in file.read_text().partition("<body>")[2]
    doubted = replace(sweep, fits=replace(sweep.fits, objection="9 cells are few"))
    text = report.render(doubted, {}, live_page(replace(NOTHING, laws=("joint",), level=0.9)))
    section = text[text.index('id="live-budget"') : text.index('id="live-out-c"')]
    assert "Not to be quoted yet:</b> 9 cells are few." in section


def test_slider_moves_answer_and_markers(page: Page, data: dict[str, Any]) -> None:
    before = page.run(f"{DRAWN}.querySelector('.budget path').getAttribute('transform')")
    x, y = page.place("#live-slider")
    for kind in ("mousePressed", "mouseReleased"):
        page.send("Input.dispatchMouseEvent", type=kind, x=x + 40, y=y, button="left", clickCount=1)
    found, curve = answer(page), data["frontier"][0]
    flops = number(found["c"])
    assert flops > 3 * data["largest"]
    assert number(found["n"]) == pytest.approx(read(curve, "n", flops), rel=0.01)
    assert "extrapolation" in page.text("#live-far")
    assert page.run(f"{DRAWN}.querySelector('.budget path').getAttribute('transform')") != before
    page.press("ArrowLeft")
    assert number(answer(page)["c"]) < flops
    slow = page.run(
        "(() => {const s = document.querySelector('#live-slider'); const start = performance.now();"
        "for (let i = 0; i < 5; i += 1) {s.value = 400 + 20 * i; s.dispatchEvent(new Event('input'));"
        "document.body.getBoundingClientRect()} return (performance.now() - start) / 5})()"
    )
    assert slow < MILLISECONDS


def test_given_size_and_given_tokens_lead_to_a_budget(page: Page, data: dict[str, Any]) -> None:
    curve = data["frontier"][0]
    for name, text, value in (("n", "250k", 250e3), ("d", "3M", 3e6)):
        page.choose("#live-given", name)
        page.choose("#live-value", text)
        found = answer(page)
        assert number(found[name]) == pytest.approx(value)
        assert read(curve, name, number(found["c"])) == pytest.approx(value, rel=0.01)
        assert page.text("#live-low-high-c").startswith("[")
    page.choose("#live-value", "many")
    assert page.run("document.querySelector('#live-value').getAttribute('aria-invalid')") == "true"


def test_typed_speed_gives_the_time(page: Page, data: dict[str, Any]) -> None:
    page.choose("#live-value", "1e15")
    page.choose("#live-speed", "1e10")
    assert answer(page)["hours"] == "27.8 h"
    assert number(page.text("#live-out-c")) == pytest.approx(1e15)
    assert data["speed"] > 0


def test_law_changes_answer_frontier_and_residuals(page: Page, data: dict[str, Any]) -> None:
    page.place("#figure-residuals")
    page.until("document.querySelector('#figure-residuals .hits path')")
    places = all_of("#figure-residuals .dots path", "e.getAttribute('transform')")
    line = f"{DRAWN}.querySelector('.mark-line path').getAttribute('d')"
    law = data["laws"].index("chinchilla")
    before = page.run(places), page.run(line)
    page.choose("#live-law", str(law))
    assert page.run(places) != before[0]
    page.place("#figure-overview")
    page.until(f"{line} !== {json.dumps(before[1])}")
    curve = data["frontier"][law]
    assert number(answer(page)["n"]) == pytest.approx(read(curve, "n", data["largest"]), rel=5e-3)
    hover(page, largest(data))
    off = data["runs"][largest(data)]["residual"][law]
    assert f"{abs(off):.2f} %" in page.text("#live-card")


def test_law_changes_the_irreducible_loss(page: Page, data: dict[str, Any]) -> None:
    assert len(data["irreducible"]) == len(data["laws"])
    for law, known in enumerate(data["irreducible"]):
        page.choose("#live-law", str(law))
        ends = page.text("#live-low-high-irreducible").strip("[]").split(", ")
        assert [float(end) for end in ends] == pytest.approx([known["low"], known["high"]], abs=6e-4)
        shown = page.text("#live-out-irreducible")
        assert shown == (known["why"] or f"{known['value']:.3f} nats")
    assert {"", "not to be quoted"} >= {known["why"] for known in data["irreducible"]} - {"not identified"}


def test_a_size_is_left_out_by_a_click(page: Page, data: dict[str, Any]) -> None:
    rung = data["runs"][largest(data)]["rung"]
    law = data["left_out"].index(rung)
    page.choose("#live-law", str(law))
    assert number(answer(page)["n"]) == pytest.approx(
        read(data["frontier"][law], "n", data["largest"]), rel=5e-3
    )
    black = all_of("#figure-overview .dots path", "e.getAttribute('stroke')")
    wanted = sum(run["rung"] == rung for run in data["runs"])
    assert page.run(black).count("#000000") == wanted
    hover(page, largest(data))
    assert "left out of this fit" in page.text("#live-card")
    assert f"{abs(data['runs'][largest(data)]['residual'][law]):.2f} %" in page.text("#live-card")


@pytest.mark.parametrize("unit", UNITS)
def test_loss_is_shown_in_each_unit(page: Page, data: dict[str, Any], unit: str) -> None:
    page.choose("#live-unit", unit)
    loss = read(data["frontier"][0], "loss", data["largest"])
    wanted = {"nats": loss, "bits": loss * data["bits_per_nat"], "perplexity": np.exp(loss)}[unit]
    assert number(answer(page)["loss"]) == pytest.approx(wanted, rel=2e-3)
    assert UNITS[unit] in hidden_text(page, "#figure-overview .live-chart svg")


def test_hover_shows_the_run_and_lights_it_everywhere(page: Page, data: dict[str, Any]) -> None:
    run = data["runs"][largest(data)]
    hover(page, largest(data))
    said = page.text("#live-card")
    words = [run["rung"], run["run"], si(run["d"]), f"{run['loss']:.3f}", *map(si, run["n"])]
    assert all(word in said for word in words)
    assert "click to keep" in said
    assert page.run(f"document.querySelector('#point-row-{run['id']}').classList.contains('lit')")
    page.point(5, 5)
    assert page.run("document.querySelector('#live-card').hidden")
    hover(page, largest(data), "frontier")
    assert run["run"] in page.text("#live-card")


def test_click_keeps_the_card_and_leads_to_the_row(page: Page, data: dict[str, Any]) -> None:
    run = data["runs"][0]
    page.click("#figure-overview .hits path")
    page.point(5, 5)
    assert run["rung"] in page.text("#live-card")
    page.click("#live-card a")
    assert page.run("location.hash") == f"#point-row-{run['id']}"
    row = page.text(f"#point-row-{run['id']}")
    assert f"{run['loss']:.3f}" in row
    page.press("Escape")
    assert page.run("document.querySelector('#live-card').hidden")
    page.click("#figure-overview .hits path")
    assert not page.run("document.querySelector('#live-card').hidden")
    page.click("h1")
    assert page.run("document.querySelector('#live-card').hidden")


def test_legend_hides_a_size_in_all_figures_and_a_part_in_one(page: Page, data: dict[str, Any]) -> None:
    count = "document.querySelectorAll('#figure-{} .hits path').length"
    rung = data["runs"][0]["rung"]
    others = sum(run["rung"] != rung for run in data["runs"])
    page.click(f"#figure-overview [data-rung={rung}]")
    assert page.run(count.format("overview")) == others
    page.place("#figure-loss_curves")
    page.until(f"{count.format('loss_curves')} === {others}")
    page.click(f"#figure-loss_curves [data-rung={rung}]")
    page.place("#figure-overview")
    page.until(f"{count.format('overview')} === {len(data['runs'])}")
    band = f"{DRAWN}.querySelector('.mark-area path').getAttribute('opacity')"
    assert float(page.run(band)) > 0
    page.click("#figure-overview [data-series=interval]")
    assert float(page.run(band)) == 0


def test_axes_become_linear(page: Page) -> None:
    labels = all_of("#figure-overview .role-axis-label text", "e.textContent")
    before = page.run(labels)
    page.click("#live-linear")
    after = page.run(labels)
    assert "10¹²" in before
    assert after != before
    assert "0" in after


def test_a_part_of_a_figure_is_enlarged_by_the_mouse(page: Page) -> None:
    labels = all_of("#figure-overview .role-axis-label text", "e.textContent")
    before = page.run(labels)
    left, top, width, height = page.run(
        "(() => {const b = document.querySelector('#figure-overview .live-chart').getBoundingClientRect();"
        "return [b.x, b.y, b.width, b.height]})()"
    )
    corners = [(left + share * width, top + share * height) for share in (0.4, 0.7)]
    page.point(*corners[0])
    for kind, corner in (("mousePressed", 0), ("mouseMoved", 1), ("mouseReleased", 1)):
        x, y = corners[corner]
        page.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    inside = page.run(labels)
    assert inside != before
    losses = [float(text) for text in inside if re.fullmatch(r"\d\.\d+", text)]
    whole = [float(text) for text in before if re.fullmatch(r"\d(\.\d+)?", text)]
    assert np.ptp(losses) < 0.6 * np.ptp(whole)
    page.choose("#live-law", "1")
    assert page.run(labels) == inside
    for count in (1, 2):
        for kind in ("mousePressed", "mouseReleased"):
            x, y = corners[0]
            page.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=count)
    assert page.run(labels) != inside


def test_loss_curves_hold_every_trunk_and_branch(page: Page, data: dict[str, Any]) -> None:
    page.place("#figure-loss_curves")
    lines = "document.querySelectorAll('#figure-loss_curves .live-chart:first-child .mark-line path').length"
    page.until(f"{lines} === {len(data['curves']['rows'])}")


def test_view_travels_in_the_address(page: Page, chromium: Browser, file: Path, data: dict[str, Any]) -> None:
    rung = data["runs"][0]["rung"]
    page.choose("#live-law", "1")
    page.choose("#live-unit", "bits")
    page.choose("#live-given", "n")
    page.choose("#live-value", "200k")
    page.click(f"#figure-overview [data-rung={rung}]")
    address, wanted = page.run("location.hash"), answer(page)
    other = chromium.open(file, address)
    other.until(DRAWN)
    assert answer(other) == wanted
    assert other.run("document.querySelector('#live-law').value") == "1"
    assert other.run(f"document.querySelector('[data-rung={rung}]').getAttribute('aria-pressed')") == "false"
    other.close()
    spoiled = chromium.open(file, "#law=%3Cb%3E&unit=miles&c=-1&hide=x,y")
    spoiled.until(DRAWN)
    assert number(answer(spoiled)["c"]) == pytest.approx(data["largest"], rel=5e-3)
    assert spoiled.complaints() == []
    spoiled.close()


def test_a_view_pasted_into_an_open_page_is_shown(page: Page, data: dict[str, Any]) -> None:
    rung = data["runs"][0]["rung"]
    page.choose("#live-law", "1")
    page.run(f"location.hash = 'unit=bits&n=200000&hide={rung}&parts=overview.interval'")
    page.until("document.querySelector('#live-unit').value === 'bits'")
    assert page.run("document.querySelector('#live-law').value") == "0"
    assert number(answer(page)["n"]) == pytest.approx(2e5)
    assert UNITS["bits"] in hidden_text(page, "#figure-overview .live-chart svg")
    others = sum(run["rung"] != rung for run in data["runs"])
    assert page.run("document.querySelectorAll('#figure-overview .hits path').length") == others
    band = f"{DRAWN}.querySelector('.mark-area path').getAttribute('opacity')"
    assert float(page.run(band)) == 0


def test_tables_sort_by_their_numbers(page: Page) -> None:
    column = all_of("[id^=point-row]", "e.cells[7].innerText")
    heading = "#points ~ .scroll thead th:nth-child(8)"
    for order in ("ascending", "descending"):
        page.click(f"{heading} button")
        values = [number(text) for text in page.run(column) if text != "–"]
        assert values == sorted(values, reverse=order == "descending")
        assert page.run(f"document.querySelector({heading!r}).getAttribute('aria-sort')") == order


def test_the_table_of_what_depends_on_the_law_sorts(page: Page) -> None:
    asked = "[...document.querySelectorAll('table')].find((e) => e.tHead?.innerText.startsWith('quantity'))"
    assert page.run(f"{asked}.tBodies[0].rows.length") == 9
    page.run(f"{asked}.tHead.rows[0].cells[2].querySelector('button.live-sort').click()")
    weights = page.run(f"[...{asked}.tBodies[0].rows].map((row) => Number(row.cells[2].innerText))")
    assert weights == [0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 1, 1, 1]


def test_tables_and_figures_are_saved(page: Page, tmp_path: Path) -> None:
    page.browser.send(
        "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path), eventsEnabled=True
    )
    saved: list[Path] = []
    for selector, name in (
        ("#points ~ .live-tools .live-save", "all-points.csv"),
        ("#figure-overview .live-save:last-child", "overview.svg"),
        ("#figure-overview .live-save", "overview.png"),
    ):
        page.browser.events.clear()
        page.click(selector)
        done = "Browser.downloadProgress"
        while not any(
            e["method"] == done and e["params"]["state"] == "completed" for e in page.browser.events
        ):
            page.run("1")
        saved.append(tmp_path / name)
    table, figure = (path.read_text() for path in saved[:2])
    assert imread(saved[2]).shape[1] > 700  # at twice the width of the page's figure
    rows = table.splitlines()
    assert rows[0].startswith("rung,seed,role")
    assert len(rows) == 1 + page.run(
        "document.querySelectorAll('#points ~ .scroll')[0].querySelectorAll('tbody tr').length"
    )
    assert figure.startswith("<svg")
    assert "training compute C, FLOPs" in figure


def test_tables_of_a_page_without_live_figures_sort_too(
    chromium: Browser, sweep: Sweep, tmp_path: Path
) -> None:
    path = tmp_path / "tables.html"
    path.write_text(report.render(sweep, {}, live_page(NOTHING)))
    assert path.stat().st_size < 2e5
    page = chromium.open(path)
    page.click("#points ~ .scroll thead th:nth-child(8) button")
    values = [number(text) for text in page.run(all_of("[id^=point-row]", "e.cells[7].innerText"))]
    assert values == sorted(values)
    assert page.run("document.querySelector('#live-bar')") is None
    assert page.complaints() == []
    page.close()


def test_paper_shows_the_static_figures(page: Page) -> None:
    shown = all_of("#figure-overview > .live-charts, #figure-overview > .plot", "getComputedStyle(e).display")
    assert page.run(shown) == ["flex", "none"]
    page.media(paper=True)
    assert page.run(shown) == ["none", "block"]
    assert page.run("getComputedStyle(document.querySelector('#live-bar')).display") == "none"


def test_without_script_the_static_figures_stay(chromium: Browser, file: Path) -> None:
    page = chromium.open(file.parent / file.name)
    page.send("Emulation.setScriptExecutionDisabled", value=True)
    page.browser.events.clear()
    page.send("Page.reload")
    page.browser.wait_for("Page.loadEventFired", page.session)
    page.send("Emulation.setScriptExecutionDisabled", value=False)
    assert page.run("document.querySelector('.live-charts')") is None
    assert page.run("getComputedStyle(document.querySelector('#figure-overview .plot')).display") == "block"
    assert page.run("document.querySelector('#live-bar').hidden")
    page.close()


def test_dark_figure_is_dark(page: Page) -> None:
    page.media(dark=True)
    page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    picture = imread(io.BytesIO(page.picture()))
    left, top, width, height = page.run(
        f"(() => {{const b = {DRAWN}.getBoundingClientRect();"
        "return [b.x, b.y, b.width, b.height].map(Math.round)})()"
    )
    figure = picture[top : top + height, left : left + width, :3]
    assert figure.mean() < 0.3
    assert figure.max() > 0.8


def test_a_telephone_needs_no_sideways_scrolling(page: Page) -> None:
    page.size(390, 844)
    page.until(
        "document.querySelector('#figure-overview .live-chart svg').getBoundingClientRect().width <= 390"
    )
    assert page.run("document.documentElement.scrollWidth") <= 390


def test_controls_have_names_and_can_be_reached_by_keyboard(page: Page) -> None:
    nameless = page.run(
        "[...document.querySelectorAll('input, select, button')].filter(e => !(e.labels?.length || "
        "e.ariaLabel || e.textContent || e.title)).map(e => e.outerHTML)"
    )
    assert nameless == []
    page.run("document.querySelector('#live-given').focus()")
    page.press("Tab")
    assert page.run("document.activeElement.id") == "live-slider"
    assert page.run("document.querySelector('#figure-overview .live-chart').getAttribute('aria-label')")
