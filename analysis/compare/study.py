"""Comparison of two arms: pairs, their difference, multipliers, and what more seeds would show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from analysis.arrays import Array, Interval
from analysis.averaging.average import LawAverage, average_laws, weighted_quantiles
from analysis.compare.difference import Difference, Estimate, difference_of, pooled
from analysis.compare.multiplier import Arms, Multipliers, draw_multipliers
from analysis.compare.pairs import Pairs, find_pairs
from analysis.compare.read import ArmSource, read_arms
from analysis.contest.adequacy import candidates
from analysis.frontier import MAX_EXTRAPOLATION, extrapolation_warning
from analysis.intervals import LEVEL
from analysis.laws import find_law
from analysis.records.comparison import (
    ComparisonRecord,
    LawWeight,
    MultiplierRow,
    NoiseSource,
    PairNoiseRecord,
    SeedsRecord,
)
from analysis.records.fit import COUNTS
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.tables.seed_noise import KNOWN_DOF
from analysis.tables.table import LossTable
from harness.records.errors import InputError
from harness.records.number_text import percent

RESAMPLES = 400
BUDGETS = 3  # from the geometric middle of the measured compute to its largest
POWER = 0.8  # probability with which a stated multiplier would be shown
SHOWN = (1.02, 1.05, 1.1)  # multipliers whose seeds are counted
MOST_SEEDS = 1000
FEWEST = 3  # sizes, and token counts, of both arms together


def compare_arms(
    first: ArmSource,
    second: ArmSource,
    *,
    names: tuple[str, str] = ("A", "B"),
    target: float | None = None,
    mapping: Mapping[str, str] | None = None,
    count: str = COUNTS[0],
    noise: float | None = None,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ComparisonRecord:
    """Compare two recipes at equal loss: by how much more compute the first reaches what the second reaches.

    Runs of the same size, token count and seed are paired, so that what they share cancels. The difference of
    log loss is a plane over ln N and ln D. A law of both arms turns it into multipliers, under the FLOPs that
    each arm spends per token.

    Args:
        first: finished runs of the base arm: a LossTable, a frame, or the path of a table or sweep.
        second: the same of the other arm.
        names: names of the arms.
        target: a budget of the second arm at which the multiplier is wanted too, FLOPs.
        mapping: columns of foreign tables, as for `load_table`.
        count: column of N in our own tables.
        noise: standard deviation of log loss between seeds, if it is known; else it is measured.
        level: share of the intervals.
        resamples: redrawn estimates of each law.
        seed: of everything random.

    Returns:
        The record: multipliers of compute, tokens and parameters by budget, with intervals; the least
        multiplier that these runs can show; seeds that would show smaller ones. Above 1 the second arm is
        better.

    Raises:
        InputError: the arms were trained or scored on different data, a table cannot be read, or the runs are
            too few for a law.

    References: Fuller & Battese 1973, JASA 68 (noise of trunks); Hoffmann et al. 2022, arXiv:2203.15556
        (the frontier); Buckland et al. 1997, Biometrics 53 (averages over laws).

    Examples:
        >>> import analysis as sl, numpy as np, pandas as pd
        >>> n, d = (x.ravel() for x in np.meshgrid([1e7, 3e7, 1e8, 3e8], [1e9, 3e9, 1e10]))
        >>> old = pd.DataFrame({"N": n, "D": d, "loss": 1.7 + 400 * n**-0.34 + 410 * d**-0.28})
        >>> new = old.assign(loss=1.7 + 400 * n**-0.34 + 410 * (1.3 * d) ** -0.28)
        >>> found = sl.compare_arms(old, new, noise=0.001)
        >>> print(f"the old recipe needs {found.top.compute:.1f} times the compute")
        the old recipe needs 1.3 times the compute
    """
    _check(target, noise, level, resamples)
    tables = read_arms(first, second, names, mapping, count)
    base, other = tables
    laws = _laws(base, other)
    pairs = find_pairs(base, other)
    difference, average = _estimated(base, other, pairs, laws, noise, resamples, seed)
    smallest, largest = float(min(base.c.min(), other.c.min())), float(min(base.c.max(), other.c.max()))
    budgets = measured_budgets(base, other)
    asked = budgets if target is None else np.append(budgets, target)
    drawn = draw_multipliers(Arms.of(base, other, average, difference), asked, seed)
    rows = _rows(drawn, asked, largest, level)
    measured, beyond = rows[: len(budgets)], rows[len(budgets) :]
    tail = _t(difference.dof, (1 + level) / 2)
    half = tail * float(np.sqrt(difference.covariance[0, 0]))
    middle = float(difference.value[0])
    se = float(np.diff(np.log(measured[-1].compute_interval))[0]) / 2 / tail
    return ComparisonRecord(
        first=names[0],
        second=names[1],
        level=level,
        n_runs=(len(base), len(other)),
        n_pairs=0 if pairs is None else len(pairs.first),
        n_cells=0 if pairs is None else pairs.n_cells,
        n_seeds=difference.replicates,
        by_seed=pairs is not None and pairs.by_seed,
        size_ratio=_ratio(pairs, base.n, other.n),
        cost_ratio=_ratio(pairs, base.c / base.d, other.c / other.d),
        shift=middle,
        shift_interval=(middle - half, middle + half),
        laws=tuple(LawWeight(entry.name, entry.weight) for entry in average.kept),
        noise=PairNoiseRecord(
            difference.sd, difference.dof if difference.dof < KNOWN_DOF else None, difference.source
        ),
        rows=measured,
        target=beyond[0] if beyond else None,
        power=POWER,
        floor=float(np.exp((tail + _t(difference.dof, POWER)) * se)),
        seeds=tuple(SeedsRecord(each, _needed(each, se, difference, level)) for each in SHOWN),
        warnings=_warnings(difference, pairs, (smallest, largest), target, names),
    )


def _check(target: float | None, noise: float | None, level: float, resamples: int) -> None:
    if target is not None and not (np.isfinite(target) and target > 0):
        raise InputError(f"target is {target:g}: expected training FLOPs above 0 such as 1e20", "target")
    if noise is not None and not 0 < noise < 1:
        raise InputError(
            f"noise is {noise:g}: expected the standard deviation of log loss between seeds, such as 0.004",
            "noise",
        )
    if not 0 < level < 1:
        raise InputError(f"level is {level:g}: expected a share between 0 and 1 such as {LEVEL:g}", "level")
    if resamples < 1:
        raise InputError(f"resamples is {resamples}: expected 1 or more such as {RESAMPLES}", "resamples")


def _laws(base: LossTable, other: LossTable) -> list[str]:
    """Return the laws that both arms together can hold; raise InputError if there is none."""
    both = pooled(base, other)
    for what, values in (("sizes", both.n), ("token counts", both.d)):
        if len(np.unique(values)) < FEWEST:
            raise InputError(
                f"the arms have {len(np.unique(values))} {what}, expected {FEWEST} or more: a multiplier "
                "needs a law in N and D; train more of them"
            )
    laws = _held_by(both, candidates(both))
    if not laws:
        raise InputError(
            f"the arms have {both.n_cells} cells of size and token count, too few for a law in N and D; "
            "train at least 7, such as 3 sizes at 3 token counts"
        )
    return laws


def _estimated(
    base: LossTable,
    other: LossTable,
    pairs: Pairs | None,
    laws: Sequence[str],
    noise: float | None,
    resamples: int,
    seed: int,
) -> tuple[Difference, LawAverage]:
    """Return the difference of the arms, and the laws of both arms without it."""
    alone = average_laws(base, _held_by(base, laws) or laws[:1], resamples=0, seed=seed).best
    difference = difference_of(base, other, pairs, Estimate(alone.law, alone.theta), noise)
    # Once more with a law of both arms, which twice the runs determine better.
    average = average_laws(pooled(base, other, difference), laws, resamples=resamples, seed=seed)
    both = Estimate(average.best.law, average.best.theta)
    return difference_of(base, other, pairs, both, noise), average


def _held_by(table: LossTable, laws: Sequence[str]) -> list[str]:
    """Return the laws with fewer parameters than the table has cells."""
    return [law for law in laws if find_law(law).n_free < table.n_cells]


def measured_budgets(base: LossTable, other: LossTable) -> Array:
    """Return budgets from the geometric middle to the largest compute that both arms were trained with."""
    low, high = max(base.c.min(), other.c.min()), min(base.c.max(), other.c.max())
    return np.geomspace(np.sqrt(min(low, high) * high), high, BUDGETS)


def _rows(drawn: Multipliers, flops: Array, largest: float, level: float) -> tuple[MultiplierRow, ...]:
    """Return the multipliers at each budget from their draws."""
    compute, tokens, params = (
        np.exp(weighted_quantiles(values, drawn.weights, level)).T.tolist()
        for values in (drawn.compute, drawn.tokens, drawn.params)
    )
    better = np.clip(drawn.weights @ (drawn.compute > 0), 0, 1).tolist()
    return tuple(
        MultiplierRow(
            flops=budget,
            factor=budget / largest,
            compute=compute[i][1],
            compute_interval=(compute[i][0], compute[i][2]),
            tokens=tokens[i][1],
            tokens_interval=(tokens[i][0], tokens[i][2]),
            params=params[i][1],
            params_interval=(params[i][0], params[i][2]),
            p_better=better[i],
        )
        for i, budget in enumerate(flops.tolist())
    )


def _ratio(pairs: Pairs | None, base: Array, other: Array) -> Interval | None:
    """Return the smallest and the largest quotient over the pairs."""
    if pairs is None:
        return None
    found = other[pairs.second] / base[pairs.first]
    return float(found.min()), float(found.max())


def _t(dof: int, share: float) -> float:
    """Return the quantile of Student's t, or of the normal distribution if the noise is not measured."""
    return float(stats.norm.ppf(share) if dof >= KNOWN_DOF else stats.t.ppf(share, dof))


def _needed(multiplier: float, se: float, difference: Difference, level: float) -> int | None:
    """Return the seeds that show a multiplier with probability POWER; None beyond MOST_SEEDS.

    The variance of the logarithm of the multiplier falls as one over the seeds.
    """
    seeds = np.arange(2, MOST_SEEDS + 1)
    dof = np.maximum(difference.trunks / difference.replicates * seeds - len(difference.value), 1)
    if difference.dof >= KNOWN_DOF:
        dof = np.full(len(seeds), np.inf)
    tails = stats.t.ppf((1 + level) / 2, dof) + stats.t.ppf(POWER, dof)
    shown = tails * se * np.sqrt(difference.replicates / seeds) <= np.log(multiplier)
    return int(seeds[np.argmax(shown)]) if shown.any() else None


def _warnings(
    difference: Difference,
    pairs: Pairs | None,
    measured: Interval,
    target: float | None,
    names: tuple[str, str],
) -> tuple[FitWarning, ...]:
    """Return what speaks against the numbers; `measured` is the range of compute."""
    found = []
    if pairs is None:
        text = (
            f"{names[0]} and {names[1]} have too few cells in common to pair their runs: the difference "
            "rests on a law of both, and its interval is wider; train the same sizes, token counts and seeds"
        )
        found.append(FitWarning(WarningCode.UNPAIRED, text))
    if difference.source == NoiseSource.ASSUMED:
        text = (
            f"no noise can be measured with so few repeated cells: {percent(difference.sd)} between two runs "
            "is assumed, as in our own sweeps; train two or more seeds, or give the noise between seeds"
        )
        found.append(FitWarning(WarningCode.NOISE_ASSUMED, text))
    if difference.source == NoiseSource.MISSED:
        text = (
            "the difference of the arms bends over ln N and ln D by more than seeds explain, which widens "
            "the intervals"
        )
        found.append(FitWarning(WarningCode.LACK_OF_FIT, text))
    if target is not None and (far := extrapolation_warning(measured[1], target)):
        found.append(far)
    elif target is not None and target < measured[0] / MAX_EXTRAPOLATION:
        text = f"{target:.3g} FLOPs is {measured[0] / target:.0f} times less than the smallest run"
        found.append(FitWarning(WarningCode.EXTRAPOLATION, text))
    return tuple(found)
