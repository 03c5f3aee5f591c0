"""Writers of state.json."""

from __future__ import annotations

from harness.records.run_files import RunState, RunStatus
from harness.runs.state import retries_after


def test_retries_are_counted_but_not_wanted_stops() -> None:
    assert retries_after(RunState()) == 0
    found = {s: retries_after(RunState(status=s, retries=1)) for s in RunStatus}
    assert found == dict.fromkeys(RunStatus, 1) | {RunStatus.FAILED: 2, RunStatus.RUNNING: 2}
