"""What state.json says of a run: written by the run while it trains, by its worker at the end, and by the
driver where a worker was lost."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

from harness.records.files import write_json
from harness.records.paths import RunFolder

# What stays from one attempt to the next; no more of its failures than anybody will read.
KEPT = ("spent", "warnings", "failures", "n_lanes")
MAX_FAILURES = 20


def retries_after(state: dict[str, Any]) -> int:
    """How often a run has been started again after it failed or died; being told to stop does not count."""
    return int(state.get("retries", 0)) + int(state.get("status") in ("failed", "running"))


def failures_after(state: dict[str, Any], error: str) -> list[dict[str, Any]]:
    """`time` (s since 1970) and `error` of every attempt that failed, this one at the end."""
    return [*state.get("failures", []), {"time": time.time(), "error": error}][-MAX_FAILURES:]


def set_state(folder: RunFolder, status: str, error: str | None = None, retry: bool = False) -> None:
    """Say how a run ended. `retry`: another attempt may end otherwise."""
    before = folder.read_state()
    state = {"status": status, "error": error, "updated": time.time(), "retries": before.get("retries", 0)}
    kept = {key: before[key] for key in KEPT if key in before}
    if error is not None:
        kept["failures"] = failures_after(before, error)
    write_json(folder.state, state | kept | ({"retry": True} if retry else {}))


def record_failure(folder: RunFolder, reason: str, retry: bool = False) -> None:
    """Say in the run's state why it failed, if the disk still takes it."""
    with contextlib.suppress(OSError):
        set_state(folder, "failed", reason, retry)


def slurm_submission(folder: RunFolder) -> dict[str, str]:
    """`job` and `log` of the Slurm job that a run was last submitted as; empty where it was not."""
    with contextlib.suppress(OSError, ValueError):
        record: dict[str, str] = json.loads(folder.submission.read_text())
        return record if record["launcher"] == "slurm" else {}
    return {}


def record_waiting(folder: RunFolder) -> None:
    """Say that a run is about to be started, again where an attempt of it failed or died."""
    before = folder.read_state()
    kept = {key: before[key] for key in KEPT if key in before}
    state = {"status": "waiting", "updated": time.time(), "retries": retries_after(before)}
    write_json(folder.state, state | kept)
