"""Pages for keyboards, screen readers and weak eyes: axe-core finds nothing, and keys reach everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.explorer.page import NOTHING
from analysis.report import build as report
from analysis.report import table as table_report
from analysis.report.live import live_page
from analysis.tables.table import load_table
from harness.records.paths import SweepFolder
from tests import ROOT
from tests.analysis.report.section_pages import SWEEPS
from tests.analysis.serve.pages import Pages, served
from tests.axe import violations
from tests.browser import CHROMIUM, NO_BROWSER, Browser, Page
from tests.fakes.running import running_sweep
from tests.fakes.runs import planned_sweep, state
from tests.fakes.sweep import make_sweep

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)
RESULTS = ROOT / "results"
# Light on a desktop and dark on a telephone: no colour hangs on the width, and no width on the colours.
LOOKS = {"desktop": (1280, False), "telephone": (390, True)}


def of_table(path: Path) -> None:
    """The table of a made-up sweep, with the study of that sweep."""
    sweep = report.read_sweep(make_sweep(path.parent / "fake"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_report, "draw_figures", lambda _: {})
        patch.setattr(table_report, "explore", lambda *_: live_page(NOTHING))
        tables = {"n_params_matmul": load_table(sweep.finished)}
        study = replace(sweep.fits, forecast=None)
        table_report.write_table_report(path, "theirs", tables, study, about={"table": "theirs.csv"})


KINDS = ("table", "together", "replications", *SWEEPS)


def seen(chromium: Browser, place: Path | str, look: str, *, script: bool = True) -> Page:
    page = chromium.open(place, width=LOOKS[look][0], height=844, script=script)
    page.media(dark=LOOKS[look][1])
    return page


def check_looks(page: Page) -> None:
    """Find nothing on a page as it is seen on a desktop and then on a telephone."""
    for look, (width, dark) in LOOKS.items():
        page.size(width, 844)
        page.media(dark=dark)
        page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert violations(page) == [], look


@pytest.mark.parametrize("script", [True, False], ids=["live", "static"])
def test_the_report_of_a_sweep_breaks_no_rule(chromium: Browser, live_report: Path, script: bool) -> None:
    page = seen(chromium, live_report, "desktop", script=script)
    if script:
        page.until("document.querySelector('#figure-overview .live-chart svg')")
        use(page)
    check_looks(page)
    page.close()


def use(page: Page) -> None:
    """Leave the page as somebody who uses it: far ahead, with a wrong number, a part hidden, a card open."""
    page.choose("#live-slider", "1000")
    page.until("document.querySelector('#live-far.warn')")
    page.choose("#live-value", "many")
    page.click("#figure-overview [data-rung]")
    page.click("#points ~ .scroll thead th button")
    page.click("#figure-overview .hits path")
    page.until("document.querySelector('#live-card:not([hidden])')")


# Tables with headings and several rows that no click sorts.
UNSORTED = """[...document.querySelectorAll(".scroll > table")]
  .filter((each) => each.tHead && each.querySelectorAll("tbody tr").length > 1)
  .filter((each) => !each.querySelector(".live-sort"))
  .map((each) => each.tHead.innerText)"""


@pytest.fixture
def file_of(
    tmp_path: Path, section_file: Callable[[str], Path], request: pytest.FixtureRequest
) -> Callable[[str], Path]:
    """Gives the report of a kind."""

    def file(kind: str) -> Path:
        if kind == "table":
            of_table(tmp_path / "report.html")
            return tmp_path / "report.html"
        found: Path = request.getfixturevalue("together_file") if kind == "together" else section_file(kind)
        return found

    return file


@pytest.mark.parametrize("kind", KINDS)
def test_every_other_report_breaks_no_rule(
    chromium: Browser, file_of: Callable[[str], Path], kind: str
) -> None:
    page = seen(chromium, file_of(kind), "desktop")
    for figure in page.run("[...document.querySelectorAll('figure.live')].map((each) => each.id)"):
        page.place(f"#{figure}")
        page.until(f"document.querySelector('#{figure} .live-chart svg')")
    check_looks(page)
    assert page.run(UNSORTED) == []
    page.close()


# Every colour that served pages give to words, of which no sweep has all.
COLOURED = "".join(
    [f"<p class=c{i}>d{i}</p>" for i in range(8)]
    + [f"<p><span class='state {name}'>{name}</span></p>" for name in ("running", "finished", "failed", "")]
    + ["<table><thead><tr><th>run</th></tr></thead><tr class=lost><td>d16</td></tr></table>"]
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """A server of a running sweep and of one whose runs failed."""
    root = tmp_path_factory.mktemp("results")
    (root / "live").mkdir()
    run, _ = running_sweep(root / "live", until=4_000)
    state(SweepFolder(root / "live"), "running", run=run, loss=2.71)
    state(planned_sweep(root / "old" / "lost"), "failed", error="out of memory")
    with served(root) as found:
        yield found


# Pages by what they show last.
PLACES = {"": "#connection", "sweep/live": "#curves", "sweep/old/lost": "#runs"}


def test_served_pages_break_no_rule(chromium: Browser, pages: Pages) -> None:
    for place, shown in PLACES.items():
        for look in LOOKS:
            page = seen(chromium, f"{pages.address}{place}", look)
            page.until(f"document.querySelector('{shown}:not([hidden])')?.innerText")
            page.run(f"document.querySelector('{shown}').insertAdjacentHTML('beforeend', {COLOURED!r})")
            assert violations(page) == [], (place, look)
            assert page.complaints() == []
            page.close()


def test_served_pages_are_walked_through_by_keys(chromium: Browser, pages: Pages) -> None:
    """The index has two sweeps and a folded group, a page its way back and, on a telephone, its table."""
    for place, shown in PLACES.items():
        page = seen(chromium, f"{pages.address}{place}", "telephone")
        page.until(f"document.querySelector('{shown}:not([hidden])')?.innerText")
        assert walk(page) >= 2
        if not place:
            focus(page, "summary")
            page.press("Enter")
            is_open = page.run("document.querySelector('details').open")
            page.press("Enter")
            assert page.run("document.querySelector('details').open") != is_open
        assert page.complaints() == []
        page.close()


# Every element that the Tab key should stop at, in the order of the page: folded parts have none, and of the
# boxes that select rows one is a stop, from which arrows lead to the others.
STOPS = """[...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")]
  .filter((each) => each.tabIndex >= 0)
  .filter((each) => each.checkVisibility({visibilityProperty: true}) && each.getClientRects().length)"""
# Place of the focused element among them, whether its outline is drawn, and whether it lies on top.
STOPPED = """(() => {
  const at = document.activeElement;
  const box = at.getClientRects()[0] ?? new DOMRect();
  const x = (Math.max(box.left, 0) + Math.min(box.right, innerWidth)) / 2;
  const y = (Math.max(box.top, 0) + Math.min(box.bottom, innerHeight)) / 2;
  const look = getComputedStyle(at);
  const drawn = look.outlineStyle !== "none" && parseFloat(look.outlineWidth) >= 2;
  return [stops.indexOf(at), drawn, at.contains(document.elementFromPoint(x, y))];
})()"""


@pytest.fixture
def page(chromium: Browser, live_report: Path) -> Iterator[Page]:
    opened = chromium.open(live_report)
    opened.until("document.querySelector('#figure-overview .live-chart svg')")
    yield opened
    assert opened.complaints() == []
    opened.close()


def focus(page: Page, selector: str) -> None:
    page.run(f"document.querySelector({selector!r}).focus()")


@pytest.mark.parametrize("backwards", [False, True])
def test_tab_reaches_every_control_in_order_and_in_sight(page: Page, backwards: bool) -> None:
    assert walk(page, backwards) > 50


def walk(page: Page, backwards: bool = False) -> int:
    """Return how many stops a page has for the Tab key, after all were seen in their order."""
    n_stops: int = page.run(f"(window.stops = {STOPS}).length")
    reached = []
    for _ in range(n_stops + 1):
        page.press("Tab", shift=backwards)
        place, is_outlined, is_on_top = page.run(STOPPED)
        if place < 0:
            break
        reached.append(place)
        assert is_outlined, page.run("document.activeElement.outerHTML")
        assert is_on_top, page.run("document.activeElement.outerHTML")
    assert reached == sorted(range(n_stops), reverse=backwards)
    return n_stops


SIZE = "document.querySelector('#live-out-n').innerText"


def test_arrows_move_the_budget(page: Page) -> None:
    place = "Number(document.querySelector('#live-slider').value)"
    size, before = page.run(SIZE), page.run(place)
    focus(page, "#live-slider")
    for key, times, moved in (("ArrowRight", 40, 40), ("ArrowLeft", 15, 25)):
        for _ in range(times):
            page.press(key)
        assert page.run(place) == before + moved
        assert page.run(SIZE) != size
    page.press("End")
    assert page.run(place) == 1000


def test_arrows_change_the_law(page: Page) -> None:
    focus(page, "#live-law")
    by_keys = []
    for law in ("1", "2"):
        page.press("ArrowDown")
        assert page.run("document.querySelector('#live-law').value") == law
        by_keys.append(page.run(SIZE))
    assert by_keys[1] != by_keys[0]
    page.choose("#live-law", "1")
    assert page.run(SIZE) == by_keys[0]


def test_enter_and_space_do_what_a_click_does(page: Page) -> None:
    focus(page, "summary")
    for is_open in (True, False):
        page.press("Enter")
        assert page.run("document.querySelector('details').open") == is_open
    for key, pressed in (("Enter", "false"), (" ", "true")):
        focus(page, "#figure-overview [data-rung]")
        page.press(key)
        button = "document.querySelector('#figure-overview [data-rung]')"
        assert page.run(f"{button}.getAttribute('aria-pressed')") == pressed
        assert page.run(f"document.activeElement === {button}")
    focus(page, "#live-linear")
    page.press(" ")
    assert page.run("document.querySelector('#live-linear').checked")
    heading = "#points ~ .scroll thead th:nth-child(8)"
    focus(page, f"{heading} button")
    page.press("Enter")
    assert page.run(f"document.querySelector({heading!r}).getAttribute('aria-sort')") == "ascending"


def test_wide_tables_are_pushed_by_arrows_where_they_do_not_fit(page: Page) -> None:
    box = "document.querySelector('#points ~ .scroll')"
    for width, is_stop in ((1280, False), (390, True)):
        page.size(width, 844)
        page.until(f"{box}.hasAttribute('tabindex') === {str(is_stop).lower()}")
    assert page.run(f"{box}.getAttribute('aria-label')") == "Table: All points"
    page.run(f"{box}.focus()")
    page.press("ArrowRight")
    page.until(f"{box}.scrollLeft > 0")
