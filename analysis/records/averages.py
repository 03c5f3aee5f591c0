"""Records of what is stated over several laws: a value, its interval, and the share of each law."""

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
