"""Records of what is stated over several laws: a value, its interval, the share of each law, the contest."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class AveragedQuantity(StrEnum):
    """What a study states over laws."""

    E = "E"  # irreducible loss, nats per token
    A_SIX_ND = "a_6nd"  # exponent of N* under C = 6·N·D
    A_EXACT = "a"  # exponent of N* under exact FLOPs


@dataclass(frozen=True)
class LawShare:
    """One law in an average.

    Attributes:
        law: its name.
        weight: its share of the average, 0 … 1.
        value: the quantity under this law, median of its draws.
        low: lower end of its interval under this law alone.
        high: upper end.
    """

    law: str
    weight: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class AveragedRecord:
    """A quantity over all laws that the runs cannot exclude.

    Attributes:
        quantity: which.
        value: median over the draws of all laws.
        low: lower end of its interval.
        high: upper end.
        level: share of the interval.
        agree: whether no two laws of weight .05 or more differ by more than their intervals; if they do, no
            single value is quoted.
        laws: the laws behind it, by falling weight.
    """

    quantity: AveragedQuantity
    value: float
    low: float
    high: float
    level: float
    agree: bool
    laws: tuple[LawShare, ...]


@dataclass(frozen=True)
class ContestRow:
    """One law in the contest.

    Attributes:
        law: its name.
        count: column that holds N.
        rollout_rms: RMS error of log loss beyond the fitted computes; None if no compute allows a rollout.
        n_params: free parameters.
        chosen: whether the rule chose it.
        weight: share of the law in averages over laws, 0 … 1; None in files of the rule before.
        chi2: squares around the law over the variance of the noise; None in such files.
        bic: criterion of the rule before; None since.
    """

    law: str
    count: str
    rollout_rms: float | None
    n_params: int
    chosen: bool
    weight: float | None = None
    chi2: float | None = None
    bic: float | None = None
