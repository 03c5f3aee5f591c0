"""Set-up that tests of the analysis share: an empty folder, few starts of a search, a browser, a report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analysis import plots
from analysis.averaging import average
from analysis.contest import rollout
from analysis.report import build as report
from analysis.report.sections import shown_isoflop
from analysis.report.together import write_together
from analysis.solve import search
from tests import ROOT
from tests.analysis.report.pages import TOGETHER
from tests.analysis.report.section_pages import section_page
from tests.browser import Browser, browser
from tests.fakes.sweep import make_sweep

SKETCH = '<svg width="300pt" height="200pt" viewBox="0 0 300 200"><path d="M0 0L300 200"/></svg>'
SKETCHED = ("counting", "rollout", "cloud", "profile", "forecast", "ends")


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, as somebody who types a command there."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="session")
def live_report(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The report of a made-up sweep: its live figures; the static ones of law tests are sketches."""

    def make(folder: Path) -> None:
        sweep = report.read_sweep(make_sweep(folder / "fake"))
        done, fits = sweep.finished, sweep.fits
        assert fits.primary
        assert sweep.primary
        figures = {
            "overview": plots.overview(done, fits.frontier),
            "loss_curves": plots.loss_curves(done, sweep.curves),
            "loss_against_compute": plots.loss_against_compute(done, sweep.curves),
            "isoflop": plots.isoflop(done, shown_isoflop(fits)),
            "contours": plots.contours(done, sweep.primary, fits.frontier),
            "frontier": plots.frontier(done, fits.frontier, fits.primary.count),
            "residuals": plots.residuals(done, sweep.parametric, fits.noise.pooled_relative),
        }
        svg = dict.fromkeys(SKETCHED, SKETCH)
        svg |= {name: plots.to_svg(figure, name) for name, figure in figures.items()}
        (folder / "report.html").write_text(report.render(sweep, svg, report.explore(sweep)))

    return made_once("live_report", make) / "report.html"


@pytest.fixture(scope="session")
def section_file(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Callable[[str], Path]:
    """Gives the page of a committed sweep by its name, or of the replications, with its live sections."""

    def file(name: str) -> Path:
        def make(folder: Path) -> None:
            folder.mkdir()
            (folder / "report.html").write_text(section_page(name))

        return made_once(f"section_{name}", make) / "report.html"

    return file


@pytest.fixture(scope="session")
def together_file(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The page of three committed sweeps, one of them on another text."""

    def make(folder: Path) -> None:
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            search_briefly(patch)
            folders = [ROOT / "results" / name for name in TOGETHER]
            write_together(folders, folder / "together.html", resamples=40)

    return made_once("together", make) / "together.html"


def search_briefly(patch: pytest.MonkeyPatch) -> None:
    """Let fits search from few starts, for few rounds."""
    patch.setattr(search.multi_start, "__defaults__", (8,))
    patch.setattr(search, "ROUNDS", 12)
    for module in (average, rollout):
        patch.setattr(module, "STARTS", 4)


@pytest.fixture(scope="module")
def few_starts() -> Iterator[None]:
    """Searches from few starts, for modules that ask what is said of a fit and not how good it is.

    Slow tests measure what users get.
    """
    if os.environ.get("RUN_SLOW"):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        search_briefly(patch)
        yield


@pytest.fixture
def few_starts_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for one test."""
    if not os.environ.get("RUN_SLOW"):
        search_briefly(monkeypatch)
