"""Packs: groups of jobs that one program trains side by side.

The members of a pack share one compiled step and one schedule and differ only in seed and learning rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from harness.recipe import counting
from harness.recipe.spec import Job, ModelSpec, Pack

# Maps a model to the largest number of its runs that one pack may hold.
Lanes = Callable[[ModelSpec], int]

# Lanes on an accelerator. A small model leaves it waiting for kernel launches, which the lanes of a pack
# share; a large model fills it alone. So all lanes together have at most PACKED_PARAMS parameters.
ACCELERATOR_LANES = 8
PACKED_PARAMS = 1e8


def one_lane(_: ModelSpec) -> int:
    """Return 1: every run is trained by itself."""
    return 1


def lanes_of(model: ModelSpec, requested: int | None, accelerator: bool) -> int:
    """Return the largest number of runs of a model in one pack.

    Args:
        model: shape of the runs.
        requested: `launcher.pack`; None leaves the choice to the platform.
        accelerator: whether a GPU or TPU trains the runs. One run keeps a CPU core busy, so a CPU gets 1.
    """
    if requested is not None:
        return requested
    if not accelerator:
        return 1
    return max(1, min(ACCELERATOR_LANES, int(PACKED_PARAMS / counting.n_params(model))))


def packs(jobs: Iterable[Job], at_most: Lanes) -> list[Pack]:
    """Group jobs into packs: members differ only in seed and learning rates.

    Args:
        jobs: one job per trajectory.
        at_most: largest number of runs in one pack, by model.

    Returns:
        Packs of about equal size within a group of alike jobs. Groups follow their first job in `jobs`;
        within a group the seeds ascend.
    """
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        groups.setdefault(_shape(job), []).append(job)
    return [pack for group in groups.values() for pack in _cut(group, at_most(group[0].spec.model))]


def open_packs(jobs: Iterable[Job], unfinished: Iterable[Job], at_most: Lanes) -> list[Pack]:
    """Return the packs of all `jobs`, each reduced to the jobs that are unfinished.

    A resumed sweep thus keeps the packs that it began with. The last bits of a run depend on its number of
    lanes (`harness.train.pack`).

    Args:
        jobs: every trajectory of the sweep, finished or not.
        unfinished: jobs with the token counts that are still to be trained.
        at_most: largest number of runs in one pack, by model.
    """
    left = {job.spec.run_id: job for job in unfinished}
    reduced = [
        tuple(left[j.spec.run_id] for j in pack if j.spec.run_id in left) for pack in packs(jobs, at_most)
    ]
    return [pack for pack in reduced if pack]


def _shape(job: Job) -> Any:
    """Return what the members of a pack share: the recipe except seed and rates, and the token counts."""
    spec = job.spec
    return spec.model, spec.optim.compiled, spec.schedule, spec.data, spec.log_interval, job.n_tokens


def _cut(group: list[Job], at_most: int) -> list[Pack]:
    """Cut alike jobs into packs of about equal size, in ascending order of seeds."""
    # Higher seeds, which a grid usually gets later, come last and leave most packs before them as they were.
    group = sorted(group, key=lambda job: job.spec.seed)
    size = math.ceil(len(group) / math.ceil(len(group) / at_most))
    return [tuple(group[i : i + size]) for i in range(0, len(group), size)]
