"""Records of the sources of a mixture in fits.json: the laws of the loss on each source's held-out text."""

from __future__ import annotations

from dataclasses import dataclass, field

from analysis.records.averages import AveragedRecord
from analysis.records.frontier import FrontierRow
from harness.records.json_files import ABSENT_IF_NONE


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """The loss on one source, by size, tokens and compute of the models.

    Attributes:
        source: name of the source.
        n_points: finished end points that were scored on it.
        lowest_loss: lowest loss among them, nats per token.
        lowest_sem: standard error of that loss over blocks of text; None if unknown.
        averages: E and the exponents over all laws that the runs cannot exclude.
        frontier: lowest loss on this source at round budgets, and the size and tokens that reach it.
        reason: why there is no law, in words; absent if there is one.
    """

    source: str
    n_points: int
    lowest_loss: float
    lowest_sem: float | None
    averages: tuple[AveragedRecord, ...] = ()
    frontier: tuple[FrontierRow, ...] = ()
    reason: str | None = field(default=None, metadata=ABSENT_IF_NONE)
