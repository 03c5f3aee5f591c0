"""Where the workers' time went: what runs say of themselves, and what the driver sees of the rest."""

from __future__ import annotations

from collections import defaultdict

START, LOST, IDLE, OTHER = "start", "lost with workers that died", "idle", "other"


class WorkerTime:
    """Adds up the seconds of all workers, by what they were spent on."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def finished(self, in_hand: float, spent: dict[str, float], first: bool) -> None:
        """A worker answered a job that it had in hand for so many seconds.

        `spent` is what the run reports. What is missing is the worker's start, with imports and data, where
        this was its first job; later on handing over, or the end of a run that broke off.
        """
        inside = sum(spent.values())
        # A run that ended before it reported has nothing, or a report of an earlier worker.
        if not 0.0 < inside <= in_hand:
            spent, inside = {}, 0.0
        for kind, seconds in spent.items():
            self._seconds[kind] += seconds
        self._seconds[START if first else OTHER] += in_hand - inside

    def lost(self, in_hand: float) -> None:
        """A worker died with a job in hand; what it had not saved is trained again."""
        self._seconds[LOST] += in_hand

    def total(self, n_workers: int, seconds: float) -> dict[str, float]:
        """Seconds by kind over `n_workers` for so long, no more and no less: the rest is idle."""
        rest = n_workers * seconds - sum(self._seconds.values())
        return self._seconds | {IDLE: self._seconds[IDLE] + rest}


def added(before: dict[str, float], now: dict[str, float]) -> dict[str, float]:
    """Seconds of earlier invocations and of this one, by kind."""
    return before | {kind: before.get(kind, 0.0) + seconds for kind, seconds in now.items()}


def shares(seconds: dict[str, float]) -> str:
    """`91.2% training steps, 4.0% evaluation, …`, the largest first; all of it, so 100 % but for rounding."""
    whole = sum(seconds.values())
    ordered = sorted(seconds.items(), key=lambda item: item[1], reverse=True)
    return ", ".join(f"{part / whole:.1%} {kind}" for kind, part in ordered if part > 0)
