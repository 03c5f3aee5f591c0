"""Profile of the objective: fix one parameter, minimise over the others, see how much worse the fit gets.

The interval of a parameter holds the values whose profile stays below a cut. There are two cuts;
tests/analysis/uncertainty/test_profile.py holds the coverage of both.

The F cut is for least squares on independent rows: `lsq` and `lsq_loss` if no two rows share a trunk. For
`gls` it also holds if the table measures the noise that trunks share. With n rows and p parameters it is S(v)
≤ S·(1 + F/(n − p)). F is the quantile of the F distribution with (1, n − p) degrees of freedom. This is the
likelihood ratio of normal noise of unknown size, n·ln(S(v)/S). It is exact for laws that are linear in their
parameters. Weights count as inverse variances.

The resampled cut is for everything else. Huber's loss and absolute deviations are not the likelihood of the
noise, and rows of one trunk are not independent. So the rise of the objective is no chi-square. On a large
table with normal noise the likelihood ratio of Laplace noise rises π/2 times too fast, for example. The
trunks are drawn with replacement as in `bootstrap`. Each resampled objective rises from its own minimum to
the estimate; that stands for the unknown rise from the minimum to the truth. With G trunks the quantile of
the rise is stretched by G/(G − 1). It is also stretched by the quantile of F with (1, G − 1) degrees of
freedom over the quantile of chi-square, as in tests robust to clusters.

References: Bates & Watts 1988, Nonlinear Regression Analysis and Its Applications, section 6.1 (F cut);
Spokoiny & Zhilova, arXiv:1410.0347 (resampled rise); Cameron & Miller 2015, Journal of Human Resources 50,
section VI (few clusters); Besiroglu et al., arXiv:2404.10102 (Laplace noise as the limit of the joint fit).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.arrays import Array
from analysis.laws import axes_of, find_law
from analysis.records.fit import OpenEnds, ProfileRecord
from analysis.result import Fit
from analysis.solve.fixed_parameter import FixedProblem
from analysis.solve.problem import DELTA, Problem, checked_problem
from analysis.tables.seed_noise import trunk_share
from analysis.tables.table import LossTable, TableLike, as_table
from analysis.uncertainty.bootstrap import cluster_resamples
from analysis.uncertainty.fit_warnings import MIN_CLUSTERS
from harness.records.errors import InputError

RESAMPLES = 300
SHOWN = 41  # points of the profile that is returned
MARGIN = 1.3  # it reaches so far beyond the ends of the interval
OPEN_REACH = 3.0  # on an open side, so many times as far as on the closed one


@dataclass(frozen=True)
class Profile:
    """The lowest objective at each fixed value of one parameter.

    Attributes:
        parameter: its name.  estimate: its value at the lowest objective.
        values: fixed values [grid], ascending, natural units.
        objective: the profile there [grid], in the units of `Fit.objective`.
        lowest: the objective at the estimate.  cut: the objective that bounds the interval, None without one.
        level: nominal share of truths inside the interval.  interval: its ends; None where it is open.
        rule: how the cut was found, and which ends are open and why, in words.
    """

    parameter: str
    estimate: float
    values: Array
    objective: Array
    lowest: float
    cut: float | None
    level: float
    interval: OpenEnds
    rule: str

    def to_record(self) -> ProfileRecord:
        """Return the profile as in fits.json, the grid to six digits."""
        return ProfileRecord(
            parameter=self.parameter,
            estimate=self.estimate,
            values=tuple(float(f"{value:.6g}") for value in self.values),
            objective=tuple(float(f"{value:.6g}") for value in self.objective),
            lowest=self.lowest,
            cut=self.cut,
            level=self.level,
            interval=self.interval,
            rule=self.rule,
        )


def profile(
    fit: Fit,
    table: TableLike,
    parameter: str,
    *,
    mapping: Mapping[str, str] | None = None,
    level: float | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Profile:
    """Profile one parameter of a parametric fit: fix it at many values, refit the others.

    Args:
        fit: the result of `fit_law`.
        table: the table of the fit: a LossTable, or a frame or path that `load_table` reads.
        parameter: name of a free parameter.
        mapping: columns of a foreign table, as for `load_table`.
        level: share of the interval; that of the fit by default.
        resamples: draws of the resampled cut; 0 for none.
        seed: of the draws.

    Returns:
        The profile with its interval. The interval is missing, and `rule` says why, if its cut needs
        resamples and there are none: 0 resamples, fewer than MIN_CLUSTERS trunks, an estimate at its bound.

    Raises:
        InputError: not a parametric fit, no such parameter or one with a fixed value, a level outside 0 to 1,
            or no more rows than parameters.

    References: head of this module.

    Examples:
        >>> import analysis as sl, numpy as np, pandas as pd
        >>> n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 4)))
        >>> noise = np.exp(0.002 * np.random.default_rng(0).standard_normal(20))
        >>> loss = (1.7 + 400 * n**-0.34 + 410 * d**-0.28) * noise
        >>> runs = pd.DataFrame({"N": n, "D": d, "loss": loss})
        >>> fit = sl.fit_law(runs, estimator="lsq", resamples=0)
        >>> low, high = sl.profile(fit, runs, "E").interval
        >>> low < 1.7 < high
        True
    """
    table = as_table(table, mapping, fit.count, axes_of(fit.law))
    share = fit.level if level is None else level
    _check(fit, table, parameter, share)
    delta = fit.estimation.delta if fit.estimation else None
    problem = checked_problem(table, fit.law, fit.estimator, delta or DELTA)
    fixed = FixedProblem.of(problem, fit.theta, parameter)
    values = fixed.wide_grid()
    objective = fixed.minimum(values)
    cut, rule = cut_of(fixed, float(objective.min()), share, resamples, seed)
    near = _grid_around(
        values, objective, objective.min() * _f_factor(problem, share) if cut is None else cut
    )
    values, order = np.unique(np.concatenate([values, near]), return_index=True)
    objective = np.concatenate([objective, fixed.minimum(near)])[order]
    low, high = (None, None) if cut is None else _crossings(values, objective, cut)
    shown = (values >= near[0]) & (values <= near[-1])
    return Profile(
        parameter=parameter,
        estimate=float(fixed.natural(values[[np.argmin(objective)]])[0]),
        values=fixed.natural(values[shown]),
        objective=objective[shown],
        lowest=float(objective.min()),
        cut=cut,
        level=share,
        interval=(fixed.natural_end(low), fixed.natural_end(high)),
        rule=rule if cut is None else rule + _open_words(parameter, low, high),
    )


def _check(fit: Fit, table: LossTable, parameter: str, level: float) -> None:
    if fit.approach != "parametric":
        raise InputError(f"expected a parametric fit, got one by {fit.approach}: pass the result of fit_law")
    law = find_law(fit.law)
    free = [name for name in law.params if name not in law.fixed]
    if parameter not in free:
        raise InputError(f"{fit.law} has no free parameter {parameter!r}: name one of {', '.join(free)}")
    if not 0 < level < 1:
        raise InputError(f"level is {level:g}: expected a share between 0 and 1 such as 0.9")
    if len(table) <= len(free):
        raise InputError(
            f"{len(table)} rows for the {len(free)} parameters of {fit.law} leave nothing to judge a profile "
            f"by: give at least {len(free) + 1} rows"
        )


def _f_factor(problem: Problem, level: float) -> float:
    """Return the F cut as a multiple of the lowest objective."""
    spare = len(problem.table) - problem.law.n_free
    return 1 + float(stats.f.ppf(level, 1, spare)) / spare


def cut_of(
    fixed: FixedProblem, lowest: float, level: float, resamples: int, seed: int
) -> tuple[float | None, str]:
    """Return the objective that bounds the interval, and in words how it was found or why there is none."""
    problem = fixed.original
    trunks = len(np.unique(problem.table.cluster))
    if problem.least_squares and trunks == len(problem.table):
        return lowest * _f_factor(problem, level), "F cut, rows taken as independent"
    if problem.estimator == "gls" and trunk_share(problem.table) > 0:
        return lowest * _f_factor(problem, level), "F cut, the noise that trunks share taken out"
    if fixed.at_bound:
        return None, "no interval: the estimate is at its bound, where the resampled cut is not known to hold"
    if trunks < MIN_CLUSTERS:
        return None, f"no interval: {trunks} trunks, {MIN_CLUSTERS} are needed to resample"
    if resamples == 0:
        return None, "no interval: no resamples were asked for"
    rng = np.random.default_rng(seed)
    weights = cluster_resamples(problem.table, problem.law, resamples, rng)
    few = stats.f.ppf(level, 1, trunks - 1) / stats.chi2.ppf(level, 1) * trunks / (trunks - 1)
    rise = float(few * np.quantile(fixed.resampled_rise(weights), level))
    return lowest + rise, f"resampled cut, {resamples} draws of {trunks} trunks"


def _grid_around(values: Array, objective: Array, cut: float) -> Array:
    """Return SHOWN values that reach a little beyond the outermost ones below the cut.

    A side without end is shown OPEN_REACH times as far as the other one.
    """
    best = values[np.argmin(objective)]
    ends = [None if end is None else abs(end - best) for end in _crossings(values, objective, cut)]
    closed = [MARGIN * reach for reach in ends if reach is not None]
    room = [best - values[0], values[-1] - best]
    widest = OPEN_REACH * max(closed) if closed else max(room)
    reach = [
        min(space, widest if end is None else MARGIN * end) for end, space in zip(ends, room, strict=True)
    ]
    return np.linspace(best - reach[0], best + reach[1], SHOWN)


def _crossings(values: Array, objective: Array, cut: float) -> OpenEnds:
    """Return the outermost values at which the profile crosses the cut; None on a side without a crossing.

    Between grid points √(rise) is taken as straight; for a quadratic objective it is.
    """
    root = np.sqrt(np.maximum(objective - objective.min(), 0.0))
    wanted = np.sqrt(max(cut - objective.min(), 0.0))
    below = np.flatnonzero(root <= wanted)
    first, last = int(below[0]), int(below[-1])
    low = None if first == 0 else _between(values, root, first - 1, first, wanted)
    high = None if last == len(values) - 1 else _between(values, root, last + 1, last, wanted)
    return low, high


def _between(values: Array, root: Array, outside: int, inside: int, wanted: float) -> float:
    share = (wanted - root[inside]) / (root[outside] - root[inside])
    return float(values[inside] + share * (values[outside] - values[inside]))


def _open_words(parameter: str, low: float | None, high: float | None) -> str:
    """Return a clause for every side on which the interval has no end."""
    sides = [side for side, end in (("lower", low), ("upper", high)) if end is None]
    return "".join(
        f"; no {side} end: the objective stays below the cut up to the bound of {parameter}" for side in sides
    )
