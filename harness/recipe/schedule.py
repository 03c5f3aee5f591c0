"""Learning-rate factors by step, and the order in which a trajectory's segments are trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harness.recipe.spec import RunSpec, ScheduleSpec
from harness.records.errors import InputError

TRUNK = "trunk"


@dataclass(frozen=True)
class Segment:
    """Steps first..last-1 on the trunk, or on the branch that ends at `n_tokens`."""

    first: int
    last: int
    n_tokens: int | None = None

    @property
    def name(self) -> str:
        return TRUNK if self.n_tokens is None else f"branch-{self.n_tokens}"


def warmup_factor(schedule: ScheduleSpec, steps: np.ndarray) -> np.ndarray:
    """Linear from 1/warmup_steps to 1."""
    return np.minimum(1.0, (steps + 1.0) / max(1, schedule.warmup_steps))


def trunk_factors(schedule: ScheduleSpec, steps: np.ndarray) -> np.ndarray:
    """Rate of a trunk, or of a run that falls to `final_lr_frac` at its last step, relative to the peak.

    References: linear to the end, Bergsma et al., arXiv:2502.15938.
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
    """Linear cooldown from the peak at step `first` to `final_lr_frac` at the last step.

    References: Hägele et al., arXiv:2405.18392, section 3.
    """
    progress = (steps + 1.0 - first) / (last - first)
    floor = schedule.final_lr_frac
    return warmup_factor(schedule, steps) * (floor + (1.0 - floor) * (1.0 - progress))


def lr_factors(schedule: ScheduleSpec, segment: Segment, first: int, n: int) -> np.ndarray:
    """Factors of steps first..first+n-1 of a segment, fp32 [n]."""
    steps = np.arange(first, first + n, dtype=np.float64)
    if segment.n_tokens is None:
        factors = trunk_factors(schedule, steps)
    else:
        factors = branch_factors(schedule, steps, segment.first, segment.last)
    return factors.astype(np.float32)


def branch_start(spec: RunSpec, n_tokens: int) -> int:
    """Trunk step at which the branch to `n_tokens` leaves it, on the logging raster."""
    n_steps = spec.n_steps(n_tokens)
    if spec.schedule.kind == "constant":
        return n_steps
    cooldown = n_steps * spec.schedule.cooldown_frac
    return n_steps - max(spec.log_interval, round(cooldown / spec.log_interval) * spec.log_interval)


def segments(spec: RunSpec, n_tokens: list[int]) -> list[Segment]:
    """Order of work of one trajectory: along the trunk, each branch where it leaves it.

    A cosine or linear run is a trunk alone, up to its one end. A branch of a constant schedule has no steps.
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


def check_reachable(spec: RunSpec, n_tokens: int) -> None:
    """Raise InputError unless `n_tokens` is a whole number of logging intervals, at least four."""
    raster = spec.batch_tokens * spec.log_interval
    if n_tokens % raster or n_tokens < 4 * raster:
        nearest = max(4, round(n_tokens / raster)) * raster
        raise InputError(
            f"n_tokens={n_tokens} of rung {spec.rung} is not reachable: a run ends after a multiple of "
            f"{raster} tokens (batch {spec.batch_tokens} tokens × log_interval {spec.log_interval}), "
            f"at least four of them; use {nearest}"
        )
