"""Parameters and tokens per step of a run: from its settings, from its name, or as given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.tables.names import listed
from analysis.tables.numbers import Mark, read_number
from analysis.trackers.tracked import TrackedRun, as_logged
from harness.records.errors import InputError

TIMES = "*"  # between the factors of a number
# Settings, by the last part of their key, that count parameters, or tokens of a step.
PARAMETERS = re.compile(
    r"(n|num|number_of|total|model)?_?param(eter)?s?(_count)?(_total)?"
    r"|(n_params|num_params|params|num_parameters)_(non_embedding|no_embed|body|matmul)"
    r"|non_?embedding_param(eter)?s",
    re.IGNORECASE,
)
STEP_TOKENS = re.compile(
    r"(tokens_per_(step|iter|iteration|batch|update)|total_batch_size|(global_)?batch_(size_)?(in_)?tokens)",
    re.IGNORECASE,
)
Given = Mapping[str, str] | str | None


@dataclass(frozen=True)
class Known:
    """A number and where it comes from.

    Attributes:
        value: the number.
        source: where it comes from, in words.
    """

    value: float
    source: str


def find_parameters(run: TrackedRun, given: Given, pattern: str | None) -> Known:
    """Return N of a run.

    Args:
        run: the run.
        given: a number or setting, such as `7e7`, `n_params` or `12*width*width`; or one for each run.
        pattern: regular expression whose first group is the number in the name of the run, such as `(\\d+M)`.

    Raises:
        InputError: N is not known, or settings hold several counts.
    """
    if pattern is not None:
        return _from_name(run, pattern)
    found = _given(run, given, "params")
    if found is not None:
        return found
    counts = {key: value for key, value in _numbers(run).items() if PARAMETERS.fullmatch(_leaf(key))}
    if len(set(counts.values())) > 1:
        raise InputError(
            f"run {run.name!r} has several counts of parameters: name one out of {listed(counts)}", "params"
        )
    if not counts:
        raise InputError(
            f"the parameters of run {run.name!r} are not known: give a number such as 7e7, one a run as in "
            f"{run.name}=7e7, a pattern for its name such as '(\\d+M)'{_or_setting(run)}",
            "params",
            "params_from",
        )
    key = next(iter(counts))
    return Known(counts[key], f"setting {key}")


def find_step_tokens(run: TrackedRun, given: Given) -> Known:
    """Return the tokens of a step of a run.

    Raises:
        InputError: they are not known.
    """
    found = _given(run, given, "tokens_per_step")
    if found is not None:
        return found
    counts = {key: value for key, value in _numbers(run).items() if STEP_TOKENS.fullmatch(_leaf(key))}
    if len(set(counts.values())) != 1:
        give = "give a number such as 524288, one a run as in"
        ask = f"{give} {run.name}=524288, or a product such as batch_size*seq_len{_or_setting(run)}"
        which = f"name one out of {listed(counts)}" if counts else ask
        raise InputError(
            f"the tokens of a step of run {run.name!r} are not known: {which}", "tokens_per_step"
        )
    key = next(iter(counts))
    return Known(counts[key], f"setting {key} × steps")


def find_total_tokens(run: TrackedRun, given: Given) -> Known | None:
    """Return the tokens that a run was given, such as `2e9`; None if none are."""
    return _given(run, given, "tokens")


def check_names(runs: list[TrackedRun], given: Given, argument: str) -> None:
    """Raise InputError if a number is given for a run that is not there."""
    names = [run.name for run in runs]
    unknown = [name for name in given if name not in names] if isinstance(given, Mapping) else []
    if unknown:
        raise InputError(f"there is no run {unknown[0]!r}: the runs are {listed(names)}", argument)


def _or_setting(run: TrackedRun) -> str:
    keys = _numbers(run)
    return f", or settings out of {listed(keys)}" if keys else ""


def _leaf(key: str) -> str:
    return re.split(r"[./]", key)[-1]


def _numbers(run: TrackedRun) -> dict[str, float]:
    """Return the settings that are positive numbers, and metrics that never change."""
    found = {}
    for key, value in run.settings.items():
        number = as_logged(value)
        if isinstance(value, str):
            number = read_number(value, Mark.GROUP)
        if number is not None and 0 < number < np.inf:
            found[key] = number
    for name, curve in run.metrics.items():
        if len(curve) and curve.iloc[0] > 0 and (curve == curve.iloc[0]).all():
            found.setdefault(name, float(curve.iloc[0]))
    return found


def _given(run: TrackedRun, given: Given, argument: str) -> Known | None:
    """Return the number that is given for a run; None if none is."""
    text = given.get(run.name) if isinstance(given, Mapping) else given
    if text is None:
        return None
    known, value = _numbers(run), 1.0
    for factor in text.split(TIMES):
        number = read_number(factor, Mark.GROUP)
        number = known.get(factor.strip()) if number is None else number
        if number is None or not 0 < number < np.inf:
            raise InputError(
                f"{factor.strip()!r} is neither a positive number such as 7e7 nor a setting of run "
                f"{run.name!r}: it has {listed(known) or 'none'}",
                argument,
            )
        value *= number
    return Known(value, f"given: {text}")


def _from_name(run: TrackedRun, pattern: str) -> Known:
    try:
        found = re.search(pattern, run.name)
    except re.error as error:
        raise InputError(
            f"the pattern {pattern!r} is no regular expression: {error}", "params_from"
        ) from error
    number = read_number(found[1], Mark.GROUP) if found and found.re.groups and found[1] else None
    if number is None or number <= 0:
        raise InputError(
            f"the pattern {pattern!r} finds no number in the name {run.name!r}: expected one group around "
            "it, such as '(\\d+M)'",
            "params_from",
        )
    return Known(number, f"pattern {pattern} in the name")
