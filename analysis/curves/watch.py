"""Where the runs of a running sweep will end, looked up again only if a curve grew."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.curves.forecast import find_alarm, forecast_end
from analysis.curves.run import Run
from analysis.curves.sweep import SweepCurves
from analysis.curves.text import alarm_text, ends_at
from analysis.records.curves import Alarm, EndForecast
from harness.records.errors import CONTRADICTIONS, InputError
from harness.records.status.rows import RunRow

SHARE = 0.05  # of a driver's time that its looks may take


@dataclass(frozen=True)
class Outlook:
    """What is said of an unfinished run.

    Attributes:
        forecast: its last end.
        alarm: where it left its band; None if it did not.
    """

    forecast: EndForecast
    alarm: Alarm | None

    @property
    def ends_at(self) -> str:
        """Loss at the last end with half its interval, such as `2.187 ± 0.038`; empty if unknown."""
        return ends_at(self.forecast)

    def alarm_text(self, name: str) -> str:
        """Return the alarm as a sentence; empty without one."""
        return alarm_text(self.alarm, name) if self.alarm else ""


def alarms(rows: Iterable[RunRow], outlooks: Mapping[str, Outlook]) -> list[str]:
    """Return a line for each unfinished run whose loss left its band."""
    named = ((row.cells[0], outlooks.get(row.run_id)) for row in rows)
    texts = (o.alarm_text(f"{cell.rung} seed {cell.seed}") for cell, o in named if o)
    return [text for text in texts if text]


class SweepWatch:
    """Outlooks of a sweep's unfinished runs.

    A driver asks from its loop, so it must not be kept: a look that takes long is repeated later.

    Args:
        root: folder of the sweep.
        seconds: least seconds between two looks at the files; 0 looks whenever it is asked.
    """

    def __init__(self, root: Path, seconds: float = 0.0):
        self._curves = SweepCurves(root)
        self._seconds = seconds
        self._next_at = -float("inf")
        self._runs: list[Run] = []
        self._found: dict[str, Outlook] = {}

    @property
    def runs(self) -> Sequence[Run]:
        """Runs with a curve as of the last look: those not finished, and some of the finished ones."""
        return self._runs

    @property
    def n_left_out(self) -> int:
        """Finished runs that the last look left out."""
        return self._curves.n_left_out

    def look(self) -> Mapping[str, Outlook]:
        """Return outlooks by run; none of runs that are too short, and none if there are no curves yet."""
        began = time.monotonic()
        if began < self._next_at:
            return self._found
        self._look()
        ended = time.monotonic()
        self._next_at = ended + max(self._seconds, (ended - began) / SHARE) if self._seconds else ended
        return self._found

    def _look(self) -> None:
        runs: list[Run] = []
        with contextlib.suppress(InputError):
            runs = self._curves.read_few()
        # The curves return the same object for a run that has not changed.
        if [id(run) for run in runs] != [id(run) for run in self._runs]:
            self._runs, self._found = runs, {}
            for run in runs:
                # A damaged curve must not end the training that it is about.
                with contextlib.suppress(*CONTRADICTIONS):
                    if (found := self._outlook(run)) is not None:
                        self._found[run.name] = found

    def _outlook(self, run: Run) -> Outlook | None:
        if run.ends[-1].loss is not None:
            return None
        others = [other for other in self._runs if other is not run]
        return Outlook(forecast_end(run, run.ends[-1], others), find_alarm(run, others))
