"""Selecting runs without a mouse: boxes of the table by keys, and ranges of numbers that are typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.records.number_text import si
from tests.analysis.report.live_pages import DRAWN, all_of
from tests.axe import violations
from tests.browser import CHROMIUM, NO_BROWSER, Browser, Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)
Json = dict[str, Any]
FOCUSED = "Number(document.activeElement.dataset.run)"
CHECKED = all_of(".live-box:checked", "Number(e.dataset.run)")
ORDER = all_of(".live-box", "Number(e.dataset.run)")


def words(data: Json, ids: list[int]) -> str:
    """What the page says of a selection."""
    off = np.array([run["residual"][0] for run in data["runs"] if run["id"] in ids])
    runs = "run" if len(ids) == 1 else "runs"
    return f"{len(ids)} {runs} selected, RMS {np.sqrt(np.mean(off**2)):.2f} % off the law"


def check_selected(page: Page, data: Json, ids: list[int]) -> None:
    """Boxes, rows, words, address and points of two figures agree on a selection."""
    assert sorted(page.run(CHECKED)) == sorted(ids)
    rows = page.run(all_of("tr.picked", "e.id"))
    assert sorted(rows) == sorted(f"point-row-{each}" for each in ids)
    assert page.text("#live-picked-words") == words(data, ids)
    kept = page.run("new URLSearchParams(location.hash.slice(1)).get('pick')")
    assert sorted(map(int, kept.split(","))) == sorted(ids)
    wanted = [run["id"] in ids for run in data["runs"]]
    for figure in ("overview", "contours"):
        page.place(f"#figure-{figure}")
        shown = all_of(f"#figure-{figure} .live-chart .dots path", "Number(e.getAttribute('opacity')) > 0.5")
        page.until(f"JSON.stringify({shown}) === {json.dumps(wanted, separators=(',', ':'))!r}")


def reach_boxes(page: Page) -> None:
    """Come to the table by the Tab key, from its last heading that sorts."""
    page.run("[...document.querySelectorAll('.live-boxes thead button')].at(-1).focus()")
    page.press("Tab")
    assert page.run("document.activeElement.className") == "live-box"


def test_space_selects_rows_and_arrows_walk_between_them(page: Page, data: Json) -> None:
    order = page.run(ORDER)
    assert len(order) == len(data["runs"])
    reach_boxes(page)
    assert page.run(FOCUSED) == order[0]
    page.press(" ")
    check_selected(page, data, order[:1])
    page.run("document.querySelector('.live-box[tabindex=\"0\"]').focus()")
    for _ in range(3):
        page.press("ArrowDown")
    assert page.run(FOCUSED) == order[3]
    page.press(" ")
    check_selected(page, data, [order[0], order[3]])
    page.run("document.querySelector('.live-box[tabindex=\"0\"]').focus()")
    page.press(" ")
    page.press("End")
    assert page.run(FOCUSED) == order[-1]
    page.press("Home")
    assert page.run(FOCUSED) == order[0]
    check_selected(page, data, order[:1])


def test_shift_and_arrows_select_the_rows_on_the_way(page: Page, data: Json) -> None:
    order = page.run(ORDER)
    reach_boxes(page)
    page.press(" ")
    for _ in range(4):
        page.press("ArrowDown", shift=True)
    check_selected(page, data, order[:5])
    page.run("document.querySelector('.live-box[tabindex=\"0\"]').focus()")
    page.press(" ")
    page.press("ArrowUp", shift=True)
    check_selected(page, data, order[:3])


def test_boxes_follow_the_order_of_a_sorted_table(page: Page, data: Json) -> None:
    page.click(".live-boxes thead th:nth-child(8) button")
    order = page.run(ORDER)
    tokens = {run["id"]: run["d"] for run in data["runs"]}
    assert [tokens[each] for each in order] == sorted(tokens.values())
    page.run("document.querySelector('.live-box').focus()")
    page.press("ArrowDown")
    assert page.run(FOCUSED) == order[1]


def test_a_box_is_named_and_stays_out_of_a_saved_table(page: Page, data: Json) -> None:
    run = data["runs"][0]
    name = page.run(f"document.querySelector('#point-row-{run['id']} .live-box').getAttribute('aria-label')")
    assert name == f"select {run['rung']}, seed {run['seed']}, {si(run['d'])} tokens"
    assert page.text(f"#point-row-{run['id']} td") == run["rung"]


def test_one_stop_of_the_tab_key_leads_to_all_boxes(fresh_page: Page) -> None:
    assert fresh_page.run(all_of(".live-box", "e.tabIndex")).count(0) == 1
    reach_boxes(fresh_page)
    fresh_page.press("ArrowDown")
    fresh_page.press("Tab")
    assert fresh_page.run("document.activeElement.className") != "live-box"
    fresh_page.press("Tab", shift=True)
    assert fresh_page.run(FOCUSED) == fresh_page.run(ORDER)[1]


RANGES = (
    {"least-n": "100k"},
    {"most-d": "2M", "least-n": "60k"},
    {"least-c": "1e12", "most-c": "5×10^12"},
    {"most-loss": "3.5"},
)


@pytest.mark.parametrize("ranges", RANGES, ids=" ".join)
def test_ranges_select_the_runs_inside(page: Page, data: Json, ranges: dict[str, str]) -> None:
    limits = {"100k": 1e5, "2M": 2e6, "60k": 6e4, "1e12": 1e12, "5×10^12": 5e12, "3.5": 3.5}
    page.run("document.querySelector('#live-select summary').focus()")
    page.press("Enter")
    for name, text in ranges.items():
        page.run(f"document.querySelector('#live-{name}').focus()")
        page.send("Input.insertText", text=text)
        page.press("Enter")
    wanted = []
    for run in data["runs"]:
        of = {"n": run["n"][0], "d": run["d"], "c": run["c"], "loss": run["loss"]}
        ends = [(name.split("-"), limits[text]) for name, text in ranges.items()]
        if all(of[axis] >= end if side == "least" else of[axis] <= end for (side, axis), end in ends):
            wanted.append(run["id"])
    assert 0 < len(wanted) < len(data["runs"])
    check_selected(page, data, wanted)


def test_ranges_follow_the_count_and_the_unit(page: Page, data: Json) -> None:
    page.choose("#live-count", "1")
    page.choose("#live-unit", "perplexity")
    middle = sorted(data["runs"], key=lambda run: run["n"][0])[len(data["runs"]) // 2]
    least = round(np.sqrt(middle["n"][0] * middle["n"][1]))  # Between both counts of one size.
    page.choose("#live-least-n", str(least))
    page.choose("#live-most-loss", "60")
    low = [run for run in data["runs"] if np.exp(run["loss"]) <= 60]
    wanted = [run["id"] for run in low if run["n"][1] >= least]
    assert len(wanted) > sum(run["n"][0] >= least for run in low)
    check_selected(page, data, wanted)


def test_no_run_inside_is_said_and_a_wrong_number_is_marked(page: Page) -> None:
    page.choose("#live-least-n", "1T")
    assert page.text("#live-picked-words") == ""
    page.choose("#live-least-n", "100k")
    page.choose("#live-most-n", "1k")
    assert page.text("#live-picked-words") == "no runs selected"
    page.choose("#live-most-n", "many")
    invalid = "document.querySelector('#live-most-n').getAttribute('aria-invalid')"
    assert page.run(invalid) == "true"
    assert page.text("#live-picked-words").endswith("off the law")


def test_a_selection_is_said_let_go_and_travels(
    page: Page, chromium: Browser, file: Path, data: Json
) -> None:
    status = "document.querySelector('#live-picked-words')"
    # What a screen reader is to say must be there, empty, before it changes.
    assert page.run(f"[{status}.getAttribute('role'), {status}.textContent, {status}.hidden]") == [
        "status",
        "",
        False,
    ]
    page.choose("#live-least-n", "100k")
    wanted = page.run(CHECKED)
    other = chromium.open(file, page.run("location.hash"))
    other.until(DRAWN)
    check_selected(other, data, wanted)
    other.close()
    page.run("document.querySelector('#live-let-go').focus()")
    page.press("Enter")
    assert page.text("#live-picked-words") == "no runs selected"
    assert page.run(CHECKED) == []
    assert page.run("document.querySelector('#live-let-go').hidden")
    assert page.run("document.activeElement.id") == "live-drag"
    assert page.run("document.querySelector('#live-least-n').value") == ""


@pytest.mark.parametrize("dark", [False, True])
def test_a_page_with_a_selection_breaks_no_rule(page: Page, dark: bool) -> None:
    page.media(dark=dark)
    page.run("document.querySelector('#live-select').open = true")
    page.choose("#live-least-n", "100k")
    page.choose("#live-most-n", "many")
    for figure in ("contours", "isoflop"):
        page.place(f"#figure-{figure}")
        page.until(f"document.querySelector('#figure-{figure} .dots path')")
    assert violations(page) == []


def test_paper_shows_no_boxes(page: Page) -> None:
    page.media(paper=True)
    shown = all_of("#live-select, .live-box", "getComputedStyle(e).display")
    assert set(page.run(shown)) == {"none"}
