"""`python -m tests.analysis.report.timings REPORT`: how soon a live report draws, and how fast its slider is.

Milliseconds by the browser's own clock, for opening the page, and for moves with each live figure in sight.
It exits with 1 if the first figure comes later than promised, or if more than one move in ten takes longer.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.browser import Page, browser

MOVES = 60
FIRST_FIGURE, MOVE_TAKES = 1500.0, 150.0  # milliseconds that are promised
MOVE = """
(async () => {
  const slider = document.querySelector("#live-slider"), spent = [];
  for (let i = 0; i < %d; i += 1) {
    const began = performance.now();
    slider.value = (397 * i) %% 1001;
    slider.dispatchEvent(new Event("input"));
    document.body.getBoundingClientRect();
    spent.push(performance.now() - began);
    await new Promise(requestAnimationFrame);
  }
  return spent;
})()
"""


def moves(page: Page, figure: str) -> list[float]:
    """Milliseconds of moves all over the slider, with a figure in sight."""
    page.place(f"#{figure}")
    page.until(f"document.querySelector('#{figure} .live-chart svg')")
    return list(page.run(MOVE % MOVES))


def broken_promises(soon: float, slowest: Mapping[str, float]) -> list[str]:
    """Return a sentence for each promise that does not hold.

    Args:
        soon: time of the first figure, ms.
        slowest: {figure: time within which nine moves in ten end, ms}.
    """
    first = [f"the first figure came after {soon:.0f} ms, promised are {FIRST_FIGURE:.0f}"]
    return (first if soon > FIRST_FIGURE else []) + [
        f"with {figure} a move takes {spent:.0f} ms, promised are {MOVE_TAKES:.0f}"
        for figure, spent in slowest.items()
        if spent > MOVE_TAKES
    ]


def main(report: Path) -> int:
    """Print the figures of a report; return 1 if a promise is broken, else 0."""
    slowest = {}
    with tempfile.TemporaryDirectory() as folder, browser(Path(folder)) as chromium:
        page = chromium.open(report, width=1280, height=900)
        page.until("performance.getEntriesByName('first figure').length")
        soon = page.run("performance.getEntriesByName('first figure')[0].startTime")
        print(f"first figure after {soon:.0f} ms")
        for figure in page.run("[...document.querySelectorAll('figure.live')].map((each) => each.id)"):
            spent = sorted(moves(page, figure))
            middle, ninety = statistics.median(spent), spent[int(0.9 * MOVES)]
            print(f"{figure}: a move takes {middle:.0f} ms in the median, nine in ten up to {ninety:.0f} ms")
            slowest[figure] = ninety
        page.close()
    late = broken_promises(soon, slowest)
    print("\n".join(late) or "All as promised.")
    return int(bool(late))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
