"""Learning-rate schedules, and the order in which a run trains its trunk and cooldown branches.

A schedule is a factor for every step; the rate of a parameter group is its peak rate times this factor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harness.recipe.spec import RunSpec, ScheduleSpec
from harness.records.errors import InputError

TRUNK = "trunk"
FEWEST_INTERVALS = 4  # logging intervals of a run


@dataclass(frozen=True)
class Segment:
    """A stretch of consecutive steps on the trunk or on one branch.

    Attributes:
        first: First step, counted from 0.
        last: Step after the last one.
        n_tokens: Token count at which the branch ends; None on the trunk.
    """

    first: int
    last: int
    n_tokens: int | None = None

    @property
    def name(self) -> str:
        """`trunk` or `branch-<n_tokens>`: names the segment's checkpoints and curve parts."""
        return TRUNK if self.n_tokens is None else f"branch-{self.n_tokens}"


def warmup_factor(schedule: ScheduleSpec, steps: np.ndarray) -> np.ndarray:
    """Return the warm-up factor of each step: linear from 1/warmup_steps to 1."""
    # (step + 1) and not step: a first step at rate 0 would train nothing.
    return np.minimum(1.0, (steps + 1.0) / max(1, schedule.warmup_steps))


def trunk_factors(schedule: ScheduleSpec, steps: np.ndarray) -> np.ndarray:
    """Return the factors of a trunk, or of a cosine or linear run.

    A trunk stays at the peak after its warm-up. A cosine or linear run decays to `final_lr_frac` at its last
    step, `n_steps`.

    Args:
        schedule: Schedule of the run.
        steps: Step numbers, counted from 0.

    Returns:
        Factors of the peak rate, in the shape of `steps`.

    References:
        Cosine: Loshchilov & Hutter, arXiv:1608.03983, equation 5, without restarts.
        Linear decay to the end: Bergsma et al., arXiv:2502.15938.
    """
    if schedule.has_trunk:
        return warmup_factor(schedule, steps)
    assert schedule.n_steps is not None
    span = max(1, schedule.n_steps - schedule.warmup_steps)
    progress = np.clip((steps + 1.0 - schedule.warmup_steps) / span, 0.0, 1.0)
    falling = 1.0 - progress if schedule.kind == "linear" else 0.5 * (1.0 + np.cos(math.pi * progress))
    floor = schedule.final_lr_frac
    return warmup_factor(schedule, steps) * (floor + (1.0 - floor) * falling)


def branch_factors(schedule: ScheduleSpec, steps: np.ndarray, first: int, last: int) -> np.ndarray:
    """Return the factors of a branch: linear cooldown from the peak to `final_lr_frac` at its last step.

    Args:
        schedule: Schedule of the run.
        steps: Step numbers, counted from 0.
        first: Step at which the branch leaves the trunk.
        last: Step after the branch's last one.

    Returns:
        Factors of the peak rate, in the shape of `steps`.

    References:
        Hägele et al., arXiv:2405.18392, section 3.
    """
    progress = (steps + 1.0 - first) / (last - first)
    floor = schedule.final_lr_frac
    return warmup_factor(schedule, steps) * (floor + (1.0 - floor) * (1.0 - progress))


def lr_factors(schedule: ScheduleSpec, segment: Segment, first: int, n: int) -> np.ndarray:
    """Return the learning-rate factors of `n` steps of a segment, from step `first` on, fp32 [n].

    >>> wsd = ScheduleSpec("wsd", warmup_steps=4, cooldown_frac=0.5, final_lr_frac=0.0)
    >>> lr_factors(wsd, Segment(0, 6), first=0, n=6).tolist()
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    >>> lr_factors(wsd, Segment(6, 10, n_tokens=5120), first=6, n=4).tolist()
    [0.75, 0.5, 0.25, 0.0]
    """
    steps = np.arange(first, first + n, dtype=np.float64)
    if segment.n_tokens is None:
        factors = trunk_factors(schedule, steps)
    else:
        factors = branch_factors(schedule, steps, segment.first, segment.last)
    return factors.astype(np.float32)


def branch_start(spec: RunSpec, n_tokens: int) -> int:
    """Return the trunk step at which the branch to `n_tokens` begins, a multiple of `log_interval`.

    The cooldown takes about `cooldown_frac` of the steps, at least one logging interval. A `constant`
    schedule has no cooldown: its branch begins at its end.
    """
    n_steps = spec.n_steps(n_tokens)
    if spec.schedule.kind == "constant":
        return n_steps
    # One call of the compiled program trains a logging interval, so a trunk can stop only at multiples of it.
    cooldown = n_steps * spec.schedule.cooldown_frac
    return n_steps - max(spec.log_interval, round(cooldown / spec.log_interval) * spec.log_interval)


def segments(spec: RunSpec, n_tokens: list[int]) -> list[Segment]:
    """Return the segments of a run in the order of training.

    The trunk is trained up to the first branch, then this branch, then the trunk up to the next branch.
    A cosine or linear run is one trunk segment up to its one token count. A branch of a `constant` schedule
    has no steps.

    Args:
        spec: Recipe of the run.
        n_tokens: Token counts at which the run must end, in any order.
    """
    if not spec.schedule.has_trunk:
        return [Segment(0, spec.n_steps(n_tokens[0]))]
    plan: list[Segment] = []
    position = 0
    for tokens in sorted(n_tokens):
        start = branch_start(spec, tokens)
        if start > position:
            plan.append(Segment(position, start))
            position = start
        plan.append(Segment(start, spec.n_steps(tokens), tokens))
    return plan


def is_task_step(step: int, interval: int) -> bool:
    """Return whether the trunk is evaluated on tasks after this step: at 1, 2, 4, 8, … logging intervals."""
    n_intervals = step // interval
    # A power of two has one bit, so it shares none with the number below it.
    return n_intervals & (n_intervals - 1) == 0


def task_steps(spec: RunSpec, last: int) -> list[int]:
    """Return the steps up to `last` after which a trunk is evaluated on tasks."""
    every = spec.log_interval
    return [step for step in range(every, last + 1, every) if is_task_step(step, every)]


def nearest_reachable(n_tokens: int, raster: int) -> int:
    """Return the token count nearest to `n_tokens` at which a run can end: four or more times `raster`."""
    return max(FEWEST_INTERVALS, round(n_tokens / raster)) * raster


def is_reachable(n_tokens: int, raster: int) -> bool:
    """Return whether `n_tokens` is a whole number of logging intervals of `raster` tokens, at least four."""
    return n_tokens == nearest_reachable(n_tokens, raster)


def check_reachable(spec: RunSpec, n_tokens: int) -> None:
    """Raise InputError unless `n_tokens` is a whole number of logging intervals, at least four."""
    raster = spec.batch_tokens * spec.log_interval
    if not is_reachable(n_tokens, raster):
        raise InputError(
            f"n_tokens={n_tokens} of rung {spec.rung} is not reachable: a run ends after a multiple of "
            f"{raster} tokens (batch {spec.batch_tokens} tokens × log_interval {spec.log_interval}), "
            f"at least four of them; use {nearest_reachable(n_tokens, raster)}"
        )
