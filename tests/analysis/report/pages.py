"""Pages of reports without the scripts that make them live."""

from __future__ import annotations

import re

SCRIPT = re.compile(r"<script\b[^>]*>(.*?)</script>", re.DOTALL)


def unscripted(html: str) -> str:
    """Return a page without its scripts and their data."""
    return SCRIPT.sub("", html)
