"""Boxes that scroll sideways, as a keyboard and a screen reader meet them.

A table wider than a telephone scrolls in a box of its own. Some browsers let no key scroll a box that the Tab
key passes by, so the right half of the table would be out of reach.

References: WCAG 2.2, https://www.w3.org/TR/WCAG22/#keyboard and #name-role-value.
"""

from __future__ import annotations

import re

TAGS = re.compile(r"<[^>]+>")
HEADING_OR_BOX = re.compile(r'<h[123]\b[^>]*>(?P<heading>.*?)</h[123]>|<div class="scroll">', re.DOTALL)


def reachable(page: str) -> str:
    """Return a page whose boxes of tables stop the Tab key, each named by the heading above it.

    >>> reachable('<h2 id="n">Noise</h2><div class="scroll"><table></table></div>')[21:]
    '<div class="scroll" tabindex="0" role="group" aria-label="Table: Noise"><table></table></div>'
    """
    heading = ""

    def named(found: re.Match[str]) -> str:
        nonlocal heading
        if found["heading"] is None:
            return f'<div class="scroll" tabindex="0" role="group" aria-label="Table: {heading}">'
        heading = " ".join(TAGS.sub(" ", found["heading"]).split())
        return found[0]

    return HEADING_OR_BOX.sub(named, page)
