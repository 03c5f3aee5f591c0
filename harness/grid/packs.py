"""Which jobs are trained side by side: packs of runs that share one compiled step and one schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from harness.recipe import counting
from harness.recipe.spec import Job, ModelSpec, Pack

# Most runs of a model in one pack.
Lanes = Callable[[ModelSpec], int]

# Lanes on an accelerator, whose time on a small model goes into starting kernels; of larger models fewer, so
# that all lanes together have at most PACKED_PARAMS parameters.
ACCELERATOR_LANES = 8
PACKED_PARAMS = 1e8


def one_lane(_: ModelSpec) -> int:
    """Every run by itself."""
    return 1


def lanes_of(model: ModelSpec, requested: int | None, accelerator: bool) -> int:
    """Most runs of a model in one pack: as requested, or as the platform has it.

    A CPU core is busy with one run: there packs are of one.
    """
    if requested is not None:
        return requested
    if not accelerator:
        return 1
    return max(1, min(ACCELERATOR_LANES, int(PACKED_PARAMS / counting.n_params(model))))


def packs(jobs: Iterable[Job], at_most: Lanes) -> list[Pack]:
    """Jobs that differ in seed and rates alone, together; packs of about equal size, in the order of jobs."""
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        groups.setdefault(_shape(job), []).append(job)
    return [pack for group in groups.values() for pack in _cut(group, at_most(group[0].spec.model))]


def open_packs(jobs: Iterable[Job], unfinished: Iterable[Job], at_most: Lanes) -> list[Pack]:
    """Packs of all `jobs`, reduced to what is unfinished of them.

    So a sweep that was cut off forms the packs that it began with.
    """
    left = {job.spec.run_id: job for job in unfinished}
    reduced = [
        tuple(left[j.spec.run_id] for j in pack if j.spec.run_id in left) for pack in packs(jobs, at_most)
    ]
    return [pack for pack in reduced if pack]


def _shape(job: Job) -> Any:
    """What the members of a pack have in common."""
    spec = job.spec
    return spec.model, spec.optim.compiled, spec.schedule, spec.data, spec.log_interval, job.n_tokens


def _cut(group: list[Job], at_most: int) -> list[Pack]:
    """Seeds in order, so that added ones come into packs of their own."""
    group = sorted(group, key=lambda job: job.spec.seed)
    size = math.ceil(len(group) / math.ceil(len(group) / at_most))
    return [tuple(group[i : i + size]) for i in range(0, len(group), size)]
