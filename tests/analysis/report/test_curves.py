"""Section of the report on ends that were forecast on the way."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from analysis import plots
from analysis.curves.score import score
from analysis.report import build
from tests import ROOT


@pytest.fixture(scope="module")
def sweep() -> build.Sweep:
    return build.read_sweep(ROOT / "results" / "ladder")


def section(sweep: build.Sweep) -> str:
    page = build.render(sweep, {})
    return page[page.index('<h2 id="ends">') :].split("<h2", 2)[1]


def test_the_numbers_are_those_of_the_forecasts(sweep: build.Sweep) -> None:
    text = re.sub(r"<[^>]+>", " ", section(sweep))
    for row in score(sweep.tried):
        assert f"{row.rms_percent:.2f} %" in text
        assert f"{100 * row.share:.0f} %" in text
    assert [row.n_ends for row in score(sweep.tried)] == [51, 72, 72]


def test_the_figure_has_a_point_for_every_end(sweep: build.Sweep) -> None:
    (axes,) = plots.ends(sweep.tried).axes
    points = sum(len(line.get_xdata()) for line in axes.lines if line.get_linestyle() == "None")
    assert points == len(sweep.tried) == 195


def test_a_sweep_without_curves_says_why_in_one_line(sweep: build.Sweep) -> None:
    text = section(replace(sweep, tried=()))
    assert "No curve of a finished run is long enough, so nothing can be forecast from a part of it." in text
    assert "<table" not in text
