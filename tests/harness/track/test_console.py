"""What comes from a user is printed as it is."""

from __future__ import annotations

import ast
import io
from pathlib import Path

from rich.table import Table

from harness.track.console import LOG_WIDTH, plain_console
from tests import ROOT


def test_markup_and_emoji_of_a_name_are_text() -> None:
    stream = io.StringIO()
    console = plain_console(file=stream)
    table = Table(title="[/b] title")
    table.add_column("[red]column")
    table.add_row("results/[/b] :smile:")
    console.print("results/[/b] [red]x[/red] :smile:", table)
    for text in ("results/[/b] [red]x[/red] :smile:", "[/b] title", "[red]column", "results/[/b] :smile:"):
        assert text in stream.getvalue()
    assert console.width == LOG_WIDTH


def test_every_console_is_made_in_one_place() -> None:
    """Another one would read brackets in a path as markup, and end in a traceback at `[/b]`."""
    makers = []
    for path in sorted((ROOT / "harness").rglob("*.py")):
        calls = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
        if any(getattr(call.func, "id", "") == "Console" for call in calls):
            makers.append(path.relative_to(ROOT))
    assert makers == [Path("harness/track/console.py")]
