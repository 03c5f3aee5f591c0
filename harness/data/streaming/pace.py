"""How fast a long step goes, and when it will be done, said from time to time."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 10.0  # between two lines


class Pace:
    """Account of one step.

    Args:
        step: the step in words, such as `tokenising`.
        total: bytes of text to do, exact or about.
        say: receives the lines.
    """

    def __init__(self, step: str, total: float, say: Callable[[str], None]) -> None:
        self.step, self.total, self.say = step, total, say
        self.done = self.skipped = 0.0
        self.began = self.said = time.monotonic()

    def skip(self, n_bytes: float) -> None:
        """Count bytes that were done before this process began."""
        self.skipped += n_bytes

    def add(self, n_bytes: float) -> None:
        """Count bytes, and say how it goes if it is time."""
        self.done += n_bytes
        now = time.monotonic()
        if now - self.said >= SECONDS and self.done + self.skipped < self.total:
            self.said = now
            self.say(self.words(now - self.began))

    def finish(self) -> None:
        """Say how fast it went, of a step that was long enough for it."""
        seconds = time.monotonic() - self.began
        if seconds >= SECONDS:
            self.say(f"{self.step}: {self.done / 1e6:,.0f} MB at {self.done / 1e6 / seconds:.1f} MB/s")

    def words(self, seconds: float) -> str:
        """Return what is done after so many seconds, the speed, and the time that is left."""
        total = max(self.total, self.done + self.skipped)
        left = (total - self.done - self.skipped) * seconds / max(self.done, 1.0)
        wait = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
        return (
            f"{self.step}: {(self.done + self.skipped) / 1e6:,.0f} of about {total / 1e6:,.0f} MB at "
            f"{self.done / 1e6 / seconds:.1f} MB/s, {wait} left"
        )
