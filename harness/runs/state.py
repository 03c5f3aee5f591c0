"""State of a run: state.json, and who writes it.

The run itself writes while it trains (`harness.train.journal`), and its worker if it fails. A driver writes
if the run waits or has lost its worker, `harness.cancel` if it takes the run out of a queue.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

from harness.records.files import write_json
from harness.records.paths import RunFolder

# Keys that stay from one attempt to the next, with at most MAX_FAILURES failures: nobody reads more.
KEPT = ("spent", "warnings", "failures", "n_lanes")
MAX_FAILURES = 20


def retries_after(state: dict[str, Any]) -> int:
    """Return how often a run has been started again after it failed or died.

    Interruptions on request do not count.
    """
    # A state that still says running belongs to a process that died without a word.
    return int(state.get("retries", 0)) + int(state.get("status") in ("failed", "running"))


def failures_after(state: dict[str, Any], error: str) -> list[dict[str, Any]]:
    """Return `time` (s since 1970) and `error` of the last failed attempts, this one at the end."""
    return [*state.get("failures", []), {"time": time.time(), "error": error}][-MAX_FAILURES:]


def set_state(folder: RunFolder, status: str, error: str | None = None, retry: bool = False) -> None:
    """Write how a run ended.

    Args:
        folder: folder of the run.
        status: such as `failed` or `interrupted`.
        error: why it failed.
        retry: whether another attempt may end otherwise.
    """
    before = folder.read_state()
    state = {"status": status, "error": error, "updated": time.time(), "retries": before.get("retries", 0)}
    kept = {key: before[key] for key in KEPT if key in before}
    if error is not None:
        kept["failures"] = failures_after(before, error)
    write_json(folder.state, state | kept | ({"retry": True} if retry else {}))


def record_failure(folder: RunFolder, reason: str, retry: bool = False) -> None:
    """Write into the run's state why it failed, if the disk still takes it."""
    # The failure may be a full disk, which cannot take the state either.
    with contextlib.suppress(OSError):
        set_state(folder, "failed", reason, retry)


def slurm_submission(folder: RunFolder) -> dict[str, str]:
    """Return `job` and `log` of the run's last Slurm job; empty if it has none."""
    with contextlib.suppress(OSError, ValueError):
        record: dict[str, str] = json.loads(folder.submission.read_text())
        return record if record["launcher"] == "slurm" else {}
    return {}


def record_waiting(folder: RunFolder) -> None:
    """Write that a run is about to be started, for the first time or again."""
    before = folder.read_state()
    kept = {key: before[key] for key in KEPT if key in before}
    state = {"status": "waiting", "updated": time.time(), "retries": retries_after(before)}
    write_json(folder.state, state | kept)
