"""Whether two sweeps follow one law: losses of each beside the law of the other, and the difference of laws.

Both sweeps are read off their average over laws. The difference is that of log loss at equal N and D, over
the cells of the second sweep that lie in the range of the first: its mean, and its slopes in ln N and ln D.
Draws of both averages hold the noise of seeds and trunks. Text and evaluation tokens are the same, so that
what they add to every loss cancels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from analysis.arrays import Array, Codes, Interval, Mask
from analysis.averaging.average import LawAverage, average_laws
from analysis.contest.adequacy import candidates
from analysis.contest.depth import FOUND_WITH, DepthPower, depth_power
from analysis.intervals import LEVEL
from analysis.tables.table import LossTable
from harness.records.errors import InputError

EDGE = 1.25  # cells so far outside the sizes and token counts of the other sweep still count as inside
DRAWS = 4000
RESAMPLES = 400
POWER = FOUND_WITH  # probability with which the stated shift would have been found
FEWEST = 3  # sizes, and token counts, in which two laws are compared


@dataclass(frozen=True)
class Held:
    """Cells of one sweep against predictions by the law of the other.

    Attributes:
        rung: name of the rung of each cell.  inside: whether a cell lies in the range of the other sweep.
        n: parameters.  d: training tokens.
        loss: geometric mean over seeds, nats per token.
        predicted: by the average over laws of the other sweep.  low, high: interval of one new run.
        n_layers: depth; None if it is not known.
    """

    rung: tuple[str, ...]
    inside: Mask
    n: Array
    d: Array
    loss: Array
    predicted: Array
    low: Array
    high: Array
    n_layers: Codes | None = None

    @property
    def error(self) -> Array:
        """Predicted over measured loss, less one [cells]."""
        return np.asarray(self.predicted / self.loss - 1)

    @property
    def rms(self) -> float:
        """RMS of the errors of the cells inside."""
        return float(np.sqrt(np.mean(self.error[self.inside] ** 2)))

    @property
    def covered(self) -> float:
        """Share of the cells inside whose loss lies in its interval."""
        return float(np.mean((self.low <= self.loss)[self.inside] & (self.loss <= self.high)[self.inside]))


@dataclass(frozen=True)
class RungDifference:
    """Mean difference of log loss, second law less first, over the cells of a rung, with its interval."""

    rung: str
    n: float
    n_cells: int
    value: float
    interval: Interval


@dataclass(frozen=True)
class Agreement:
    """Two sweeps against each other.

    Attributes:
        forward: cells of the second sweep by the law of the first.  backward: the reverse.
        shift: mean difference of log loss, second less first.  shift_interval: its interval.
        rungs: the difference by rung of the second sweep.
        p: of the test that mean and slopes of the difference are zero.
        found: shift of all losses that the test finds with probability POWER.
        level: share of the intervals; the test rejects at 1 - level.
        depth: the difference as a power of depth; None unless the first sweep has one depth and the second,
            where the two overlap, has more.
    """

    forward: Held
    backward: Held
    shift: float
    shift_interval: Interval
    rungs: tuple[RungDifference, ...]
    p: float
    found: float
    level: float
    depth: DepthPower | None = None

    @property
    def differ(self) -> bool:
        """Whether the test rejects one common law."""
        return self.p < 1 - self.level


def compare_laws(
    first: LossTable, second: LossTable, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Agreement:
    """Compare the laws of two sweeps on the same text at equal N and D.

    Args:
        first: finished runs of the sweep whose law is held against the other.
        second: finished runs of the other sweep, N counted alike.
        resamples: redrawn estimates of each law.
        level: share of the intervals.
        seed: of everything random.

    Raises:
        InputError: the sweeps overlap in too few sizes or token counts.

    References:
        Wald 1943, Transactions of the AMS 54 (the test, with the covariance of the draws).
    """
    averages = [
        average_laws(table, candidates(table), resamples=resamples, seed=seed + place)
        for place, table in enumerate((first, second))
    ]
    forward = _held(second, averages[0], first, level)
    backward = _held(first, averages[1], second, level)
    inside = forward.inside
    for what, values in (("sizes", forward.n[inside]), ("token counts", forward.d[inside])):
        if len(np.unique(values)) < FEWEST:
            raise InputError(
                f"the second sweep has {len(np.unique(values))} {what} in the range of the first, and "
                f"{FEWEST} or more were expected; compare sweeps whose sizes and token counts overlap"
            )
    n, d = forward.n[inside], forward.d[inside]
    rng = np.random.default_rng(seed)
    difference = _drawn(averages[1], n, d, rng) - _drawn(averages[0], n, d, rng)
    to_contrasts = np.linalg.pinv(_design(n, d))
    contrasts = difference @ to_contrasts.T
    centre, spread = np.median(contrasts, axis=0), np.cov(contrasts.T)
    wald = float(centre @ np.linalg.solve(spread, centre))
    tail = [(1 - level) / 2, (1 + level) / 2]
    names = np.array(forward.rung)[inside]
    rungs = []
    for name in dict.fromkeys(names):
        own = difference[:, names == name].mean(axis=1)
        low, high = map(float, np.quantile(own, tail))
        size = float(n[names == name][0])
        rungs.append(
            RungDifference(str(name), size, int((names == name).sum()), float(np.median(own)), (low, high))
        )
    low, high = map(float, np.quantile(contrasts[:, 0], tail))
    ratio = _depth_ratio(first, forward)
    return Agreement(
        forward=forward,
        backward=backward,
        shift=float(centre[0]),
        shift_interval=(low, high),
        rungs=tuple(rungs),
        p=float(stats.chi2.sf(wald, len(centre))),
        found=_found_shift(spread, level),
        level=level,
        depth=None
        if ratio is None
        else depth_power(contrasts, np.asarray(to_contrasts @ np.log(ratio)), level),
    )


def _depth_ratio(first: LossTable, cells: Held) -> Array | None:
    """Return the depth of the cells inside over that of the first sweep; None if there is nothing to tell."""
    if first.n_layers is None or cells.n_layers is None:
        return None
    own, theirs = np.unique(first.n_layers), cells.n_layers[cells.inside]
    if len(own) > 1 or len(np.unique(theirs)) == 1 or own[0] == 0 or theirs.min() == 0:
        return None
    return np.asarray(theirs / own[0])


def _held(table: LossTable, average: LawAverage, other: LossTable, level: float) -> Held:
    """Return the cells of a table, seeds taken together, beside the law of the other sweep."""
    first = [int(np.flatnonzero(table.cell == code)[0]) for code in range(table.n_cells)]
    first.sort(key=lambda row: (table.n[row], table.d[row]))
    loss = [np.exp(np.log(table.loss[table.cell == table.cell[row]]).mean()) for row in first]
    n, d, c = table.n[first], table.d[first], table.c[first]
    predicted, low, high = average.new_runs(n, d, c, level)
    inside = np.ones(len(first), bool)
    for values, theirs in ((n, other.n), (d, other.d)):
        inside &= (values >= theirs.min() / EDGE) & (values <= theirs.max() * EDGE)
    names = ("",) * len(first) if table.rung is None else tuple(table.rung[row] for row in first)
    depths = None if table.n_layers is None else table.n_layers[first]
    return Held(names, inside, n, d, np.array(loss), predicted, low, high, depths)


def _drawn(average: LawAverage, n: Array, d: Array, rng: np.random.Generator) -> Array:
    """Return draws of log loss over the laws at the cells [DRAWS, cells]."""
    values, weights = average.draws(lambda law, samples: np.log(law.value(samples, n, d, 6 * n * d)))
    return np.asarray(values[rng.choice(len(values), DRAWS, p=weights)])


def _design(n: Array, d: Array) -> Array:
    """Return columns of 1 and of centred ln N and ln D [cells, 3]."""
    columns = [np.log(values) - np.log(values).mean() for values in (n, d)]
    return np.column_stack([np.ones(len(n)), *columns])


def _found_shift(spread: Array, level: float) -> float:
    """Return the shift of log loss, the same in all cells, that the test finds with probability POWER."""
    dof = len(spread)
    critical = float(stats.chi2.ppf(level, dof))
    needed = optimize.brentq(lambda far: stats.ncx2.sf(critical, dof, far) - POWER, 1e-6, 1e3)
    return float(np.sqrt(needed / np.linalg.inv(spread)[0, 0]))
