"""What makes pages of this folder's templates."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis.compare.text import spelled
from analysis.intervals import normal_interval
from analysis.laws import family
from analysis.report.numbers import FILTERS
from analysis.report.sections import forecast_figure, rate_figure

HERE = Path(__file__).parent


def templates_in(*folders: Path) -> Environment:
    """Return what makes pages of the templates in some folders; whatever they insert is escaped."""
    return Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def page_environment() -> Environment:
    """Return what makes pages of templates; compiling one takes longer than a small page does."""
    environment = templates_in(HERE / "templates", HERE)
    environment.filters.update(
        FILTERS,
        family=family,
        normal_interval=normal_interval,
        rate_figure=rate_figure,
        forecast_figure=forecast_figure,
        multiplier=spelled,
    )
    return environment
