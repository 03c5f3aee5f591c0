"""Record of two arms against each other, as fits.json and the JSON of `python -m analysis.compare` hold it.

Symbols: N parameters, D training tokens, C training FLOPs, L loss in nats per token.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from analysis.arrays import Interval
from analysis.records.warning_codes import FitWarning


class NoiseSource(StrEnum):
    """How the noise of the difference of two runs is known."""

    SEEDS = "seeds"  # repeated cells
    SCATTER = "scatter"  # cells of one pair each, around the plane
    MISSED = "lack of fit"  # around the plane, which cells miss by more than seeds explain
    GIVEN = "given"
    ASSUMED = "assumed"


@dataclass(frozen=True)
class MultiplierRow:
    """Multipliers at one budget: above 1 the second arm is better.

    Attributes:
        flops: budget C of the second arm, FLOPs.
        factor: C over the largest compute that both arms were trained with.
        compute: compute of the base arm at equal loss over C, both arms at their best size.
        compute_interval: its interval.
        tokens: tokens of the base arm at equal loss and equal N, over those of the second.
        tokens_interval: its interval.
        params: parameters of the base arm at equal loss and equal D, over those of the second.
        params_interval: its interval.
        p_better: probability that the second arm is better.
    """

    flops: float
    factor: float
    compute: float
    compute_interval: Interval
    tokens: float
    tokens_interval: Interval
    params: float
    params_interval: Interval
    p_better: float

    @property
    def differs(self) -> bool:
        """Whether the interval of the compute multiplier leaves 1 out."""
        low, high = self.compute_interval
        return not low <= 1 <= high


@dataclass(frozen=True)
class SeedsRecord:
    """Seeds that would show a multiplier.

    Attributes:
        multiplier: of compute, at the largest measured budget.
        seeds: of each cell and arm; None beyond a thousand.
    """

    multiplier: float
    seeds: int | None


@dataclass(frozen=True)
class PairNoiseRecord:
    """Noise of the difference of two runs of one cell.

    Attributes:
        sd: standard deviation of the difference of log loss; of arms without pairs that of one run.
        dof: its degrees of freedom; None if it is given or assumed.
        source: how it is known.
    """

    sd: float
    dof: int | None
    source: NoiseSource


@dataclass(frozen=True)
class LawWeight:
    """A law of both arms, and its share of the average.

    Attributes:
        law: its name.
        weight: its share, 0 … 1.
    """

    law: str
    weight: float


@dataclass(frozen=True)
class ComparisonRecord:
    """Two arms against each other.

    Attributes:
        first: name of the base arm.
        second: name of the other.
        level: share of the intervals.
        n_runs: finished end points of each arm.
        n_pairs: pairs of end points that differ in the arm alone; 0 if the arms have too few cells in common.
        n_cells: cells with a pair.
        n_seeds: pairs of a cell, on average; of arms without pairs rows of a cell.
        by_seed: whether the two of a pair have the same seed.
        size_ratio: N of the second arm over N of the first in a pair, smallest and largest; None without
            pairs.
        cost_ratio: the same of the FLOPs per token.
        shift: mean difference of log loss at equal N and D, second less first.
        shift_interval: its interval.
        laws: laws of both arms that the runs do not exclude.
        noise: of the difference of two runs.
        rows: multipliers over the measured budgets, rising; the last is at the largest.
        target: multipliers at the budget that was asked for; None if none was.
        power: probability behind `floor` and `seeds`.
        floor: least multiplier above 1 that these runs show with probability `power`.
        seeds: seeds that would show given multipliers.
        warnings: doubts.
    """

    first: str
    second: str
    level: float
    n_runs: tuple[int, int]
    n_pairs: int
    n_cells: int
    n_seeds: float
    by_seed: bool
    size_ratio: Interval | None
    cost_ratio: Interval | None
    shift: float
    shift_interval: Interval
    laws: tuple[LawWeight, ...]
    noise: PairNoiseRecord
    rows: tuple[MultiplierRow, ...]
    target: MultiplierRow | None
    power: float
    floor: float
    seeds: tuple[SeedsRecord, ...]
    warnings: tuple[FitWarning, ...]

    @property
    def top(self) -> MultiplierRow:
        """The multipliers at the largest measured budget."""
        return self.rows[-1]
