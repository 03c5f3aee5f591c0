"""Progress of a sweep in words: how many runs have each status, their speed, and the time left."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from harness.records.number_text import duration
from harness.records.status.rows import ENDED, RowStatus, RunRow


class SweepState(StrEnum):
    """State of a sweep as a whole; the first that holds."""

    RUNNING = "running"
    """A worker trains one of its runs."""
    WAITING = "waiting"
    """No worker trains, but a driver has queued runs or is about to start them."""
    FAILED = "failed"
    """No worker trains, and the last attempt of a run failed."""
    STOPPED = "stopped"
    """Runs have begun, some are not finished, and no worker trains."""
    PLANNED = "planned"
    """No run has begun."""
    FINISHED = "finished"
    """Every run is finished or diverged."""


def sweep_state(rows: list[RunRow]) -> SweepState:
    """Return the state of the sweep whose runs are given."""
    found = {row.status for row in rows}
    for status, state in (
        (RowStatus.RUNNING, SweepState.RUNNING),
        (RowStatus.WAITING, SweepState.WAITING),
        (RowStatus.FAILED, SweepState.FAILED),
    ):
        if status in found:
            return state
    if found <= set(ENDED):
        return SweepState.FINISHED
    return SweepState.PLANNED if found == {RowStatus.MISSING} else SweepState.STOPPED


def has_ended(rows: list[RunRow]) -> bool:
    """Return whether every run is finished, failed or diverged."""
    return all(row.status in ENDED for row in rows)


def headline(rows: list[RunRow], cooldown_frac: float) -> str:
    """Return counts by status, speed and time left in one line; `cooldown_frac` as for `overall`."""
    return "; ".join(text for text in (counts(rows), overall(rows, cooldown_frac)) if text)


def counts(rows: list[RunRow]) -> str:
    """Return how many runs have each status, such as `12 finished, 2 running`."""
    found: dict[str, int] = {}
    for row in rows:
        found[row.status] = found.get(row.status, 0) + 1
    return ", ".join(f"{n} {status}" for status, n in found.items())


def overall(rows: list[RunRow], cooldown_frac: float) -> str:
    """Return the speed of all running runs and the time left at that speed; empty if none reports a speed.

    A run that does not report counts with all its FLOPs: the trunk, and a cooldown to every end point.

    Args:
        rows: runs of the plan.
        cooldown_frac: share of an end point's tokens that its cooldown trains.
    """
    rate = left = 0.0
    tokens_per_second = 0.0
    for row in rows:
        state, per_token = row.state, row.cells[0].flops / row.cells[0].n_tokens
        if row.status in ENDED:
            continue
        speed = state.tokens_per_second if row.status == RowStatus.RUNNING else None
        if speed:
            left += per_token * ((state.tokens_ahead or 0) - (state.tokens_trained or 0))
            rate += per_token * speed
            tokens_per_second += speed
        else:
            tokens = [cell.n_tokens for cell in row.cells]
            # The trunk ends where the longest run's cooldown begins.
            left += per_token * (max(tokens) * (1 - cooldown_frac) + cooldown_frac * sum(tokens))
    if not rate:
        return ""
    return f"{tokens_per_second:,.0f} tokens/s in all, about {duration(left / rate)} left"


def cooldown_share(optim: Any) -> float:
    """Return the share of an end point's tokens that its cooldown trains, by stored settings."""
    if not isinstance(optim, dict) or optim.get("schedule") != "wsd":
        return 0.0
    share = optim.get("cooldown_frac")
    return float(share) if isinstance(share, int | float) and 0 <= share <= 1 else 0.0
