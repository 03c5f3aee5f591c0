"""Further cells that shrink the error of a loss ahead: greedy by what each brings per FLOP.

Greedy by gain per FLOP alone spends little, greedy by gain alone buys one dear cell. Both are tried, and a
rule between them, and the best set is kept. Then single cells are exchanged as long as that helps.

References: Leskovec et al. 2007, KDD, section 3 (two greedy rules under a budget); Fedorov 1972, Theory of
Optimal Experiments, section 3.2 (exchanges).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.arrays import Array
from analysis.design.expected import Target
from analysis.design.information import Cells, Information
from analysis.design.price import Trunk
from harness.records.errors import InputError

POWERS = (1.0, 0.5, 0.0)  # of the price that a gain is divided by: per FLOP, between, and the gain alone
ROUNDING = 0.05  # of token counts, which are whole logging intervals
EXCHANGES = 2  # rounds
LEAST_GAIN = 1e-3  # of ln variance: less is not worth a run


@dataclass(frozen=True)
class Candidate:
    """A cell that could be trained: a branch of a trunk.

    Attributes:
        trunk: code of the trunk.  n_tokens: training tokens D.
    """

    trunk: int
    n_tokens: float


@dataclass(frozen=True)
class ChosenCell:
    """A cell to train next.

    Attributes:
        trunk: the trunk it branches from, without the cells chosen behind it.
        n_tokens: training tokens D.
        price: training FLOPs that it adds.
        error_before, error_after: standard error of the log loss at the target.
    """

    trunk: Trunk
    n_tokens: float
    price: float
    error_before: float
    error_after: float


@dataclass(frozen=True)
class Choice:
    """Cells to train next, in the order of what they bring.

    Attributes:
        cells: the cells.
        target: the run whose loss is to be forecast.
        error_before, error_after: standard error of its log loss without and with the cells.
    """

    cells: tuple[ChosenCell, ...]
    target: Target
    error_before: float
    error_after: float

    @property
    def price(self) -> float:
        """Training FLOPs of all cells."""
        return sum(cell.price for cell in self.cells)


@dataclass(frozen=True)
class Limit:
    """What cells must keep to.

    Attributes:
        number: cells at most.  spend: their training FLOPs at most.
        largest: compute of a single run at most, FLOPs.
        ratios: smallest and largest D/N, so that no run is trained shorter or longer for its size than the
            runs that are there, or the target.
    """

    number: int
    spend: float
    largest: float
    ratios: tuple[float, float]

    def allows(self, trunk: Trunk, end: float) -> bool:
        """Return whether a run keeps to the compute and the ratios."""
        low, high = self.ratios
        return trunk.size.flops_per_token * end <= self.largest and low <= end / trunk.size.n <= high


class _State:
    """A design that grows: its runs, its trunks, and the variance of the target."""

    def __init__(self, information: Information, trunks: dict[int, Trunk], slope: Array):
        self.information = information
        self.trunks = dict(trunks)
        self.slope = slope
        self.cells = information.cells
        self.picked: list[Candidate] = []
        self.variance = self._variance(self.cells)

    def copy(self) -> _State:
        other = _State.__new__(_State)
        other.__dict__ = self.__dict__ | {"trunks": dict(self.trunks), "picked": list(self.picked)}
        return other

    def _variance(self, cells: Cells) -> float:
        covariance = self.information.with_rows(cells)
        return np.inf if covariance is None else float(self.slope @ covariance @ self.slope)

    def step(self, candidate: Candidate) -> float:
        return self.trunks[candidate.trunk].step(candidate.n_tokens)

    def price(self) -> float:
        return sum(trunk.price for trunk in self.trunks.values())

    def variance_with(self, candidate: Candidate) -> float:
        return self._variance(self._with(candidate))

    def _with(self, candidate: Candidate) -> Cells:
        size = self.trunks[candidate.trunk].size
        flops = size.flops_per_token * candidate.n_tokens
        return self.cells.with_cell(size.n, candidate.n_tokens, flops, candidate.trunk)

    def take(self, candidate: Candidate) -> None:
        self.cells = self._with(candidate)
        trunk = self.trunks[candidate.trunk]
        self.trunks[candidate.trunk] = replace(trunk, added=(*trunk.added, candidate.n_tokens))
        self.picked.append(candidate)
        self.variance = self._variance(self.cells)


def choose(
    information: Information,
    target: Target,
    trunks: Sequence[Trunk],
    ends: Sequence[float],
    number: int,
    spend: float,
    largest: float | None = None,
) -> Choice:
    """Return the cells that shrink the error of the loss at a target most.

    Args:
        information: the runs that are there, and the law.
        target: the run whose loss is to be forecast.
        trunks: those that are there and those that could be trained, of each size as many as could be used.
        ends: token counts that a branch can have.
        number: cells at most.
        spend: training FLOPs at most.
        largest: compute of a run at most, FLOPs; that of the target by default.

    Raises:
        InputError: the cheapest cell costs more than is to be spent, or no cell brings anything.
    """
    place = (np.array([value]) for value in (target.n, target.d, target.flops))
    begun = _State(information, {trunk.code: trunk for trunk in trunks}, information.slope(*place)[0])
    ratios = np.append(information.cells.d / information.cells.n, target.d / target.n)
    limit = Limit(
        number,
        spend,
        target.flops if largest is None else largest,
        (float(ratios.min()) * (1 - ROUNDING), float(ratios.max()) * (1 + ROUNDING)),
    )
    cheapest = min(
        (trunk.step(end) for trunk in trunks for end in ends if _is_open(trunk, end, limit)), default=np.inf
    )
    if np.isinf(cheapest):
        raise InputError(
            f"no further cell has at most {limit.largest:.3g} FLOPs and D/N from {limit.ratios[0]:.3g} to "
            f"{limit.ratios[1]:.3g}, as the runs have: allow more compute, or other sizes and token counts"
        )
    if cheapest > spend:
        raise InputError(
            f"{spend:.3g} FLOPs were given to spend and the cheapest cell costs {cheapest:.3g}: give at "
            f"least {cheapest:.3g}, or add smaller sizes or token counts"
        )
    tried = [_greedy(begun, ends, limit, power) for power in POWERS]
    best = min(tried, key=lambda state: state.variance)
    for _ in range(EXCHANGES):
        exchanged = _exchanged(begun, best, ends, limit)
        if not exchanged.variance < best.variance * (1 - LEAST_GAIN):
            break
        best = exchanged
    if not best.picked:
        raise InputError(
            f"no cell of up to {spend:.3g} FLOPs says more of the loss at {target.flops:.3g} FLOPs: spend "
            "more, or allow other sizes and token counts"
        )
    return _ordered(begun, best.picked, target)


def _is_open(trunk: Trunk, end: float, limit: Limit) -> bool:
    return end not in trunk.ends and end not in trunk.added and limit.allows(trunk, end)


def _allowed(state: _State, ends: Sequence[float], limit: Limit) -> list[Candidate]:
    """Return the cells that the rest of the budget pays for; of trunks alike, one."""
    left = limit.spend - state.price()
    found: dict[tuple[object, ...], Candidate] = {}
    for trunk in state.trunks.values():
        for end in ends:
            if not _is_open(trunk, end, limit) or trunk.step(end) > left:
                continue
            alike = trunk.size, trunk.ends, trunk.added, trunk.saved, end
            found.setdefault(alike, Candidate(trunk.code, end))
    return list(found.values())


def _best(state: _State, ends: Sequence[float], limit: Limit, power: float) -> Candidate | None:
    """Return the cell of largest fall of ln variance over its price to a power; None if none brings any."""
    best, highest = None, 0.0
    for candidate in _allowed(state, ends, limit):
        gain = np.log(state.variance / state.variance_with(candidate))
        worth = gain / state.step(candidate) ** power
        if gain > LEAST_GAIN and worth > highest:
            best, highest = candidate, worth
    return best


def _greedy(begun: _State, ends: Sequence[float], limit: Limit, power: float) -> _State:
    state = begun.copy()
    for _ in range(limit.number):
        found = _best(state, ends, limit, power)
        if found is None:
            break
        state.take(found)
    return state


def _exchanged(begun: _State, chosen: _State, ends: Sequence[float], limit: Limit) -> _State:
    """Return the design with each cell in turn given up for the one that brings most in its place."""
    best = chosen
    for position in range(len(chosen.picked)):
        if position >= len(best.picked):
            break
        state = begun.copy()
        for candidate in best.picked[:position] + best.picked[position + 1 :]:
            state.take(candidate)
        found = _best(state, ends, limit, 0.0)
        if found is None:
            continue
        state.take(found)
        # The new cell stands where the old one stood, so that every cell has its turn.
        state.picked.insert(position, state.picked.pop())
        if state.variance < best.variance and state.price() <= limit.spend:
            best = state
    return best


def _ordered(begun: _State, picked: Sequence[Candidate], target: Target) -> Choice:
    """Return the cells by falling gain per FLOP, each with what it brings behind those before it."""
    state, left, cells = begun.copy(), list(picked), []
    first = float(np.sqrt(state.variance))
    while left:
        worth = [np.log(state.variance / state.variance_with(each)) / state.step(each) for each in left]
        candidate = left.pop(int(np.argmax(worth)))
        trunk, price, before = state.trunks[candidate.trunk], state.step(candidate), state.variance
        state.take(candidate)
        cells.append(
            ChosenCell(
                trunk, candidate.n_tokens, price, float(np.sqrt(before)), float(np.sqrt(state.variance))
            )
        )
    return Choice(tuple(cells), target, first, float(np.sqrt(state.variance)))
