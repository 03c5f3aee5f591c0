"""`python -m tests.analysis.report.timings REPORT`: how soon a live report draws, and how fast its slider is.

Milliseconds by the browser's own clock, for opening the page, and for moves with each live figure in sight.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from tests.browser import Page, browser

MOVES = 60
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


def main(report: Path) -> None:
    """Print the figures of a report."""
    with tempfile.TemporaryDirectory() as folder, browser(Path(folder)) as chromium:
        page = chromium.open(report, width=1280, height=900)
        page.until("performance.getEntriesByName('first figure').length")
        soon = page.run("performance.getEntriesByName('first figure')[0].startTime")
        print(f"first figure after {soon:.0f} ms")
        for figure in page.run("[...document.querySelectorAll('figure.live')].map((each) => each.id)"):
            spent = sorted(moves(page, figure))
            middle, ninety = statistics.median(spent), spent[int(0.9 * MOVES)]
            print(f"{figure}: a move takes {middle:.0f} ms in the median, nine in ten up to {ninety:.0f} ms")
        page.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
