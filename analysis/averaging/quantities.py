"""What a study states over laws: E, the exponent a, and the frontier, with the share of each law."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from analysis.arrays import Array
from analysis.averaging.average import EXCLUDED, LawAverage, weighted_quantiles
from analysis.frontier import Surface, exponent, flatness, optimum, six_nd_exponents, table_cost, table_reach
from analysis.intervals import LEVEL
from analysis.laws import Law, family
from analysis.records.averages import AveragedQuantity, AveragedRecord, LawShare
from analysis.records.frontier import FrontierRow
from analysis.tables.table import LossTable

SAID = 0.05  # a law of less weight does not speak against the others


def averaged_quantities(
    average: LawAverage, table: LossTable, flops: Array, level: float = LEVEL
) -> tuple[AveragedRecord, ...]:
    """Return E and the exponents of N* over the laws.

    Args:
        average: laws with their redrawn estimates.
        table: the fitted runs.
        flops: budgets over which the exponent under exact FLOPs is read off, FLOPs.
        level: share of the intervals.
    """

    def exact(law: Law, samples: Array) -> Array:
        return exponent(flops, _optima(law, samples, table, flops)[0])

    asked: list[tuple[AveragedQuantity, Callable[[Law, Array], Array]]] = [
        (AveragedQuantity.E, irreducible),
        (AveragedQuantity.A_SIX_ND, lambda law, samples: six_nd_exponents(law, samples, table)),
        (AveragedQuantity.A_EXACT, exact),
    ]
    return tuple(_stated(average, quantity, of, level) for quantity, of in asked)


def averaged_irreducible(average: LawAverage, level: float = LEVEL) -> AveragedRecord:
    """Return E over the laws."""
    return _stated(average, AveragedQuantity.E, irreducible, level)


def weights_text(weights: Iterable[tuple[str, float]]) -> str:
    """Return the laws that are not excluded with their weights, in the order given.

    >>> weights_text([("bounded", 0.742), ("saturating(5.3045,6.2383)", 0.257), ("joint", 1e-3)])
    'bounded 0.74, saturating 0.26'
    """
    return ", ".join(f"{family(law)} {weight:.2f}" for law, weight in weights if weight >= EXCLUDED)


def irreducible(law: Law, samples: Array) -> Array:
    """Return E of each estimate [draws]; 0 for a law without irreducible loss."""
    return samples[:, law.params.index("E")] if "E" in law.params else np.zeros(len(samples))


def averaged_frontier(
    average: LawAverage, table: LossTable, flops: Array, level: float = LEVEL
) -> tuple[FrontierRow, ...]:
    """Return N*, D* and the loss of one new run at each budget [flops], over the laws."""
    drawn = {entry.name: _optima(entry.law, entry.samples, table, flops) for entry in average.kept}
    return _frontier(average, drawn, table, flops, level)


def frontiers_by_law(
    average: LawAverage, table: LossTable, flops: Array, level: float = LEVEL
) -> tuple[tuple[FrontierRow, ...], dict[str, tuple[FrontierRow, ...]]]:
    """Return the frontier over the laws, and {name: frontier} of each law alone, excluded ones too.

    The draws of a law are searched once for both.
    """
    drawn = {entry.name: _optima(entry.law, entry.samples, table, flops) for entry in average.laws}
    alone = {name: _frontier(average.alone(name), drawn, table, flops, level) for name in drawn}
    return _frontier(average, drawn, table, flops, level), alone


def _frontier(
    average: LawAverage,
    drawn: Mapping[str, tuple[Array, Array, Array]],
    table: LossTable,
    flops: Array,
    level: float,
) -> tuple[FrontierRow, ...]:
    """Return the frontier over the kept laws from {name: N*, D* and loss [draws, flops]}."""
    found = [drawn[entry.name] for entry in average.kept]
    _, weights = average.draws(irreducible)
    sizes, tokens = (
        weighted_quantiles(np.concatenate([each[i] for each in found]), weights, level) for i in (0, 1)
    )
    loss = average.new_runs(sizes[1], tokens[1], flops, level)
    best = average.best
    surface = _surface(best.law, best.theta, table)
    flat = flatness(surface, flops, optimum(surface, flops)[0][0])
    columns = (
        flops,
        sizes[1],
        tokens[1],
        loss[0],
        sizes[0],
        sizes[2],
        tokens[0],
        tokens[2],
        loss[1],
        loss[2],
    )
    rows = zip(*columns, flat[:, 0], flat[:, 1], flops / table.c.max(), strict=True)
    return tuple(FrontierRow(*map(float, row)) for row in rows)


def _optima(law: Law, samples: Array, table: LossTable, flops: Array) -> tuple[Array, Array, Array]:
    return optimum(_surface(law, samples, table), flops, len(samples))


def _surface(law: Law, theta: Array, table: LossTable) -> Surface:
    return Surface(law.name, lambda n, d: law.value(theta, n, d), table_cost(table), table_reach(table))


def _stated(
    average: LawAverage, quantity: AveragedQuantity, of: Callable[[Law, Array], Array], level: float
) -> AveragedRecord:
    values, weights = average.draws(of)
    low, middle, high = weighted_quantiles(values, weights, level)
    shares = []
    for entry in average.kept:
        own = of(entry.law, entry.samples)
        ends = np.quantile(own, [(1 - level) / 2, 0.5, (1 + level) / 2])
        shares.append(LawShare(entry.name, entry.weight, float(ends[1]), float(ends[0]), float(ends[2])))
    return AveragedRecord(
        quantity, float(middle), float(low), float(high), level, agree(shares), tuple(shares)
    )


def agree(shares: Sequence[LawShare]) -> bool:
    """Return whether no two laws of weight differ by more than their intervals.

    Two laws differ if each says a value outside the other's interval.
    """
    heard = [share for share in shares if share.weight >= SAID]
    return not any(
        not one.low <= other.value <= one.high and not other.low <= one.value <= other.high
        for i, one in enumerate(heard)
        for other in heard[i + 1 :]
    )
