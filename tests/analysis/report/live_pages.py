"""What tests of live pages share: numbers read off the page, and what the mouse does."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tests.browser import Page

DRAWN = "document.querySelector('#figure-overview .live-chart svg')"


def answer(page: Page) -> dict[str, str]:
    """The answer at the budget as the page states it."""
    names = ("c", "n", "d", "loss", "flat", "ratio", "hours", "cost")
    return {name: page.text(f"#live-out-{name}") for name in names}


def number(text: str) -> float:
    """The number at the beginning of a text such as 1.2M or 3×10¹²."""
    plain = re.sub(r"^10(?=[⁰¹²³⁴⁵⁶⁷⁸⁹])", "1e", text).replace("×10", "e").replace("−", "-")
    plain = plain.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789"))
    found = re.match(r"(-?[\d.]+(?:e\d+)?)([kMBT]?)", plain)
    assert found, text
    return float(found[1]) * {"": 1, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}[found[2]]


def read(curve: dict[str, list[float]], name: str, flops: float) -> float:
    return float(np.exp(np.interp(np.log(flops), np.log(curve["c"]), np.log(curve[name]))))


def largest(data: dict[str, Any]) -> int:
    """The place of the run of largest compute, which no other one covers."""
    return int(np.argmax([run["c"] for run in data["runs"]]))


def all_of(selector: str, of: str) -> str:
    """The expression of a list: `of` each element `e`."""
    return f"[...document.querySelectorAll({selector!r})].map(e => {of})"


def hover(page: Page, run: int, figure: str = "overview") -> None:
    """Put the mouse on a run in the first chart of a figure."""
    page.place(f"#figure-{figure} .live-chart")
    page.until(f"document.querySelectorAll('#figure-{figure} .hits path')[{run}]")
    x, y = page.run(
        f"(() => {{const b = document.querySelectorAll('#figure-{figure} .hits path')[{run}]"
        ".getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]})()"
    )
    page.point(x, y)


def hidden_text(page: Page, selector: str) -> str:
    return str(page.run(f"document.querySelector({selector!r}).textContent"))


# The page takes the view of an address that is typed; this one names nothing, so all is as at first.
RESET = """(async () => {
  const frame = () => new Promise(requestAnimationFrame);
  document.activeElement.blur();
  for (const each of document.querySelectorAll("details[open]")) each.open = false;
  scrollTo(0, 0);
  for (let i = 0; i < 2; i += 1) await frame();
  await new Promise((done) => {
    addEventListener("hashchange", done, {once: true});
    location.hash = "view=" + performance.now();
  });
  history.replaceState(null, "", location.pathname);
})()"""


def as_opened(page: Page) -> None:
    """Bring a page back to how it was when it was opened; the rows of its tables keep their order."""
    page.send("Page.bringToFront")
    page.size(1280, 900)
    page.media()
    page.point(5, 5)
    page.run(RESET)
    page.until(DRAWN)
