"""Time of workers: seconds that runs report for themselves, and the rest as the driver sees it."""

from __future__ import annotations

from collections import defaultdict

START, LOST, IDLE, OTHER = "start", "lost with workers that died", "idle", "other"


class WorkerTime:
    """Sum of the seconds of all workers, by what they were spent on."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def finished(self, in_hand: float, spent: dict[str, float], first: bool) -> None:
        """Add a pack that a worker has answered.

        The rest beyond `spent` is the worker's start, with imports and data, if this was its first pack.
        Later it is hand-over, or the end of a run that broke off.

        Args:
            in_hand: seconds that the worker had the pack.
            spent: seconds by kind, as the run reports them.
            first: whether this was the worker's first pack.
        """
        inside = sum(spent.values())
        # A run that ended before it reported has no report, or one from an earlier worker.
        if not 0.0 < inside <= in_hand:
            spent, inside = {}, 0.0
        for kind, seconds in spent.items():
            self._seconds[kind] += seconds
        self._seconds[START if first else OTHER] += in_hand - inside

    def lost(self, in_hand: float) -> None:
        """Add a pack whose worker died after `in_hand` seconds; unsaved steps are trained again."""
        self._seconds[LOST] += in_hand

    def total(self, n_workers: int, seconds: float) -> dict[str, float]:
        """Return seconds by kind that add up to `n_workers` × `seconds`: the rest is idle."""
        rest = n_workers * seconds - sum(self._seconds.values())
        return self._seconds | {IDLE: self._seconds[IDLE] + rest}


def added(before: dict[str, float], now: dict[str, float]) -> dict[str, float]:
    """Return the seconds of earlier invocations and of this one, by kind."""
    return before | {kind: before.get(kind, 0.0) + seconds for kind, seconds in now.items()}


def shares(seconds: dict[str, float]) -> str:
    """Return the shares of kinds as text, the largest first.

    >>> shares({"training steps": 90.0, "idle": 10.0})
    '90.0% training steps, 10.0% idle'
    """
    whole = sum(seconds.values())
    ordered = sorted(seconds.items(), key=lambda item: item[1], reverse=True)
    return ", ".join(f"{part / whole:.1%} {kind}" for kind, part in ordered if part > 0)
