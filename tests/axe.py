"""axe-core in a page of tests/browser.py: what breaks the rules of accessibility.

References: https://github.com/dequelabs/axe-core/blob/develop/doc/rule-descriptions.md.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tests.browser import Page

PACKAGE = "axe_playwright_python"  # of which only the script of axe-core is used
# Everything is unfolded. Contrast is computed for each text anew, so rows that repeat others go, and so do
# the insides of static figures, whose letters are paths, and of all live ones but the first.
SHORTENED = """{
for (const each of document.querySelectorAll("details")) each.open = true;
const drawings = [...document.querySelectorAll(".live-chart svg")].slice(1);
for (const each of [...drawings, ...document.querySelectorAll(".plot svg")]) each.replaceChildren();
for (const body of document.querySelectorAll("tbody"))
  for (const row of [...body.rows].slice(3)) if (!row.className) row.remove();
}"""
FOUND = """
axe.run(document, {resultTypes: ["violations"]}).then((found) => found.violations.flatMap((rule) =>
  rule.nodes.map((node) => `${rule.id}: ${rule.help}; ${node.target.join(" ")}: ${node.html.slice(0, 160)}`)))
"""


@cache
def script() -> str:
    """The text of axe-core."""
    spec = find_spec(PACKAGE)
    assert spec, f"{PACKAGE} is not installed: uv sync --group dev"
    assert spec.submodule_search_locations
    return (Path(spec.submodule_search_locations[0]) / "axe.min.js").read_text()


def violations(page: Page) -> list[str]:
    """Return what axe-core objects to, an entry an element; the page is shortened for it."""
    page.run(SHORTENED)
    page.run(script())
    found: list[str] = page.run(FOUND)
    return found
