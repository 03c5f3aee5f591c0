"""Record of replications of one experiment: every stated interval held against the other replications.

Losses are in nats per token. Errors, half-widths and interval scores of losses are in per cent of the loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from analysis.arrays import Interval
from analysis.records.forecast import ScoredCell
from harness.records.json_files import read_record

SCHEMA = 1


@dataclass(frozen=True)
class CoverageRecord:
    """How many intervals hold what they were stated for.

    Attributes:
        n: intervals that were judged.
        inside: those that hold the truth.
        share: inside over n; None without intervals.
        interval: interval of the share, with replications as clusters; None without intervals.
    """

    n: int
    inside: int
    share: float | None
    interval: Interval | None


@dataclass(frozen=True)
class SpreadRecord:
    """Distribution of a number, over replications unless its owner says otherwise.

    Attributes:
        n: values.
        mean: their mean.
        median: their median.
        quartiles: lower and upper quartile.
        range: smallest and largest value.
    """

    n: int
    mean: float
    median: float
    quartiles: Interval
    range: Interval


@dataclass(frozen=True)
class HeldOutRecord:
    """Forecasts of held-out cells from some factor of compute on.

    Attributes:
        at_least: least compute of the cells, over the largest fitted compute.
        n_cells: such cells in a replication.
        rms_percent: RMS error of a replication over these cells, %.
        coverage: intervals that hold the loss of their own replication.
        coverage_of_others: intervals that hold the loss of the same cell in another replication, by pairs.
        half_width_percent: half-width of the intervals, over all cells and replications, %.
        widest_over_median: widest over median half-width of a cell, the largest over cells.
        interval_score: mean interval score of a replication, %.
    """

    at_least: float
    n_cells: int
    rms_percent: SpreadRecord
    coverage: CoverageRecord
    coverage_of_others: CoverageRecord
    half_width_percent: SpreadRecord
    widest_over_median: float
    interval_score: SpreadRecord


@dataclass(frozen=True)
class ParameterRecord:
    """Estimates of one parameter, each interval against the mean of the other replications.

    Attributes:
        name: `a` under exact FLOPs, `a_6nd` under C = 6·N·D, `alpha`, `beta` or `E`.
        n: estimates.
        mean: their mean.
        sd: their standard deviation; None of a single one.
        coverage: intervals that hold the mean of the other replications.
        half_width: half-width of the intervals, in units of the parameter; None without intervals.
        widest_over_median: widest over median half-width; None without intervals.
        interval_score: interval score, in units of the parameter; None without intervals.
    """

    name: str
    n: int
    mean: float
    sd: float | None
    coverage: CoverageRecord
    half_width: SpreadRecord | None
    widest_over_median: float | None
    interval_score: SpreadRecord | None


@dataclass(frozen=True)
class PartRecord:
    """Results over some of the replications.

    Attributes:
        name: `all`, `fixed` (those a rule was fixed on) or `unseen` (the rest).
        replications: names of the replications.
        held_out: one entry a factor of compute that cells reach.
        parameters: one entry a parameter that was estimated.
    """

    name: str
    replications: tuple[str, ...]
    held_out: tuple[HeldOutRecord, ...]
    parameters: tuple[ParameterRecord, ...]


@dataclass(frozen=True)
class StatedParameter:
    """A parameter as one replication states it.

    Attributes:
        name: as in `ParameterRecord`.
        law: the law whose parameter it is, `over the laws` of an average; a and E are compared across laws.
        value: the estimate.
        interval: its interval; None if none is stated.
        others_mean: mean of the other replications; None with fewer than two.
    """

    name: str
    law: str
    value: float
    interval: Interval | None
    others_mean: float | None


@dataclass(frozen=True)
class ReplicationRecord:
    """One replication.

    Attributes:
        name: name of its folder.
        seeds: seeds of its runs.
        law: law of the sealed forecast; None without a forecast.
        created: time of the seal; None without a forecast.
        table_matches: whether the forecast was made from the fitted rows of points.parquet; None without one.
        cells: held-out cells with their forecasts and losses.
        rms_percent: RMS error by least factor, %; None if no cell reaches it.
        inside: cells inside their intervals.
        interval_score: mean interval score, %; None without a forecast.
        parameters: what its study states.
        seconds: wall-clock seconds; None without sweep.json.
    """

    name: str
    seeds: tuple[int, ...]
    law: str | None
    created: str | None
    table_matches: bool | None
    cells: tuple[ScoredCell, ...]
    rms_percent: Mapping[str, float | None]
    inside: int
    interval_score: float | None
    parameters: tuple[StatedParameter, ...]
    seconds: float | None


@dataclass(frozen=True)
class LeftOutReplication:
    """A replication that does not count.

    Attributes:
        name: name of its folder.
        reason: why, in words.
    """

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ReplicationsRecord:
    """What replications of one experiment say about its intervals.

    Attributes:
        schema: version of the keys.
        folder: folder of the replications.
        level: nominal share of the intervals, and confidence of the intervals of coverages.
        factors: least factors of compute that errors are shown for.
        n_fixed: replications, the first ones, that a rule was fixed on.
        parts: results over all replications, and over both parts if a rule was fixed.
        replications: the replications.
        left_out: replications that do not count.
        doubts: what speaks against the whole, in words.
    """

    schema: int = SCHEMA
    folder: str
    level: float
    factors: tuple[float, ...]
    n_fixed: int
    parts: tuple[PartRecord, ...]
    replications: tuple[ReplicationRecord, ...]
    left_out: tuple[LeftOutReplication, ...]
    doubts: tuple[str, ...]

    @property
    def judged(self) -> PartRecord:
        """The part to quote: the unseen replications, or all if no rule was fixed on some."""
        return self.parts[-1]


def read_replications_record(path: Path) -> ReplicationsRecord:
    """Read the record of a study of replications; raise InputError if it cannot be read."""
    return read_record(path, ReplicationsRecord, SCHEMA)
