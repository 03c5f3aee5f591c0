"""Fit a loss law to a table (approach 3 of Hoffmann et al. 2022, arXiv:2203.15556).

The estimator `huber` minimises the sum of Huber's loss (delta 1e-3) of log-loss residuals over all rows.
`lad` is the limit of a tiny delta. `lsq` and `lsq_loss` are least squares in log loss and in loss. `gls` is
least squares in log loss with the noise that points of a trunk share.

It is a sum and not a mean: averaging is the probable reason that the optimiser of Hoffmann et al. stopped
early.

References: Besiroglu et al. 2024, arXiv:2404.10102, sections 2 and 3.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from analysis.approaches.description import with_description
from analysis.arrays import Array
from analysis.frontier import six_nd_exponents
from analysis.intervals import LEVEL, percentile_interval
from analysis.laws import axes_of, find_law, with_limits
from analysis.records.fit import EstimationRecord, FitStatus, RoutesRecord, finite
from analysis.records.fits import JackknifeRecord, JackknifeRow
from analysis.result import Fit, Frontier
from analysis.solve.problem import DELTA, Problem, checked_problem
from analysis.solve.search import Route, multi_start, variable_projection
from analysis.tables.table import LossTable, TableLike, as_table
from analysis.uncertainty.bootstrap import KINDS, bootstrap
from analysis.uncertainty.covariance import gauss_newton_cov
from analysis.uncertainty.fit_warnings import MIN_CLUSTERS, condition_number, identifiability_warnings
from harness.records.errors import InputError
from harness.records.number_text import si


def fit_law(
    table: TableLike,
    law: str = "chinchilla",
    *,
    mapping: Mapping[str, str] | None = None,
    estimator: str = "huber",
    resamples: int = 1000,
    level: float = LEVEL,
    seed: int = 0,
    delta: float = DELTA,
    kind: str = KINDS[0],
    rivals: Sequence[str] | None = None,
) -> Fit:
    """Fit a loss law to every row of a table, with bootstrap intervals and warnings.

    Args:
        table: finished runs: a LossTable, or a frame or path that `load_table` reads.
        law: name of the law, one of `LAWS` or saturating; chinchilla[E=1.69] fixes a parameter,
            chinchilla[alpha=0.3:0.4] bounds one.
        mapping: columns of a foreign table, as for `load_table`.
        estimator: huber, lad, lsq, lsq_loss or gls (head of this module).
        resamples: bootstrap refits; 0 leaves out standard errors and intervals.
        level: share of the intervals.
        seed: of the random starts and of the bootstrap.
        delta: residual of log loss beyond which Huber's loss grows linearly.
        kind: unit of the bootstrap: `cluster` (trunks) or `residual`.
        rivals: laws that may be named as better; by default those of a contest.

    Returns:
        The fit. It has no intervals with fewer than MIN_CLUSTERS trunks. It carries a warning if the two
        independent searches, multi-start and variable projection, end apart. `description` says whether the
        law describes the rows. If not, it names a law that does better, with its figures.

    Raises:
        InputError: unknown law, estimator or kind, or a table that cannot hold the law at all.

    References: Hoffmann et al. 2022, arXiv:2203.15556, section 3.3; Besiroglu et al. 2024, arXiv:2404.10102.

    Examples:
        >>> import analysis as sl, numpy as np, pandas as pd
        >>> n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 4)))
        >>> runs = pd.DataFrame({"N": n, "D": d, "loss": 1.7 + 400 * n**-0.34 + 410 * d**-0.28})
        >>> fit = sl.fit_law(runs, "chinchilla", resamples=0)
        >>> fit.params.round(2).to_dict()
        {'E': 1.7, 'A': 400.0, 'B': 410.0, 'alpha': 0.34, 'beta': 0.28}
    """
    began = time.perf_counter()
    table = as_table(table, mapping, axes=axes_of(law))
    law = with_limits(law, table.limits)
    problem = checked_problem(table, law, estimator, delta)
    if kind not in KINDS:
        raise InputError(f"there is no bootstrap {kind!r}: use one of {', '.join(KINDS)}", "kind")
    rng = np.random.default_rng(seed)
    # Two searches that share no code path but the inner solver: a bad minimum is seldom the end of both.
    starts = multi_start(problem, rng)
    projection = variable_projection(problem, rng)
    n_clusters = len(np.unique(table.cluster))
    # Too few trunks always resample to nearly the same table: intervals of no width.
    intervals = resamples > 0 and n_clusters >= MIN_CLUSTERS
    samples = bootstrap(problem, starts.theta, resamples, seed, kind) if intervals else None
    stretch = stretch_of(problem, kind)
    fit = Fit(
        law=law,
        approach="parametric",
        estimator=estimator,
        count=table.count,
        nobs=len(table),
        n_clusters=n_clusters,
        estimates=dict(zip(problem.law.params, starts.theta.tolist(), strict=True)),
        level=level,
        objective=starts.objective,
        status=FitStatus.CONVERGED if starts.converged else FitStatus.STOPPED,
        frontier=exponents_of(problem, starts.theta, samples, level, stretch),
        samples=samples,
        stretch=stretch,
        resid=np.log(table.loss) - np.log(problem.predict(starts.theta)),
        largest_c=None if "c" in table.absent else float(table.c.max()),
        warnings=(*identifiability_warnings(problem, starts, projection, samples, stretch), *table.warnings),
        excluded=table.excluded,
        read_as=table.read_as,
        estimation=_estimation(problem, starts, projection, resamples, kind),
    )
    return replace(with_description(fit, table, seed, rivals), seconds=time.perf_counter() - began)


def _estimation(
    problem: Problem, starts: Route, projection: Route, resamples: int, kind: str
) -> EstimationRecord:
    theta = starts.theta
    return EstimationRecord(
        resamples=resamples,
        bootstrap=kind,
        se_gauss_newton=_gauss_newton_errors(problem, theta),
        delta=problem.delta if problem.estimator == "huber" else None,
        log_likelihood=log_likelihood(problem, theta),
        routes=RoutesRecord(starts.objective, projection.objective),
        starts_agreeing=starts.agreeing,
        condition_number=finite(condition_number(problem, theta)),
        largest_flops=float(problem.table.c.max()),
    )


def _gauss_newton_errors(problem: Problem, theta: Array) -> dict[str, float | None] | None:
    cov = gauss_newton_cov(problem, theta)
    if cov is None:
        return None
    errors = np.sqrt(np.diag(cov)).tolist()
    return {name: finite(error) for name, error in zip(problem.law.params, errors, strict=True)}


def log_likelihood(problem: Problem, theta: Array) -> float | None:
    """Return the log-likelihood of the log losses at theta, its scale at the maximum.

    The noise is Laplace's for `lad` and Gaussian for `lsq`; None for other estimators, which maximise no
    likelihood. On the points of Hoffmann et al. a Huber density with a free scale shrinks to Laplace's.

    References: Besiroglu et al. 2024, arXiv:2404.10102, section 3.
    """
    residual, n = problem.residual(theta), len(problem.table)
    if problem.table.weights is not None or not np.any(residual):
        return None
    if problem.estimator == "lad":
        return float(-n * (np.log(2 * np.mean(np.abs(residual))) + 1))
    if problem.estimator == "lsq":
        return float(-0.5 * n * (np.log(2 * np.pi * np.mean(residual**2)) + 1))
    return None


STRAIGHT = 2  # parameters of a power law that is a straight line in logs


def estimate(table: LossTable, law: str, seed: int = 0, delta: float = DELTA) -> Array:
    """Return the point estimate [params] alone, by multi-start: rollouts and contests refit it many times."""
    return multi_start(checked_problem(table, law, "huber", delta), np.random.default_rng(seed)).theta


def stretch_of(problem: Problem, kind: str) -> float:
    """Return the factor on the spread of bootstrap estimates, so that intervals keep their level.

    It is sqrt(g/(g−1)·(n−1)/(n−p)) for least squares on drawn trunks: drawn rows carry residuals, which are
    smaller than the noise. Drawn residuals are widened already, and narrow Huber losses do not need it. A
    power law without E is linear in logs, so normal theory tells what few separate rows lack: the quantile of
    Student's t with n − p degrees of freedom over the normal one (simulated,
    tests/analysis/uncertainty/test_coverage.py).
    """
    law = problem.law
    n, g, p = len(problem.table), len(np.unique(problem.table.cluster)), law.n_free
    if kind == "residual" or min(g - 1, n - p) < 1:
        return 1.0
    factor = np.sqrt(g / (g - 1) * (n - 1) / (n - p)) if problem.least_squares else 1.0
    if g == n and len(law.terms) == 1 and len(law.params) == STRAIGHT:
        end = (1 + LEVEL) / 2
        factor *= stats.t.ppf(end, n - p) / stats.norm.ppf(end)
    return float(factor)


def exponents_of(
    problem: Problem, theta: Array, samples: Array | None, level: float, stretch: float = 1.0
) -> Frontier:
    """Return the frontier exponents under C = 6·N·D, with percentile intervals of the bootstrap estimates."""
    law, table = problem.law, problem.table
    here = six_nd_exponents(law, theta[None], table)
    if len(here) == 0:
        return Frontier()
    a, closed = float(here[0]), law.frontier(theta)
    g = None if closed is None else finite(closed.g)
    if samples is None:
        return Frontier(a=a, b=1 - a, g=g)
    each = six_nd_exponents(law, samples, table)
    return Frontier(
        a=a,
        a_interval=percentile_interval(each, level, stretch),
        b=1 - a,
        b_interval=percentile_interval(1 - each, level, stretch),
        g=g,
    )


def jackknife(table: LossTable, law: str = "chinchilla", seed: int = 0) -> JackknifeRecord:
    """Leave out one size at a time and refit: the exponent a under C = 6·N·D, and its standard error.

    SE² = (k − 1)/k · Σ (a_i − mean a)² over the k sizes. A size stays if its removal leaves too few cells.
    """
    found = find_law(law)
    rows: list[JackknifeRow] = []
    for size in np.unique(table.n):
        rest = table.select(table.n != size)
        if rest.n_cells < found.n_free or any(len(np.unique(axis)) < 2 for axis in (rest.n, rest.d)):
            continue
        # Over the budgets of the whole table: a shorter range would itself move a searched exponent.
        without = six_nd_exponents(found, estimate(rest, law, seed)[None], table)
        if len(without):
            left_out = si(float(size)) if table.rung is None else table.rung[int(np.argmax(table.n == size))]
            rows.append(JackknifeRow(left_out, float(without[0])))
    values = np.array([row.a for row in rows])
    k = len(values)
    error = float(np.sqrt((k - 1) / k * np.sum((values - values.mean()) ** 2))) if k > 1 else None
    return JackknifeRecord(tuple(rows), error)
