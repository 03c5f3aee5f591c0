"""Which metric is the loss, the learning rate, the count of tokens: found by its name, or given."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from analysis.tables.names import listed
from analysis.trackers.exports import is_token_count
from analysis.trackers.tracked import TrackedRun, as_logged
from analysis.trackers.units import Given
from harness.records.errors import InputError

EVALUATION, TRAINING, UNKNOWN = "evaluation", "training", "unknown"
HELD_OUT = r"(?:val|valid|validation|eval|evaluation|test|dev|heldout)"
LOSS = r"(?:(?:ce|lm|nll|cross[_ ]?entropy|token)[_ ]?)?loss|cross[_ ]?entropy"
# Names in the order in which they are taken, and the data that they are of.
LOSSES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        (EVALUATION, rf"{HELD_OUT}[/_ .-]?(?:{LOSS})"),
        (EVALUATION, rf"(?:{LOSS})[/_ .-]{HELD_OUT}"),
        (EVALUATION, rf"{HELD_OUT}/.+[/_ ](?:{LOSS})"),
        (TRAINING, rf"train(?:ing)?[/_ .-]?(?:{LOSS})"),
        (TRAINING, rf"(?:{LOSS})[/_ .-]train(?:ing)?"),
        (UNKNOWN, rf"(?:{LOSS})"),
    )
)
RATES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?:.*[/_ .])?(?:lr|learning[_ ]rate)",
        r"(?:.*[/_ .])?(?:lr|learning[_ ]rate)(?:[_ /-]| \()?(?:group ?)?0\)?",
        r"(?:.*/)?lr-\w+",
        r"(?:.*/)?lrm",
    )
)


@dataclass(frozen=True)
class Metrics:
    """Names of metrics.

    Attributes:
        loss: of the loss.
        loss_of: data that it is of.
        lr: of the learning rate; None without one.
        tokens: of the count of training tokens; None without one.
    """

    loss: str
    loss_of: str
    lr: str | None
    tokens: str | None


def find_metrics(
    runs: Sequence[TrackedRun], loss: str | None = None, lr: str | None = None, tokens: Given = None
) -> Metrics:
    """Return the metrics to take.

    Args:
        runs: all runs.
        loss: name of the loss; by default that of held-out data, and else of training.
        lr: name of the learning rate.
        tokens: name of the count of tokens; anything else gives the tokens of a run, and no metric is taken.

    Raises:
        InputError: a name that no run has; no loss, or several that may be meant.
    """
    names = _names(runs)
    for given, argument in ((loss, "loss"), (lr, "lr")):
        if given is not None and given not in names:
            raise InputError(f"no run has the metric {given!r}: they have {listed(names)}", argument)
    counted = (tokens if tokens in names else None) if isinstance(tokens, str) else _tokens(names)
    counted = None if isinstance(tokens, Mapping) else counted
    kind, chosen = (kind_of(loss), loss) if loss is not None else _loss(names)
    return Metrics(chosen, kind, lr or _rate(names, chosen), counted)


def kind_of(name: str) -> str:
    """Return the data that a loss is of by its name.

    >>> kind_of("eval/paloma/loss"), kind_of("train/CE loss"), kind_of("ppl")
    ('evaluation', 'training', 'unknown')
    """
    found = next((kind for kind, pattern in LOSSES if pattern.fullmatch(name)), UNKNOWN)
    return EVALUATION if found == UNKNOWN and re.match(rf"{HELD_OUT}\b", name, re.IGNORECASE) else found


def _names(runs: Iterable[TrackedRun]) -> list[str]:
    """Return the metrics of all runs, and for runs without any their settings with a number."""
    names: dict[str, None] = {}
    for run in runs:
        names |= dict.fromkeys(
            run.metrics or [key for key, value in run.settings.items() if as_logged(value) is not None]
        )
    return list(names)


def _loss(names: Sequence[str]) -> tuple[str, str]:
    if not names:
        raise InputError("no run has a logged number: expected losses by step")
    for kind, pattern in LOSSES:
        found = [name for name in names if pattern.fullmatch(name)]
        if len(found) > 1:
            raise InputError(f"several metrics may be the loss: name one out of {listed(found)}", "loss")
        if found:
            return kind, found[0]
    raise InputError(f"no metric is called a loss: name one out of {listed(names)}", "loss")


def _rate(names: Sequence[str], loss: str) -> str | None:
    """Return the learning rate; rather one of the same group as the loss, such as `branch-4096/`."""
    found = [name for pattern in RATES for name in names if pattern.fullmatch(name)]
    near = [name for name in found if name.rpartition("/")[0] == loss.rpartition("/")[0]]
    return next(iter(near or found), None)


def _tokens(names: Sequence[str]) -> str | None:
    return next((name for name in names if is_token_count(name)), None)
