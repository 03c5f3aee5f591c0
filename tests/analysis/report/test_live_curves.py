"""Curves of losses in a live report: logged, smoothed or evaluated, with schedules and forecast ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.report.build import Sweep
from tests.analysis.report.live_pages import DRAWN, all_of, hover, number
from tests.browser import CHROMIUM, NO_BROWSER, Browser, Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)
FIGURE = "#figure-loss_curves"
LOSSES, RATES = f"{FIGURE} .live-chart:nth-child(1)", f"{FIGURE} .live-chart:nth-child(2)"


@pytest.fixture
def curves(page: Page) -> Page:
    """The page with both figures of curves drawn."""
    page.place(FIGURE)
    page.until(f"document.querySelector('{RATES} .mark-line path')")
    return page


def heights(page: Page, chart: str) -> tuple[list[float], list[float]]:
    """Values and pixels of the labels of an axis of y."""
    axis = f"{chart} .role-axis:last-of-type .role-axis-label text"
    found = page.run(
        f"[...document.querySelectorAll('{chart} .role-axis')].map(a => [...a.querySelectorAll("
        "'.role-axis-label text')].map(e => [e.textContent, "
        "e.transform.baseVal.consolidate().matrix.e, e.transform.baseVal.consolidate().matrix.f]))"
    )
    labels = max(found, key=lambda rows: np.ptp([row[2] for row in rows]) if rows else 0)
    assert len(labels) > 1, axis
    return [number(row[0]) for row in labels], [row[2] for row in labels]


def ends_of_lines(page: Page, chart: str) -> list[float]:
    """The height of the last point of every line, pixels."""
    found = page.run(all_of(f"{chart} .mark-line path", "e.getAttribute('d')"))
    return [float(path.rstrip("Z").rpartition(",")[2]) for path in found if path]


def losses_at_ends(page: Page) -> list[float]:
    """The loss at the end of every line, read off the logarithmic axis."""
    values, pixels = heights(page, LOSSES)
    slope, level = np.polyfit(pixels, np.log(values), 1)
    offset = 3.0  # of a label's baseline below its line, pixels
    return [float(np.exp(level + slope * (end + offset))) for end in ends_of_lines(page, LOSSES)]


@pytest.mark.parametrize("kind", ["raw", "smoothed", "evaluated"])
def test_losses_are_raw_smoothed_or_evaluated(curves: Page, data: dict[str, Any], kind: str) -> None:
    curves.choose(f"{FIGURE} [data-control=curve]", kind)
    of = data["curves"]
    rows = [row for row in of["rows"] if not row["seen"]] + [row for row in of["rows"] if row["seen"]]
    wanted = [sum(row[kind][1:]) * of["units"][kind] for row in rows if kind in row]
    assert losses_at_ends(curves) == pytest.approx(wanted, rel=0.01)
    others = all_of("[data-control=curve]", "e.value")
    assert curves.run(others) == [kind, kind]
    assert "within ± 10 % of the tokens" in curves.text(f"{FIGURE} .live-choices")


def test_schedule_stands_below_with_the_same_tokens(curves: Page, data: dict[str, Any], sweep: Sweep) -> None:
    rates = [row["rates"][1] for row in data["curves"]["rows"]]
    assert len(ends_of_lines(curves, RATES)) == len(rates)
    values, pixels = heights(curves, RATES)
    slope, level = np.polyfit(pixels, values, 1)
    top = curves.run(all_of(f"{RATES} .mark-line path", "Number(e.getAttribute('d').split(',').at(-1))"))
    shown = [level + slope * (pixel + 3) for pixel in top]
    peak = sweep.curves["hidden_lr"].max()
    ordered = [row for row in data["curves"]["rows"] if not row["seen"]]
    ordered += [row for row in data["curves"]["rows"] if row["seen"]]
    assert shown == pytest.approx([row["rates"][1][-1] for row in ordered], abs=0.03 * peak)
    labels = [
        curves.run(all_of(f"{chart} .role-axis-label text", "e.textContent")) for chart in (LOSSES, RATES)
    ]
    assert set(labels[0]) & {"1M", "3M"} == set(labels[1]) & {"1M", "3M"}


def test_ends_are_forecast_from_a_share_of_training(curves: Page, data: dict[str, Any], sweep: Sweep) -> None:
    shares = sorted({end["share"] for end in data["forecast"]})
    assert shares == [0.25, 0.5, 0.75]
    bars = f"document.querySelectorAll('{LOSSES} .forecast_ends line').length"
    last = int(np.argmax([run["c"] for run in data["runs"]]))
    tried = {(each.forecast.end, each.share): each.forecast for each in sweep.tried}
    point = sweep.finished.iloc[last]["point_id"]
    for share in shares:
        curves.choose(f"{FIGURE} [data-control=forecast]", str(share))
        assert curves.run(bars) == sum(end["share"] == share for end in data["forecast"])
        hover(curves, last, "loss_curves")
        forecast = tried.get((point, share))
        if forecast and forecast.interval:
            low, high = forecast.interval
            said = f"{forecast.loss:.3f} [{low:.3f}, {high:.3f}]"
            assert said in " ".join(curves.text("#live-card").split())
            assert f"forecast at {100 * share:g} %" in curves.text("#live-card")
        curves.point(5, 5)
    curves.choose(f"{FIGURE} [data-control=forecast]", "")
    assert curves.run(bars) == 0


def test_runs_that_no_fit_saw_are_dashed_and_can_be_hidden(curves: Page, data: dict[str, Any]) -> None:
    dashed = all_of(f"{LOSSES} .mark-line path[stroke-dasharray='4,3']", "Number(e.getAttribute('opacity'))")
    assert len(curves.run(dashed)) == sum(not row["seen"] for row in data["curves"]["rows"])
    assert all(curves.run(dashed))
    curves.click(f"{FIGURE} [data-series=others]")
    assert not any(curves.run(dashed))


def test_enlarged_tokens_are_those_of_the_schedule_too(curves: Page) -> None:
    labels = all_of(f"{RATES} .role-axis-label text", "e.textContent")
    before = curves.run(labels)
    curves.place(LOSSES)
    left, top, width, height = curves.run(
        f"(() => {{const b = document.querySelector('{LOSSES}').getBoundingClientRect();"
        "return [b.x, b.y, b.width, b.height]})()"
    )
    corners = [(left + share * width, top + share * height) for share in (0.4, 0.7)]
    for kind, corner in (("mousePressed", 0), ("mouseMoved", 1), ("mouseReleased", 1)):
        x, y = corners[corner]
        curves.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    assert curves.run(labels) != before
    both = [
        set(curves.run(all_of(f"{chart} .role-axis-label text", "e.textContent")))
        for chart in (LOSSES, RATES)
    ]
    tokens = [{label for label in each if label.endswith(("k", "M"))} for each in both]
    assert tokens[0] == tokens[1]


def test_address_holds_what_curves_show(curves: Page, chromium: Browser, file: Path) -> None:
    curves.choose(f"{FIGURE} [data-control=curve]", "raw")
    curves.choose(f"{FIGURE} [data-control=forecast]", "0.75")
    curves.click(f"{FIGURE} [data-series=others]")
    wanted = losses_at_ends(curves)
    other = chromium.open(file, curves.run("location.hash"))
    other.until(DRAWN)
    other.place(FIGURE)
    other.until(f"document.querySelector('{RATES} .mark-line path')")
    assert losses_at_ends(other) == pytest.approx(wanted, rel=1e-3)
    assert other.run(all_of("[data-control]", "e.value")) == ["raw", "0.75"] * 2
    pressed = f"document.querySelector('{FIGURE} [data-series=others]').getAttribute('aria-pressed')"
    assert other.run(pressed) == "false"
    other.close()
    spoiled = chromium.open(
        file, "#curve=%3Cb%3E&forecast=2&parts=x.y,loss_curves.z&zoom=loss_curves~0~x~9~1,a~b"
    )
    spoiled.until(DRAWN)
    assert spoiled.complaints() == []
    spoiled.close()
