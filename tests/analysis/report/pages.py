"""Pages of reports without the scripts that make them live, and their text."""

from __future__ import annotations

import re
from html import unescape

import pytest

from analysis import plots
from analysis.plots.style import Drawing

LAW_FIGURES = (
    "overview", "loss_curves", "loss_against_compute", "isoflop", "contours", "residuals", "cloud",
    "profiles", "frontier", "counting", "forecast_against_truth", "ends", "rollout",
)  # fmt: skip
TOGETHER = ("chinchilla", "ladder", "chinchilla-synthetic")  # sweeps of one page, the last on another text
SCRIPT = re.compile(r"<script\b[^>]*>(.*?)</script>", re.DOTALL)


def unscripted(html: str) -> str:
    """Return a page without its scripts and their data."""
    return SCRIPT.sub("", html)


def draw_only(patch: pytest.MonkeyPatch, *names: str) -> None:
    """Let reports have all figures of laws, of which only some are drawn and the others are empty."""
    for name in LAW_FIGURES:
        if name not in names:
            patch.setattr(plots, name, lambda *_: Drawing(figsize=(1, 1)))


def text_of(html: str) -> str:
    """Visible text with single spaces, figures left out."""
    bare = re.sub(r"<(svg|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", bare)).split())
