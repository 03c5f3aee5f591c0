"""The report on replications: one HTML file that needs no network, with its figures inside."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Template
from markupsafe import Markup

from analysis import plots
from analysis.explorer.page import NOTHING
from analysis.explorer.sections.figure import with_figures
from analysis.explorer.sections.replications import replication_figures
from analysis.laws import family
from analysis.records.replications import ReplicationsRecord
from analysis.replications import text
from analysis.report import build
from analysis.report.environment import HERE as REPORT_FOLDER
from analysis.report.environment import templates_in
from analysis.report.live import live_page
from analysis.report.numbers import FILTERS
from analysis.report.reach import reachable
from harness.records.errors import InputError
from harness.records.files import write_atomic

TEMPLATE = "replications.html.j2"


def drawn(found: ReplicationsRecord) -> dict[str, str]:
    """Return {name: SVG} of every figure that the study has the data for."""
    whole = found.parts[0]
    wanted = (
        ("errors", plots.replication_errors, whole.held_out),
        ("intervals", plots.replication_intervals, whole.held_out),
        ("parameters", plots.replication_parameters, whole.parameters),
    )
    return {name: plots.to_svg(draw(found), name) for name, draw, data in wanted if data}


@cache
def _template() -> Template:
    """Return the page's template, which shares its style with the report of a sweep."""
    environment = templates_in(
        Path(__file__).parent / "templates", REPORT_FOLDER / "templates", REPORT_FOLDER
    )
    environment.filters.update(FILTERS, family=family, share=text.share, middle=text.middle)
    return environment.get_template(TEMPLATE)


def render(found: ReplicationsRecord, svg: Mapping[str, str]) -> str:
    """Return the report as HTML text, with the figures inside."""
    page = _template().render(
        found=found,
        part=found.judged,
        lead=text.lead(found),
        titles={part.name: text.part_title(part, found) for part in found.parts},
        symbols=text.SYMBOLS,
        seconds=text.seconds_of(found),
        # The SVG is our own; everything else in the template is escaped.
        svg={name: Markup(image) for name, image in svg.items()},
        width={name: build.svg_width(image) for name, image in svg.items()},
        single=72 * plots.SINGLE,
        live=live_page(with_figures(NOTHING, replication_figures(found))),
    )
    return reachable(page)


def write_page(found: ReplicationsRecord, path: Path) -> None:
    """Write the report; raise InputError if the file cannot be written."""
    page = render(found, drawn(found))
    try:
        write_atomic(path, page.encode("utf-8", "replace"))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; name another file", "report") from error
