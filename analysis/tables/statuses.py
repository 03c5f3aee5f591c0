"""Words that trackers write about the state of a run."""

from __future__ import annotations

NAMES = ("status", "state")  # columns in which trackers write them

DONE = {
    "complete", "completed", "converged", "done", "finished", "ok", "succeeded", "success", "successful",
}  # fmt: skip
NOT_DONE = {
    "aborted", "canceled", "cancelled", "crash", "crashed", "diverged", "diverging", "error", "errored",
    "fail", "failed", "failure", "incomplete", "interrupted", "killed", "node_fail", "oom", "out of memory",
    "out_of_memory", "pending", "preempted", "preempting", "queued", "running", "scheduled", "starting",
    "submitted", "timed out", "timed_out", "timeout", "unfinished",
}  # fmt: skip
