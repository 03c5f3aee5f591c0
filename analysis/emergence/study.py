"""All tasks and lengths along all axes: the content of emergence.json (keys in results/README.md)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.emergence.curve import Curve, curves, on_axis, varied_axes
from analysis.emergence.in_context import in_context
from analysis.emergence.measure import describe, evidence
from analysis.emergence.read import (
    AXES,
    EXACT,
    SMOOTH,
    TEXT,
    Evaluations,
    by_task,
    read_evaluations,
    read_foreign,
)
from analysis.emergence.statistics.seed_groups import judged
from analysis.emergence.statistics.sharpness import MIN_SIZES, SIGNIFICANCE, p_value
from analysis.emergence.verdict import Verdict, decide, sentence
from analysis.holm import holm
from analysis.result import plain
from harness.records.errors import InputError
from harness.records.files import write_json

FILE = "emergence.json"
NOT_EXAMINED = (
    "hidden progress measures (what a model computes before it shows)",
    "other mixtures of text and tasks, other shares of each",
    "models larger than those trained here",
    "other prompts, tokenizers and decoding rules than the ones evaluated",
)
# Verdicts under which both curves may be taken to go on as they are.
GOES_ON = (Verdict.SMOOTH, Verdict.METRIC_ARTEFACT, Verdict.DEPENDENT_ERRORS)
NO_TEST = "breakthroughness and linearity are descriptive: both call smooth curves breakthroughs"

Json = dict[str, Any]


def judge_jumps(
    table: Evaluations | pd.DataFrame | str | Path,
    *,
    mapping: Mapping[str, str] | None = None,
    axis: str | None = None,
    seed: int = 0,
) -> Json:
    """Judge every task × length: does the skill jump, or does only the metric?

    Args:
        table: task evaluations: the folder of a sweep, a frame or a file, or what `read_evaluations` returns.
        mapping: columns of a foreign table, such as {"N": "params", "smooth": "nll", "exact": "accuracy"};
            smooth is nats per token, or use perplexity or score in its place.
        axis: N, C, D or loss; each axis that the table varies by default.
        seed: of everything random.

    Returns:
        The content of emergence.json (keys in results/README.md): `tasks` with `verdict`, `label` and
        `words`, `warnings`, and `verdict` as text.

    Raises:
        InputError: unknown or constant axis, one metric only, no chance level anywhere.

    References: Schaeffer et al. 2023, arXiv:2304.15004, section 2.

    Examples:
        >>> import analysis as sl, numpy as np, pandas as pd
        >>> n = np.geomspace(1e6, 1e8, 5)
        >>> nll = 30 * n**-0.25
        >>> runs = pd.DataFrame({"params": n, "nll": nll, "accuracy": np.exp(-4 * nll)})
        >>> columns = {"N": "params", "smooth": "nll", "exact": "accuracy"}
        >>> found = sl.judge_jumps(runs, mapping=columns)
        >>> [task["label"] for task in found["tasks"]]
        ['too few sizes to test']
    """
    found = _evaluations(table, mapping)
    usable, left_out = _usable(found)
    axes = _axes(usable, axis)
    tasks = [entry for name in axes for entry in _along(usable, name, found, seed)]
    return plain(
        {
            "schema": 1,
            "level": SIGNIFICANCE,
            "axes": [{"axis": name, "held": held} for name, held in axes.items()],
            "tasks": tasks,
            "in_context": in_context(found.contexts),
            "warnings": [*found.warnings, *_missing_sizes(usable, next(iter(axes)))],
            "left_out": left_out,
            "not_examined": list(NOT_EXAMINED),
            "verdict": summary(tasks),
        }
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


def _axes(frame: Any, axis: str | None) -> dict[str, str]:
    if axis is not None and axis not in AXES:
        raise InputError(f"there is no axis {axis!r}: type --axis with one of {', '.join(AXES)}")
    if axis is not None:
        on_axis(frame, axis)
    axes = varied_axes(frame)
    if not axes:
        raise InputError("the table varies neither N, C, D nor loss: expected models of several sizes")
    return {axis: axes[axis]} if axis is not None else axes


def _usable(found: Evaluations) -> tuple[Any, list[Json]]:
    """The rows of tasks that can be analysed; the others with the reason."""
    frame = found.frame
    asked = frame[frame["task"] != TEXT]
    there = [name for name in (SMOOTH, EXACT) if asked[name].notna().any()]
    if len(there) < 2:
        raise InputError(
            f"the tasks have {there[0] if there else 'no metric'} only: expected an exact and a smooth "
            f"metric of the same models, {EXACT} and {SMOOTH} (--map exact=COLUMN,smooth=COLUMN)"
        )
    left_out, kept = [], []
    for task, length, rows in by_task(frame):
        reason = None
        if not rows[SMOOTH].gt(0).any():
            reason = f"no {SMOOTH}: exact match alone cannot tell a jump from a metric"
        elif rows[EXACT].notna().any() and rows["chance_exact"].isna().all():
            reason = f"the {EXACT} rows name no chance level: fill the column chance, or type --chance 0"
        if reason:
            left_out.append({"task": task, "length": length, "reason": reason})
        else:
            kept.append(rows.index)
    if not kept:
        raise InputError(f"no task can be examined, {left_out[0]['task']} because: {left_out[0]['reason']}")
    return frame.loc[np.concatenate(kept)].sort_index(), left_out


def _missing_sizes(frame: Any, axis: str) -> list[str]:
    """Tasks that some sizes lack, by name."""
    rows = on_axis(frame, axis)
    every = np.unique(rows[axis])
    said = []
    for task, length, own in by_task(rows):
        lacking = np.setdiff1d(every, own.loc[own[SMOOTH] > 0, axis])
        if axis in ("N", "D") and len(lacking):
            listed = ", ".join(f"{value:.4g}" for value in lacking)
            said.append(
                f"{name_of(task, length)}: no values at {len(lacking)} of {len(every)} sizes "
                f"({axis} = {listed}); judged on the others"
            )
    return said


def name_of(task: str, length: float) -> str:
    return f"{task} {length:g}" if length else task


@dataclass(frozen=True)
class _Tested:
    curve: Curve
    rng: np.random.Generator
    statistic: float | None
    p: float | None


def _along(frame: Any, axis: str, found: Evaluations, seed: int) -> list[Json]:
    """All curves of one axis: test each, correct for their number, then decide."""
    tested = []
    for curve in curves(frame, axis):
        rng = np.random.default_rng([seed, zlib.crc32(f"{curve.task} {curve.length} {axis}".encode())])
        statistic, p = None, None
        if curve.n_sizes >= MIN_SIZES:
            statistic, p = p_value(curve.design, curve.ln_nll, seed)
        tested.append(_Tested(curve, rng, statistic, p))
    several = [each.p for each in tested if each.p is not None]
    corrected = iter(holm(several))
    entries = [
        _entry(each, next(corrected) if each.p is not None else None, len(several), found, seed)
        for each in tested
    ]
    groups = iter(judged([group for entry in entries for group in entry["seed_groups"]]))
    return [{**entry, "seed_groups": [next(groups) for _ in entry["seed_groups"]]} for entry in entries]


def _entry(tested: _Tested, p_holm: float | None, tests: int, found: Evaluations, seed: int) -> Json:
    own = found.items.get((tested.curve.task, tested.curve.length))
    described = describe(tested.curve, own, tested.rng, seed, SIGNIFICANCE / max(tests, 1))
    described["sharpness"] |= {"statistic": tested.statistic, "p": tested.p, "p_holm": p_holm}
    facts = evidence(tested.curve, described)
    verdict = decide(facts)
    words = sentence(verdict, facts)
    if verdict not in GOES_ON:
        described["forecast"] = []
    if facts.p is not None and facts.p < SIGNIFICANCE:
        described["power"] = None  # of a test that has found something it would say nothing
    return {
        **described,
        "name": name_of(tested.curve.task, tested.curve.length),
        "verdict": verdict.value,
        "label": verdict.label,
        "words": words,
    }


def summary(tasks: list[Json]) -> str:
    """How many tasks ended in each verdict, on the first axis."""
    first = [task for task in tasks if task["axis"] == tasks[0]["axis"]]
    parts = []
    for verdict in Verdict:
        names = [task["name"] for task in first if task["verdict"] == verdict.value]
        if names:
            parts.append(f"{verdict.label}: {', '.join(names)}")
    parts += _over_seeds(first)
    return f"Along {first[0]['axis']}: {'; '.join(parts)}."


def _over_seeds(tasks: list[Json]) -> list[str]:
    """Where seeds of one size fall into two groups; nothing where no size has seeds enough for the test."""
    groups = [(task["name"], group) for task in tasks for group in task["seed_groups"]]
    if not groups:
        return []
    two = [f"{name} at {group['at']:.3g}" for name, group in groups if group["mixture"]]
    return [f"seeds of one size in two groups, of {len(groups)} tests: {', '.join(two) or 'none'}"]


def conclude(folder: Path, seed: int = 0, count: str = "n_params_matmul") -> Json:
    """Write emergence.json into the folder of a sweep that has evals.parquet and return what to print.

    Returns `verdict` (one line), `lines` (one a task on the first axis), `warnings` and `path`.

    Raises:
        InputError: the evaluations cannot be analysed.
    """
    result = judge_jumps(read_evaluations(folder, count=count), seed=seed)
    write_json(folder / FILE, result)
    first = result["axes"][0]["axis"]
    return {
        "verdict": result["verdict"],
        "lines": [f"{t['name']}: {t['label']}. {t['words']}" for t in result["tasks"] if t["axis"] == first],
        "warnings": [*result["warnings"], *(f"{e['task']}: {e['reason']}" for e in result["left_out"])],
        "path": str(folder / FILE),
    }
