"""What people see of a report: its screens and figures look as when somebody last looked at them.

After a change on purpose, RENEW_LOOKS=1 stores today's pictures and places; look at them before they are
committed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import ROOT
from tests.browser import CHROMIUM, NO_BROWSER, Browser, Page
from tests.looks import differences, picture, same_letters, store, write_side_by_side

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)
STORED = ROOT / "tests" / "stored" / "looks"
PLACES = STORED / "places.json"
RENEW = f"RENEW_LOOKS=1 pytest {Path(__file__).relative_to(ROOT)}"
IS_RENEWED = bool(os.environ.get("RENEW_LOOKS"))
# Of a block's colour, of the picture's mean, and of its blocks. Another way to draw letters makes 0.09, 0.004
# and none; a missing figure 0.2, 0.04 and 7 %.
NOTICED, MOST_MEAN, MOST_SHARE = 0.12, 0.01, 0.01
PIXELS = 24  # of the page that an element may lie or reach elsewhere
MAIN = ("h1", "nav", ".answer", "#figure-overview", "#live-bar", "#live-budget", ".warnings", "#numbers")
DRAWN = "document.querySelector('#figure-{} .live-chart svg .mark-symbol path')"


@dataclass(frozen=True)
class Screen:
    """A window, the colours that its reader prefers, or paper."""

    width: int
    height: int
    small: int  # width of the stored picture
    dark: bool = False
    paper: bool = False


DESKTOP = Screen(1280, 900, 480)
SCREENS = {
    "desktop": DESKTOP,
    "dark": Screen(1280, 900, 480, dark=True),
    "telephone": Screen(390, 844, 240),
    "paper": Screen(794, 1123, 400, paper=True),
}
LIVE = ("overview", "loss_curves", "frontier", "residuals", "contours", "isoflop", "cloud")
FIGURES = {name: (name, DESKTOP) for name in LIVE} | {
    "isoflop dark": ("isoflop", SCREENS["dark"]),
    "isoflop telephone": ("isoflop", SCREENS["telephone"]),
    "contours dark": ("contours", SCREENS["dark"]),
    "contours telephone": ("contours", SCREENS["telephone"]),
}


@pytest.fixture(scope="module")
def opened(chromium: Browser, live_report: Path) -> Iterator[Page]:
    page = chromium.open(live_report)
    page.until(DRAWN.format("overview"))
    same_letters(page)
    yield page
    page.close()


def show(page: Page, screen: Screen) -> None:
    page.send("Page.bringToFront")
    page.size(screen.width, screen.height)
    page.media(dark=screen.dark, paper=screen.paper)
    page.run("scrollTo(0, 0)")
    chart = "document.querySelector('#figure-overview .live-charts')"
    fits = f"{chart}.scrollWidth <= {chart}.clientWidth + 1"
    page.until(f"{chart} === null || {fits}")
    page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def check_picture(name: str, found: Image.Image, folder: Path) -> None:
    """Hold a picture against the stored one; the message names a picture of the difference."""
    path = STORED / f"{name.replace(' ', '_')}.png"
    if IS_RENEWED:
        store(path, found)
    with Image.open(path) as stored:
        wanted = stored.convert("RGB")
    off = differences(wanted, found)
    share = float((off > NOTICED).mean())
    if share > MOST_SHARE or off.mean() > MOST_MEAN:
        beside = folder / f"{path.stem}_difference.png"
        write_side_by_side(beside, wanted, found)
        pytest.fail(
            f"{name} looks different in {share:.1%} of its parts, by {off.mean():.3f} on average; "
            f"see {beside} (stored, today's, difference); if today's is right, {RENEW}"
        )


def places(page: Page) -> dict[str, list[int]]:
    """Left, top, width and height of the main elements, CSS pixels."""
    found: dict[str, list[int]] = page.run(
        f"Object.fromEntries({json.dumps(MAIN)}.map((name) => {{"
        "const b = document.querySelector(name)?.getBoundingClientRect() ?? new DOMRect();"
        "return [name, [b.x, b.y, b.width, b.height].map(Math.round)]}))"
    )
    return found


def check_places(name: str, found: dict[str, list[int]]) -> None:
    stored = json.loads(PLACES.read_text()) if PLACES.exists() else {}
    if IS_RENEWED:
        STORED.mkdir(exist_ok=True)
        stored[name] = found
        PLACES.write_text(json.dumps(stored, indent=1) + "\n")
    wanted = stored[name]
    assert wanted.keys() == found.keys()
    moved = {
        element: (wanted[element], found[element])
        for element in wanted
        if np.abs(np.subtract(wanted[element], found[element])).max() > PIXELS
    }
    assert not moved, f"{name}: left, top, width, height, stored and today's; if these are right, {RENEW}"


@pytest.mark.parametrize("name", SCREENS)
def test_the_first_screen_looks_as_it_did(opened: Page, tmp_path: Path, name: str) -> None:
    show(opened, SCREENS[name])
    check_places(name, places(opened))
    check_picture(name, picture(opened, SCREENS[name].small), tmp_path)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_looks_as_it_did(opened: Page, tmp_path: Path, name: str) -> None:
    figure, screen = FIGURES[name]
    show(opened, screen)
    opened.place(f"#figure-{figure}")
    if figure in LIVE:
        opened.until(DRAWN.format(figure))
    check_picture(name, picture(opened, screen.small, f"#figure-{figure}"), tmp_path)


def drop(selector: str) -> Callable[[Page], None]:
    return lambda page: page.run(f"document.querySelector({selector!r}).remove()")


def forget(rule: str) -> Callable[[Page], None]:
    """What takes a rule out of the page's style."""
    return lambda page: page.run(
        f"(() => {{const style = document.querySelector('style'); const before = style.textContent;"
        f"style.textContent = before.replace({rule!r}, '@media not all');"
        "if (style.textContent === before) throw new Error('no such rule')})()"
    )


BROKEN: dict[str, tuple[str, Callable[[Page], None]]] = {
    "no style": ("desktop", drop("style")),
    "no figure": ("desktop", drop("#figure-overview")),
    "no dark colours": ("dark", forget("@media screen and (prefers-color-scheme: dark)")),
    "no rules for a telephone": ("telephone", forget("@media screen and (max-width: 640px)")),
    "no rules for paper": ("paper", forget("@media print")),
}


@pytest.mark.skipif(IS_RENEWED, reason="the stored pictures are being renewed")
@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_page_is_noticed(chromium: Browser, live_report: Path, tmp_path: Path, what: str) -> None:
    name, damage = BROKEN[what]
    page = chromium.open(live_report)
    page.until(DRAWN.format("overview"))
    same_letters(page)
    damage(page)
    show(page, SCREENS[name])
    with pytest.raises(pytest.fail.Exception, match=f"{name} looks different.*_difference.png") as failed:
        check_picture(name, picture(page, SCREENS[name].small), tmp_path)
    page.close()
    assert RENEW in str(failed.value)
    with Image.open(tmp_path / f"{name}_difference.png") as beside:
        assert beside.width > 2.9 * SCREENS[name].small


@pytest.mark.skipif(IS_RENEWED, reason="the stored pictures are being renewed")
def test_an_empty_figure_and_a_moved_one_are_noticed(opened: Page, tmp_path: Path) -> None:
    show(opened, DESKTOP)
    moved = places(opened)
    moved["#figure-overview"][0] -= 2 * PIXELS
    with pytest.raises(AssertionError, match="if these are right"):
        check_places("desktop", moved)
    opened.place("#figure-contours")
    opened.run("document.querySelector('#figure-contours svg').style.visibility = 'hidden'")
    empty = picture(opened, DESKTOP.small, "#figure-contours")
    opened.run("document.querySelector('#figure-contours svg').style.visibility = ''")
    with pytest.raises(pytest.fail.Exception, match="contours looks different"):
        check_picture("contours", empty, tmp_path)
