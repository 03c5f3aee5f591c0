"""One run as another program logged it: curves of its metrics, its settings, and how it ended."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from harness.records.errors import InputError

NOT_FINITE = re.compile("[+-]?(nan|inf|infinity)", re.IGNORECASE)
Metric = pd.Series  # values by step; an infinite value was logged as NaN or infinity


@dataclass(frozen=True)
class TrackedRun:
    """A run of another program.

    Attributes:
        name: its name; unique among runs that are imported together.
        metrics: by name, values [rows] with steps as index, which rise.
        settings: what was logged once: configuration and summary, keys of nested parts joined by points.
        state: how it ended, in the word of its tracker; empty if it does not say.
        format: what it was read from, such as `W&B chart`.
        axis: what the index of the metrics counts: step or tokens.
        replaced: rows that a restart logged again, by metric; the later rows are kept.
        averaged: whether rows are means over several steps or runs.
    """

    name: str
    metrics: Mapping[str, Metric[float]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    state: str = ""
    format: str = ""
    axis: str = "step"
    replaced: Mapping[str, int] = field(default_factory=dict)
    averaged: bool = False


class RunBuilder:
    """Collects logged values of a run in the order in which they were written.

    Args:
        name: name of the run.
    """

    def __init__(self, name: str):
        self.name = name
        self.settings: dict[str, Any] = {}
        self._rows: dict[str, tuple[list[float], list[float]]] = {}

    def log(self, metric: str, step: float, value: float) -> None:
        """Add a value."""
        steps, values = self._rows.setdefault(metric, ([], []))
        steps.append(step)
        values.append(value)

    def extend(self, metric: str, steps: ArrayLike, values: ArrayLike) -> None:
        """Add values [rows] at steps [rows]; NaN stands for what was not logged."""
        at, logged = np.asarray(steps, float), np.asarray(values, float)
        known = np.isfinite(at) & ~np.isnan(logged)
        if known.any():
            own = self._rows.setdefault(metric, ([], []))
            own[0].extend(at[known].tolist())
            own[1].extend(logged[known].tolist())

    def build(self, form: str, *, state: str = "", axis: str = "step", averaged: bool = False) -> TrackedRun:
        """Return the run; `form` says what it was read from."""
        found = {name: _curve(*rows) for name, rows in self._rows.items()}
        return TrackedRun(
            self.name,
            {name: curve for name, (curve, _) in found.items()},
            self.settings,
            state,
            form,
            axis,
            {name: count for name, (_, count) in found.items() if count},
            averaged,
        )


def _curve(steps: ArrayLike, values: ArrayLike) -> tuple[Metric[float], int]:
    """Return values by rising step, and how many earlier rows a restart replaced.

    A row stays if no later row has its step or an earlier one.
    """
    at, logged = np.asarray(steps, float), np.asarray(values, float)
    following = np.append(np.minimum.accumulate(at[::-1])[::-1][1:], np.inf)
    kept = at < following
    finite = np.where(np.isnan(logged), np.inf, logged)
    return pd.Series(finite[kept], index=at[kept], dtype=float), int((~kept).sum())


def as_logged(value: object) -> float | None:
    """Return a logged value as a number; None if it is none.

    JSON has no word for NaN and infinity, so trackers write them as texts.

    >>> as_logged(3), as_logged("NaN"), as_logged(True), as_logged([1]), as_logged(10**400)
    (3.0, nan, None, None, inf)
    """
    if isinstance(value, str) and NOT_FINITE.fullmatch(value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def flattened(settings: Mapping[str, Any], prefix: str = "", join: str = ".") -> dict[str, Any]:
    """Return nested settings as one dictionary, keys joined by points or by another sign.

    >>> flattened({"model": {"n_params": 7}, "lr": 1e-3})
    {'model.n_params': 7, 'lr': 0.001}
    """
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= (
            flattened(value, f"{prefix}{key}{join}", join)
            if isinstance(value, Mapping)
            else {prefix + key: value}
        )
    return found


def told_apart(runs: Sequence[tuple[str, TrackedRun]]) -> list[TrackedRun]:
    """Return runs, given with their ids; those of one name get the beginning of the id behind it."""
    count = Counter(run.name for _, run in runs)
    return [replace(run, name=f"{run.name}-{key[:8]}") if count[run.name] > 1 else run for key, run in runs]


def merged(runs: Iterable[TrackedRun]) -> list[TrackedRun]:
    """Return runs with those of one name made one: a chart of losses, one of rates, a table of settings.

    Bytes in a name of a file that are no text become question marks, since tables hold text.

    Raises:
        InputError: two of one name have the same metric.
    """
    found: dict[str, TrackedRun] = {}
    for each in runs:
        run = replace(each, name=each.name.encode(errors="replace").decode())
        before = found.get(run.name)
        if before is None:
            found[run.name] = run
            continue
        both = sorted(set(before.metrics) & set(run.metrics))
        if both:
            raise InputError(
                f"two runs are called {run.name!r} and both have {both[0]!r}: give each a name of its own"
            )
        main, other = (before, run) if before.metrics else (run, before)
        found[run.name] = replace(
            main,
            metrics={**main.metrics, **other.metrics},
            settings={**other.settings, **main.settings},
            state=main.state or other.state,
            replaced={**main.replaced, **other.replaced},
            averaged=main.averaged or other.averaged,
        )
    return list(found.values())
