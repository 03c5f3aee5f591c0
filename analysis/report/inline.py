"""Figures inside a page: the same drawing in fewer bytes than a file of its own needs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from markupsafe import Markup

from analysis.plots.style import slug

PATH = re.compile(r'(?<= d=")[^"]*')
BREAK = re.compile(r"\s*\n\s*")
NEEDLESS = re.compile(r"(?<=[A-Za-z]) | (?=-)")


def inlined(svg: Mapping[str, str]) -> dict[str, Markup]:
    """Return {name: figure} for one page, from the text that `to_svg` made for files.

    Ids become short ones of the page, and paths lose what no browser needs. A glyph is referred to by its id
    thousands of times, so a report of many figures shrinks by a quarter.
    """
    # The SVG is our own, with names as slugs in its ids.
    return {name: Markup(_short(text, name, place)) for place, (name, text) in enumerate(svg.items())}


def _short(text: str, name: str, place: int) -> str:
    # Files keep the older attribute, which programs for drawing still ask for.
    text = text.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "").replace("xlink:href", "href")
    text = re.sub(rf'(?<=["#]){re.escape(slug(name))}-(?=\d)', f"s{place}-", text)
    return PATH.sub(lambda found: NEEDLESS.sub("", BREAK.sub("", found[0])), text)
