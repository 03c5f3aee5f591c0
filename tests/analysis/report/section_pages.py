"""Pages of committed sweeps with their live sections alone: laws and static figures take long to make."""

from __future__ import annotations

import re
from functools import cache

from analysis.explorer.page import explored
from analysis.explorer.sections.figure import LiveFigure, with_figures
from analysis.explorer.sections.replications import replication_figures
from analysis.records.replications import ReplicationsRecord, read_replications_record
from analysis.replications import page
from analysis.report import build, environment
from analysis.report.build import Sweep, read_sweep
from analysis.report.live import live_page
from analysis.report.sections import forecast_figure, section_figures
from tests import ROOT

SWEEPS = ("emergence", "lr", "compare", "chinchilla", "mixture")
# A line as wide as each figure that a report may have: the insides of static ones are not looked at.
DRAWING = '<svg width="{}pt" height="200pt" viewBox="0 0 9 2"><path d="M0 0L9 2"/></svg>'
NAMED = re.compile(r'figure\("(\w+)"')


@cache
def sweep_of(name: str) -> Sweep:
    return read_sweep(ROOT / "results" / name)


@cache
def replications() -> ReplicationsRecord:
    return read_replications_record(ROOT / "results/replications/chinchilla/replications.json")


@cache
def figures_of(name: str) -> dict[str, LiveFigure]:
    """The live figures of a committed sweep, or of the replications."""
    if name == "replications":
        return replication_figures(replications())
    return section_figures(sweep_of(name), places_of(sweep_of(name)))


def places_of(sweep: Sweep) -> dict[object, int]:
    return {index: place for place, index in enumerate(build.ordered_points(sweep).index)}


def drawings(name: str) -> dict[str, str]:
    """Sketches in the place of static figures."""
    if name == "replications":
        return dict.fromkeys((*figures_of(name), "errors", "intervals", "parameters"), DRAWING.format(700))
    templates = [path.read_text() for path in (environment.HERE / "templates").iterdir()]
    names = [*figures_of(name), *(each for text in templates for each in NAMED.findall(text))]
    names += [forecast_figure(i) for i, _ in enumerate(sweep_of(name).scored, 1)]
    return {each: DRAWING.format(340 if each == "overview" else 700) for each in names}


def section_page(name: str) -> str:
    """The page of a committed sweep, or of the replications; its static figures are sketches."""
    drawn = drawings(name)
    if name == "replications":
        return page.render(replications(), drawn)
    sweep = sweep_of(name)
    if sweep.learning_rate:
        return build.render(sweep, drawn, build.explore(sweep))
    runs = explored(sweep.finished, sweep.points, sweep.curves, sweep.fits, None, places_of(sweep))
    return build.render(sweep, drawn, live_page(with_figures(runs, figures_of(name))))
