"""Pages of committed sweeps with their live sections alone: laws and static figures take long to make."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from analysis.explorer.page import explored
from analysis.explorer.sections.figure import LiveFigure, with_figures
from analysis.explorer.sections.replications import replication_figures
from analysis.records.replications import ReplicationsRecord, read_replications_record
from analysis.replications import page
from analysis.report import build
from analysis.report.build import Sweep, read_sweep
from analysis.report.live import live_page
from analysis.report.sections import section_figures
from tests import ROOT

SWEEPS = ("emergence", "lr", "compare", "chinchilla", "mixture")
STATIC = '<svg width="300pt" height="200pt"><title>static</title></svg>'


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


def write_section_page(name: str, folder: Path) -> Path:
    """Write the page of a committed sweep, or of the replications, and return its path."""
    path = folder / f"{name}.html"
    static = dict.fromkeys(figures_of(name), STATIC)
    if name == "replications":
        path.write_text(page.render(replications(), static))
        return path
    sweep = sweep_of(name)
    if sweep.learning_rate:
        path.write_text(build.render(sweep, static, build.explore(sweep)))
        return path
    runs = explored(sweep.finished, sweep.curves, sweep.fits, None, places_of(sweep))
    live = live_page(with_figures(runs, figures_of(name)))
    path.write_text(build.render(sweep, static, live))
    return path
