"""Pages of reports without the scripts that make them live, and their text."""

from __future__ import annotations

import re
from html import unescape

SCRIPT = re.compile(r"<script\b[^>]*>(.*?)</script>", re.DOTALL)


def unscripted(html: str) -> str:
    """Return a page without its scripts and their data."""
    return SCRIPT.sub("", html)


def text_of(html: str) -> str:
    """Visible text with single spaces, figures left out."""
    bare = re.sub(r"<(svg|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", bare)).split())
