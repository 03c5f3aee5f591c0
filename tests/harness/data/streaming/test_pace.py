"""What is said of a long step."""

from __future__ import annotations

import pytest

from harness.data.streaming import pace
from harness.data.streaming.pace import Pace


def test_speed_and_time_left_are_those_of_this_process() -> None:
    """A fifth was done before, another fifth took a minute: three more are left."""
    step = Pace("cleaning", 500e6, lambda _: None)
    step.skip(100e6)
    step.add(100e6)
    assert step.words(60.0) == "cleaning: 200 of about 500 MB at 1.7 MB/s, 3 min left"
    step.add(250e6)
    assert step.words(60.0) == "cleaning: 450 of about 500 MB at 5.8 MB/s, 9 s left"
    step.add(100e6)
    assert step.words(60.0) == "cleaning: 550 of about 550 MB at 7.5 MB/s, 0 s left"


def test_it_is_said_from_time_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    told: list[str] = []
    step = Pace("tokenising", 100e6, told.append)
    for _ in range(100):
        now[0] += 0.5
        step.add(1e6)
    step.finish()
    # Every ten seconds but the last: then it is done.
    assert [line.split(",")[0] for line in told] == [
        *(f"tokenising: {done} of about 100 MB at 2.0 MB/s" for done in (20, 40, 60, 80)),
        "tokenising: 100 MB at 2.0 MB/s",
    ]
    told.clear()
    Pace("tokenising", 1e6, told.append).finish()
    assert told == []
