"""Study of every task along every axis, which emergence.json holds (keys in results/README.md)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.emergence.curve import Curve, curves, on_axis, varied_axes
from analysis.emergence.in_context import in_context
from analysis.emergence.measure import examine, seed_splits
from analysis.emergence.read import (
    AXES,
    EXACT,
    SMOOTH,
    TEXT,
    Evaluations,
    by_task,
    name_of,
    read_evaluations,
    read_foreign,
)
from analysis.emergence.statistics.seed_groups import judged
from analysis.emergence.statistics.sharpness import MIN_SIZES, SIGNIFICANCE, p_values
from analysis.holm import holm
from analysis.records.emergence import (
    SCHEMA,
    Axis,
    AxisRecord,
    EmergenceRecord,
    LeftOutRecord,
    SharpnessRecord,
    TaskRecord,
    Verdict,
)
from analysis.records.fit import COUNTS
from harness.records.errors import InputError
from harness.records.json_files import write_record

FILE = "emergence.json"
NOT_EXAMINED = (
    "hidden progress measures (what a model computes before it shows)",
    "other mixtures of text and tasks, other shares of each",
    "models larger than those trained here",
    "other prompts, tokenizers and decoding rules than the ones evaluated",
)
NO_TEST = "breakthroughness and linearity are descriptive: both call smooth curves breakthroughs"


def judge_jumps(
    table: Evaluations | pd.DataFrame | str | Path,
    *,
    mapping: Mapping[str, str] | None = None,
    axis: str | None = None,
    seed: int = 0,
) -> EmergenceRecord:
    """Judge every task × length: does the skill jump, or does only the metric?

    Without exact match nothing is said about the metric: a task jumps, is smooth, or cannot be told.

    Args:
        table: task evaluations: the folder of a sweep, a frame or a file, or the result of
            `read_evaluations`.
        mapping: columns of a foreign table, such as {"N": "params", "smooth": "nll", "exact": "accuracy"};
            smooth is nats per token, or use perplexity or score in its place; exact may be left out.
        axis: N, C, D or loss; each axis that the table varies by default.
        seed: seed of the simulated nulls and of the bootstraps.

    Returns:
        The content of emergence.json: `tasks` with `verdict`, `label` and `words`, `warnings`, and `verdict`
        as text.

    Raises:
        InputError: unknown or constant axis, no smooth metric, no chance level anywhere.

    References: Schaeffer et al. 2023, arXiv:2304.15004, section 2.

    Examples:
        >>> import analysis as sl, numpy as np, pandas as pd
        >>> n = np.geomspace(1e6, 1e8, 5)
        >>> nll = 30 * n**-0.25
        >>> runs = pd.DataFrame({"params": n, "nll": nll, "accuracy": np.exp(-4 * nll)})
        >>> columns = {"N": "params", "smooth": "nll", "exact": "accuracy"}
        >>> found = sl.judge_jumps(runs, mapping=columns)
        >>> [task.label for task in found.tasks]
        ['too few sizes to test']
    """
    found = _evaluations(table, mapping)
    usable, left_out = _usable(found)
    axes = _axes(usable, axis)
    tasks = [task for name in axes for task in _along(usable, name, found, seed)]
    return EmergenceRecord(
        schema=SCHEMA,
        significance=SIGNIFICANCE,
        axes=tuple(AxisRecord(name, constant) for name, constant in axes.items()),
        tasks=tuple(tasks),
        in_context=tuple(in_context(found.contexts)),
        warnings=(*found.warnings, *_smooth_only(usable), *_missing_sizes(usable, next(iter(axes)))),
        left_out=tuple(left_out),
        not_examined=NOT_EXAMINED,
        verdict=summary(tasks),
    )


def _evaluations(
    table: Evaluations | pd.DataFrame | str | Path, mapping: Mapping[str, str] | None
) -> Evaluations:
    """Return the evaluations that `judge_jumps` was given or shall read."""
    if isinstance(table, Evaluations):
        return table
    if isinstance(table, pd.DataFrame):
        return read_foreign(table, mapping or {}, {}, None, {})
    return read_evaluations(Path(table), mapping)


def _axes(frame: pd.DataFrame, axis: str | None) -> dict[Axis, str]:
    """Return the axes to study, each with the quantity that stays constant along it."""
    if axis is not None and axis not in AXES:
        raise InputError(f"there is no axis {axis!r}: use one of {', '.join(AXES)}", "axis")
    if axis is not None:
        on_axis(frame, Axis(axis))
    axes = varied_axes(frame)
    if not axes:
        raise InputError("the table varies neither N, C, D nor loss: expected models of several sizes")
    return {Axis(axis): axes[Axis(axis)]} if axis is not None else axes


def _usable(found: Evaluations) -> tuple[pd.DataFrame, list[LeftOutRecord]]:
    """Split off the tasks that cannot be examined, each with the reason."""
    frame = found.frame
    asked = frame[frame["task"] != TEXT]
    if not asked[SMOOTH].notna().any():
        there = "exact match but no smooth metric" if asked[EXACT].notna().any() else "no metric of a task"
        raise InputError(
            f"the table has {there}, expected the loss of the answers ({SMOOTH}): map its column to smooth, "
            "perplexity or score",
            "mapping",
        )
    left_out, kept = [], []
    for task, length, rows in by_task(frame):
        reason = None
        if not rows[SMOOTH].gt(0).any():
            reason = f"no {SMOOTH}: exact match alone cannot tell a jump from a metric"
        elif rows[EXACT].notna().any() and rows["chance_exact"].isna().all():
            reason = (
                f"the {EXACT} rows name no chance level: fill the column chance, or give a chance level of 0"
            )
        if reason:
            left_out.append(LeftOutRecord(task, length, reason))
        else:
            kept.append(rows.index)
    if not kept:
        raise InputError(
            f"no task can be examined, {left_out[0].task} because: {left_out[0].reason}", "chance"
        )
    return frame.loc[np.concatenate(kept)].sort_index(), left_out


def _smooth_only(frame: pd.DataFrame) -> list[str]:
    """Return what cannot be said of a table without exact match."""
    asked = frame[frame["task"] != TEXT]
    if asked[EXACT].notna().any():
        return []
    return [
        f"the table has no {EXACT}: tasks are judged by the smooth metric alone, and nothing is said about "
        "artefacts of the metric, dependent errors or resolution"
    ]


def _missing_sizes(frame: pd.DataFrame, axis: Axis) -> list[str]:
    """Return a warning for every task that some sizes lack."""
    rows = on_axis(frame, axis)
    every = np.unique(rows[axis])
    said = []
    for task, length, own in by_task(rows):
        lacking = np.setdiff1d(every, own.loc[own[SMOOTH] > 0, axis])
        # The loss differs between the seeds of one size, and C may too: only N and D name a size.
        if axis in (Axis.N, Axis.D) and len(lacking):
            listed = ", ".join(f"{value:.4g}" for value in lacking)
            said.append(
                f"{name_of(task, length)}: no values at {len(lacking)} of {len(every)} sizes "
                f"({axis} = {listed}); judged on the others"
            )
    return said


@dataclass(frozen=True)
class _Tested:
    """A curve with its sup-F test before Holm's correction; no test if the sizes are too few."""

    curve: Curve
    rng: np.random.Generator
    statistic: float | None
    p: float | None


def _along(frame: pd.DataFrame, axis: Axis, found: Evaluations, seed: int) -> list[TaskRecord]:
    """Test all curves of one axis, correct for their number, then examine each."""
    tested = [_test(curve, seed) for curve in curves(frame, axis)]
    several = [each.p for each in tested if each.p is not None]
    corrected = iter(holm(several))
    splits = [seed_splits(each.curve) for each in tested]
    groups = iter(judged([split for own in splits for split in own]))
    return [
        examine(
            each.curve,
            found.items.get((each.curve.task, each.curve.length)),
            each.rng,
            seed,
            SharpnessRecord(
                statistic=each.statistic,
                p=each.p,
                p_holm=next(corrected) if each.p is not None else None,
            ),
            tuple(next(groups) for _ in own),
            SIGNIFICANCE / max(len(several), 1),
        )
        for each, own in zip(tested, splits, strict=True)
    ]


def _test(curve: Curve, seed: int) -> _Tested:
    # A generator of its own for each curve: a verdict does not depend on which other tasks there are.
    rng = np.random.default_rng([seed, zlib.crc32(f"{curve.task} {curve.length} {curve.axis}".encode())])
    statistic, p = None, None
    if curve.n_sizes >= MIN_SIZES:
        statistic, p = (float(part[0]) for part in p_values(curve.design, curve.ln_nll[None], seed))
    return _Tested(curve, rng, statistic, p)


def summary(tasks: list[TaskRecord]) -> str:
    """Return the tasks of the first axis grouped by verdict, in one sentence."""
    first = [task for task in tasks if task.axis == tasks[0].axis]
    parts = []
    for verdict in Verdict:
        labels = dict.fromkeys(task.label for task in first if task.verdict == verdict)
        for label in labels:
            names = [task.name for task in first if task.verdict == verdict and task.label == label]
            parts.append(f"{label}: {', '.join(names)}")
    parts += _over_seeds(first)
    return f"Along {first[0].axis}: {'; '.join(parts)}."


def _over_seeds(tasks: list[TaskRecord]) -> list[str]:
    """Return the sizes whose seeds are a mixture; nothing if no size has enough seeds for the test."""
    groups = [(task.name, group) for task in tasks for group in task.seed_groups]
    if not groups:
        return []
    two = [f"{name} at {group.at:.3g}" for name, group in groups if group.mixture]
    return [f"seeds of one size in two groups, of {len(groups)} tests: {', '.join(two) or 'none'}"]


def conclude(folder: Path, seed: int = 0, count: str = COUNTS[0]) -> EmergenceRecord:
    """Study the evaluations of a sweep and write emergence.json into its folder.

    Args:
        folder: results/<sweep> with evals.parquet and points.parquet.
        count: column of points.parquet that counts N.

    Raises:
        InputError: the evaluations cannot be analysed.
    """
    result = judge_jumps(read_evaluations(folder, count=count), seed=seed)
    write_record(folder / FILE, result)
    return result
