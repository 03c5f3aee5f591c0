"""Pages of committed sweeps with their live sections alone: laws and static figures take long to make."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

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


def section_page(name: str, static: Mapping[str, str] | None = None) -> str:
    """The page of a committed sweep, or of the replications; its static figures are sketches by default."""
    drawn = static or dict.fromkeys(("overview", "loss_curves", *figures_of(name)), STATIC)
    if name == "replications":
        return page.render(replications(), drawn)
    sweep = sweep_of(name)
    if sweep.learning_rate:
        return build.render(sweep, drawn, build.explore(sweep))
    runs = explored(sweep.finished, sweep.points, sweep.curves, sweep.fits, None, places_of(sweep))
    return build.render(sweep, drawn, live_page(with_figures(runs, figures_of(name))))
