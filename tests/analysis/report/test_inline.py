"""Figures inside a page: fewer bytes, the same drawing."""

from __future__ import annotations

import re

from matplotlib.figure import Figure

from analysis.plots.style import to_svg
from analysis.report.inline import inlined

NAMES = ("overview", "loss by source")
TOKEN = re.compile(r"[A-Za-z]|-?[\d.]+")


def figures() -> dict[str, str]:
    found = {}
    for name in NAMES:
        figure = Figure()
        axes = figure.subplots()
        axes.plot([1, 2, 3], [-2.5, 4, 0.25], "o-", label="a line − 10²")
        axes.legend()
        found[name] = to_svg(figure, name)
    return found


def paths(svg: str) -> list[list[str]]:
    return [TOKEN.findall(path) for path in re.findall(r' d="([^"]*)"', svg)]


def test_paths_have_the_same_numbers_in_fewer_bytes() -> None:
    files = figures()
    for name, short in inlined(files).items():
        assert paths(short) == paths(files[name])
        assert len(short) < 0.9 * len(files[name])


def test_every_reference_leads_to_one_place_of_the_page() -> None:
    page = "".join(inlined(figures()).values())
    ids = re.findall(r'\bid="([^"]*)"', page)
    referred = re.findall(r'href="#([^"]*)"', page) + re.findall(r"url\(#([^)]*)\)", page)
    assert len(set(ids)) == len(ids)
    assert set(referred) == set(ids)
    assert "xlink" not in page
