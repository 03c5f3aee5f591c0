"""Contours of the loss and IsoFLOP slices in a browser: numbers are read off the drawn lines."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from scipy.interpolate import RectBivariateSpline

from analysis.explorer.vega import UNITS
from analysis.plots.style import VERMILION
from analysis.report.live import HERE
from harness.records.number_text import si
from tests.analysis.report.live_pages import all_of, answer, hover, largest, number
from tests.analysis.report.test_live_selection import drag
from tests.browser import CHROMIUM, NO_BROWSER, Browser, Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)
FIGURES = ("contours", "isoflop")
CHOSEN = f".mark-line path[stroke='{VERMILION}']"
LOWERED = 3  # pixels by which the foot of a text lies below its middle
Json = dict[str, Any]


def loss_of(data: Json, law: int) -> RectBivariateSpline:
    """The loss of a law over log N and log D, from the numbers of the page."""
    held = data["surface"]
    losses = np.cumsum(held["losses"][law]).reshape(len(held["n"]), len(held["d"])) * held["unit"]
    return RectBivariateSpline(np.log(held["n"]), np.log(held["d"]), losses)


def tokens(data: Json, n: np.ndarray, flops: float) -> np.ndarray:
    """Tokens on which models of these sizes take the compute."""
    held = data["surface"]
    return np.asarray(flops / np.exp(np.interp(np.log(n), np.log(held["n"]), np.log(held["per_token"]))))


def see(page: Page, figure: str) -> None:
    page.place(f"#figure-{figure}")
    page.until(f"document.querySelector('#figure-{figure} .dots path')")


def spots(page: Page, selector: str) -> np.ndarray:
    """Where marks lie within their chart, pixels [marks, 2]."""
    moved = page.run(all_of(selector, "e.getAttribute('transform')"))
    return np.array([re.findall(r"-?[\d.]+(?:e-\d+)?", each)[:2] for each in moved], float)


def middles(page: Page, selector: str) -> np.ndarray:
    """Middles of marks in the window, pixels [marks, 2]."""
    box = "(b => [b.x + b.width / 2, b.y + b.height / 2])(e.getBoundingClientRect())"
    return np.array(page.run(all_of(selector, box)))


def corners(path: str) -> np.ndarray:
    return np.array(re.findall(r"(-?[\d.]+(?:e-?\d+)?),(-?[\d.]+(?:e-?\d+)?)", path), float)


def unscaled(page: Page, data: Json, figure: str, pixels: np.ndarray, count: int = 0) -> np.ndarray:
    """What pixels of a chart stand for [points, 2], by the places of its runs."""
    dots = spots(page, f"#figure-{figure} .dots path")
    y = [run["d" if figure == "contours" else "loss"] for run in data["runs"]]
    known = np.log([[run["n"][count] for run in data["runs"]], y])
    lines = [np.polyfit(dots[:, axis], known[axis], 1) for axis in (0, 1)]
    return np.exp([np.polyval(lines[axis], pixels[:, axis]) for axis in (0, 1)]).T


def chosen_curve(page: Page, data: Json, count: int = 0) -> np.ndarray:
    """Sizes and losses of the law at the chosen compute, as drawn [points, 2]."""
    see(page, "isoflop")
    (path,) = page.run(all_of(f"#figure-isoflop {CHOSEN}", "e.getAttribute('d')"))
    return unscaled(page, data, "isoflop", corners(path), count)


def move(page: Page, flops: float) -> None:
    page.choose("#live-value", f"{flops:g}")


def test_losses_between_those_of_the_page_are_on_a_smooth_surface(
    chromium: Browser, file: Path, data: Json
) -> None:
    page = chromium.open(file)
    names = ("format.js", "answers.js", "surface.js")
    script = "".join((HERE / "script" / name).read_text() for name in names)
    held = data["surface"]
    rng = np.random.default_rng(0)
    n, d = (np.exp(rng.uniform(*np.log([held[axis][1], held[axis][-2]]), 40)) for axis in "nd")
    asked = json.dumps(np.transpose([n, d]).tolist())
    given = f"const data = {json.dumps({'surface': held})};"
    found = page.run(f"(() => {{{given}{script}; return {asked}.map(([n, d]) => lossAt(0, n, d))}})()")
    assert found == pytest.approx(loss_of(data, 0).ev(np.log(n), np.log(d)), rel=2e-3)
    beyond = f"[lossAt(0, {held['n'][0] / 2}, {d[0]}), lossAt(0, {n[0]}, {held['d'][-1] * 2})]"
    assert page.run(f"(() => {{{given}{script}; return {beyond}}})()") == [None, None]
    page.close()


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("law", [0, 1])
def test_a_contour_lies_where_the_law_has_its_loss(page: Page, data: Json, unit: str, law: int) -> None:
    see(page, "contours")
    page.choose("#live-law", str(law))
    page.choose("#live-unit", unit)
    texts = page.run(all_of("#figure-contours .losses text", "e.textContent"))
    at = spots(page, "#figure-contours .losses text") - [0, LOWERED]
    places = unscaled(page, data, "contours", at)
    assert len(texts) == len(set(texts)) >= 4
    losses = loss_of(data, law).ev(*np.log(places).T)
    shown = {"nats": losses, "bits": losses * data["bits_per_nat"], "perplexity": np.exp(losses)}[unit]
    assert [float(text) for text in texts] == pytest.approx(shown, rel=4e-3)


def test_every_label_has_its_line_after_every_change(page: Page, data: Json) -> None:
    see(page, "contours")
    lines = all_of("#figure-contours .contour_lines .mark-line path", "e.getAttribute('d')")
    texts = all_of("#figure-contours .losses text", "e.textContent")
    fills = all_of("#figure-contours .contour_lines .mark-line path[fill^=rgb]", "e.getAttribute('fill')")
    for flops in (data["largest"], 100 * data["largest"], 3 * data["largest"], 900 * data["largest"]):
        move(page, flops)
        for unit in UNITS:
            page.choose("#live-unit", unit)
            places = spots(page, "#figure-contours .losses text") - [0, LOWERED]
            drawn = [corners(path) for path in page.run(lines) if path]
            assert len(places) == len(page.run(texts)) >= 4
            # Paler ones lie on top, or they would be painted over.
            red = [int(re.findall(r"\d+", fill)[0]) for fill in page.run(fills)]
            assert red == sorted(red)
            for place in places:
                assert min(np.abs(line - place).sum(axis=1).min() for line in drawn) < 1


def test_all_of_a_contour_has_one_loss_and_the_law_switch_moves_it(page: Page, data: Json) -> None:
    see(page, "contours")
    paths = all_of("#figure-contours .contour_lines .mark-line path", "e.getAttribute('d')")
    before = page.run(paths)
    runs = np.array([[run["n"][0], run["d"]] for run in data["runs"]])
    inside = runs.min(axis=0), runs.max(axis=0)
    spread = []
    for path in before:
        places = unscaled(page, data, "contours", corners(path))
        seen = places[((places > inside[0]) & (places < inside[1])).all(axis=1)]
        if len(seen) > 3:
            spread.append(np.ptp(loss_of(data, 0).ev(*np.log(seen).T)))
    assert len(spread) >= 3
    assert max(spread) < 0.01
    page.choose("#live-law", str(data["laws"].index("chinchilla")))
    assert page.run(paths) != before


@pytest.mark.parametrize("figure", FIGURES)
def test_the_slider_moves_the_marker_to_the_answer(page: Page, data: Json, figure: str) -> None:
    see(page, figure)
    y = "d" if figure == "contours" else "loss"
    places = []
    for flops in (2 * data["runs"][0]["c"], data["largest"], 300 * data["largest"]):
        move(page, flops)
        found = answer(page)
        ((x_px, y_px),) = spots(page, f"#figure-{figure} .budget path")
        ((n, shown),) = unscaled(page, data, figure, np.array([[x_px, y_px]]))
        assert n == pytest.approx(number(found["n"]), rel=0.01)
        assert shown == pytest.approx(number(found[y]), rel=0.01)
        width = page.run(f"document.querySelector('#figure-{figure} .live-chart svg').clientWidth")
        assert 0 < x_px < width
        places.append(n)
    assert places[0] < places[1] < places[2]


def test_slice_at_the_chosen_compute_is_that_of_the_law(page: Page, data: Json) -> None:
    for law, flops in ((0, data["largest"]), (0, 20 * data["largest"]), (1, data["largest"])):
        page.choose("#live-law", str(law))
        move(page, flops)
        n, loss = chosen_curve(page, data).T
        wanted = loss_of(data, law).ev(np.log(n), np.log(tokens(data, n, flops)))
        assert len(n) > 20
        assert loss == pytest.approx(wanted, rel=3e-3)
        found = answer(page)
        assert loss.min() == pytest.approx(number(found["loss"]), rel=1e-3)
        low, high = (number(part) for part in found["flat"].split(" – "))
        assert low / 1.1 < n[np.argmin(loss)] < 1.1 * high


def test_slices_of_the_law_follow_the_law(page: Page, data: Json) -> None:
    see(page, "isoflop")
    dashed = all_of("#figure-isoflop .mark-line path[stroke-dasharray='5,3']", "e.getAttribute('d')")
    budgets = data["rows"]["profiles"]["c"]
    before = None
    for law in (0, data["laws"].index("chinchilla")):
        page.choose("#live-law", str(law))
        paths = page.run(dashed)
        assert len(paths) == len(budgets)
        assert paths != before
        for path, flops in zip(paths, budgets, strict=True):
            n, loss = unscaled(page, data, "isoflop", corners(path)).T
            wanted = loss_of(data, law).ev(np.log(n), np.log(tokens(data, n, flops)))
            assert loss == pytest.approx(wanted, rel=3e-3)
        before = paths


def test_chosen_compute_is_a_line_of_equal_compute(page: Page, data: Json) -> None:
    see(page, "contours")
    lines = all_of(f"#figure-contours {CHOSEN}", "e.getAttribute('d')")
    for flops in (data["largest"], 5 * data["largest"]):
        move(page, flops)
        n, d = unscaled(page, data, "contours", corners(page.run(lines)[0])).T
        assert d == pytest.approx(tokens(data, n, flops), rel=0.02)


@pytest.mark.parametrize("figure", FIGURES)
def test_points_say_which_run_they_are(page: Page, data: Json, figure: str) -> None:
    see(page, figure)
    run = data["runs"][largest(data)]
    hover(page, largest(data), figure)
    said = page.text("#live-card")
    words = [run["rung"], run["run"], si(run["d"]), si(run["n"][0]), f"{run['loss']:.3f}", "off the law"]
    assert all(word in said for word in words)
    assert page.run(f"document.querySelector('#point-row-{run['id']}').classList.contains('lit')")


def test_a_size_of_a_slice_says_where_it_comes_from(page: Page, data: Json) -> None:
    see(page, "isoflop")
    rows = data["rows"]["slices"]
    said = ""
    for row, (x, y) in enumerate(middles(page, "#figure-isoflop .told_slices path")):
        page.point(5, 5)
        page.point(float(x), float(y))
        said = page.text("#live-card")
        if "interpolated between its runs" in said:  # Else a run lies on top.
            assert si(rows["n"][row]) in said
            assert f"{rows['loss'][row]:.3f}" in said
            break
    assert "interpolated" in said


@pytest.mark.parametrize("figure", FIGURES)
def test_runs_selected_here_stand_out_elsewhere(page: Page, figure: str) -> None:
    page.choose("#live-drag", "pick")
    see(page, figure)
    places = middles(page, f"#figure-{figure} .hits path")
    edge = float(np.median(places[:, 0])) + 2
    x, y = (float(end) for end in places.max(axis=0) + 6)
    drag(page, (edge, float(places[:, 1].min()) - 6), (x, y))
    wanted = [row for row, (x, _) in enumerate(places) if x >= edge]
    assert page.text("#live-picked-words").startswith(f"{len(wanted)} runs selected")
    for other in ("overview", *FIGURES):
        see(page, other)
        shown = all_of(f"#figure-{other} .dots path", "e.getAttribute('opacity') > 0.5")
        page.until(f"!{shown}.every(Boolean)")
        assert np.flatnonzero(page.run(shown)).tolist() == wanted, other


@pytest.mark.parametrize("figure", FIGURES)
def test_sizes_are_counted_as_the_list_says(page: Page, data: Json, figure: str) -> None:
    see(page, figure)
    page.choose("#live-count", "1")
    texts = page.run(f"document.querySelector('#figure-{figure} .live-chart svg').textContent")
    assert "all parameters N" in texts
    ((n, _),) = unscaled(page, data, figure, spots(page, f"#figure-{figure} .budget path"), count=1)
    assert n == pytest.approx(number(answer(page)["n"]), rel=0.01)
    if figure == "isoflop":
        n, loss = chosen_curve(page, data, count=1).T
        low, high = (number(part) for part in answer(page)["flat"].split(" – "))
        assert low / 1.1 < n[np.argmin(loss)] < 1.1 * high


def test_losses_of_slices_are_shown_in_the_unit(page: Page, data: Json) -> None:
    see(page, "isoflop")
    page.choose("#live-unit", "perplexity")
    assert UNITS["perplexity"] in page.run("document.querySelector('#figure-isoflop svg').textContent")
    shown = page.run(all_of("#figure-isoflop .role-axis-label text", "e.textContent"))
    highest = float(np.exp(max(run["loss"] for run in data["runs"])))
    assert max(float(text) for text in shown if re.fullmatch(r"[\d.]+", text)) > 0.5 * highest


def test_parts_are_hidden_and_travel(page: Page, chromium: Browser, file: Path) -> None:
    see(page, "contours")
    line = "document.querySelector('#figure-contours .contour_lines .mark-line path')"
    assert page.run(f"{line}.getAttribute('fill-opacity')") in (None, "1")
    page.click("#figure-contours [data-series=shading]")
    assert page.run(f"{line}.getAttribute('fill-opacity')") == "0"
    other = chromium.open(file, page.run("location.hash"))
    see(other, "contours")
    assert other.run(f"{line}.getAttribute('fill-opacity')") == "0"
    other.close()


def test_both_figures_are_saved(page: Page, tmp_path: Path) -> None:
    page.browser.send(
        "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path), eventsEnabled=True
    )
    for figure in FIGURES:
        see(page, figure)
        for button in (".live-save", ".live-save:last-child"):
            page.browser.events.clear()
            page.click(f"#figure-{figure} {button}")
            done = "Browser.downloadProgress"
            while not any(
                e["method"] == done and e["params"]["state"] == "completed" for e in page.browser.events
            ):
                page.run("1")
        assert imread(tmp_path / f"{figure}.png").shape[1] > 500
        assert "parameters N" in (tmp_path / f"{figure}.svg").read_text()


def luminance(colour: np.ndarray) -> float:
    """Relative luminance of a colour (WCAG 2.2)."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("figure", ["contours", "residuals"])
def test_every_size_stands_out_in_the_dark(page: Page, data: Json, figure: str) -> None:
    """A point against what is below it, by the contrast that WCAG 2.2 asks of graphics."""
    page.media(dark=True)
    see(page, figure)
    see(page, figure)
    dots = middles(page, f"#figure-{figure} .live-chart:first-child .dots path")
    page.point(5, 5)
    page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    picture = imread(io.BytesIO(page.picture()))[..., :3]
    sizes = {run["rung"]: place for place, run in enumerate(data["runs"])}
    assert len(sizes) == 5
    for rung, place in sizes.items():
        x, y = dots[place].round().astype(int)
        point = picture[y, x]
        # Around a point, free of others: the darkest half of a ring.
        ring = [picture[y + dy, x + dx] for dx, dy in ((-11, 0), (11, 0), (0, -11), (0, 11))]
        below = min(map(luminance, ring))
        assert (luminance(point) + 0.05) / (below + 0.05) >= 3, rung


def test_a_telephone_shows_both_without_sideways_scrolling(page: Page) -> None:
    page.size(390, 844)
    for figure in FIGURES:
        see(page, figure)
        chart = f"document.querySelector('#figure-{figure} .live-chart svg').getBoundingClientRect()"
        page.until(f"{chart}.width <= 390")
        assert page.run(f"{chart}.height") > 200
    assert page.run("document.documentElement.scrollWidth") <= 390
