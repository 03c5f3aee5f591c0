"""Bootstrap: resample trunks (or residuals), refit, and read intervals off the estimates.

The cluster is the trunk, because points of one trunk share its data order, its initialisation and so its
noise. Drawing single points would take them for independent and give intervals several times too narrow. A
resample is a weighting of the rows, so that all refits run as one batch.

Two kinds of weights, each where it covers (simulated; tests/analysis/uncertainty/test_coverage.py holds both
figures). With six sizes of one trunk each, percentile intervals of drawn trunks cover a little more than
their level; the smoother exponential weights cover 73 to 80 % of nominal 90 %. For Huber's loss on many
separate runs it is the other way round: drawn rows give intervals up to 20 % too wide, exponential weights
keep the level.
"""

from __future__ import annotations

import numpy as np

from analysis.arrays import Array, groups
from analysis.laws.law import Law
from analysis.solve.problem import Problem
from analysis.tables.table import LossTable
from analysis.uncertainty.one_step import LEAST_ROWS, near, one_step
from harness.records.errors import InputError

KINDS = ("cluster", "residual")
MIN_DISTINCT = 3  # sizes (token counts) in a resample: E, a coefficient and an exponent need three
PROBED = 500
CHECKED = 50  # resamples of a long table that are refitted, to hold one Newton step against
WON = 1e-6  # relative decrease of the objective that is more than rounding
ROWS_A_PARAMETER = 6  # with fewer separate runs exponential weights give intervals a little too narrow
MAX_DRAWS = 200  # times the wanted resamples, before the table is called too small to resample


def cluster_resamples(table: LossTable, law: Law, resamples: int, rng: np.random.Generator) -> Array:
    """Return row weights [resamples, rows] of clusters drawn with replacement.

    A draw does not determine the law if it has fewer rows than parameters, or fewer than three distinct sizes
    (token counts) of a table with more. Such a draw is repeated.

    Raises:
        InputError: hardly any draw determines the law.
    """
    clusters, member = np.unique(table.cluster, return_inverse=True)
    axes = [groups(getattr(table, axis)) for axis in dict.fromkeys(term.column for term in law.terms)]
    kept: list[Array] = []
    total, drawn = 0, 0
    while total < resamples:
        counts = rng.multinomial(len(clusters), np.full(len(clusters), 1 / len(clusters)), size=resamples)
        weights = counts[:, member].astype(float)
        usable = np.sum(weights > 0, axis=1) >= min(law.n_free, len(table))
        for values in axes:
            first = np.cumsum([0, *map(len, values[:-1])])
            drawn_rows = weights[:, np.concatenate(values)] > 0
            distinct = np.sum(np.logical_or.reduceat(drawn_rows, first, axis=1), axis=1)
            usable &= distinct >= min(MIN_DISTINCT, len(values))
        kept.append(weights[usable])
        total, drawn = total + int(usable.sum()), drawn + resamples
        if drawn > MAX_DRAWS * resamples:
            raise InputError(
                f"{len(clusters)} clusters are too few to resample the {len(law.params)} parameters of "
                f"{law.name}: give more trunks, or ask for 0 resamples and estimates without intervals",
                "resamples",
            )
    chosen = np.concatenate(kept)[:resamples]
    return chosen if table.weights is None else chosen * table.weights


def smooth_resamples(table: LossTable, resamples: int, rng: np.random.Generator) -> Array:
    """Return exponential row weights [resamples, rows], mean 1 and variance 1 like those of drawn rows.

    No row ever leaves. So an estimator that rests on a few rows, such as least absolute deviations, varies as
    much as over new data.

    References: Rao & Zhao 1992, Sankhya A 54; Jin, Ying & Wei 2001, Biometrika 88.
    """
    weights = rng.exponential(size=(resamples, len(table)))
    return weights if table.weights is None else weights * table.weights


def resampled_weights(problem: Problem, resamples: int, rng: np.random.Generator) -> Array:
    """Return row weights [resamples, rows], smooth or of drawn trunks, whichever covers here."""
    table, n = problem.table, len(problem.table)
    separate = len(np.unique(table.cluster)) == n
    if separate and not problem.least_squares and n >= ROWS_A_PARAMETER * problem.law.n_free:
        return smooth_resamples(table, resamples, rng)
    return cluster_resamples(table, problem.law, resamples, rng)


def residual_resamples(problem: Problem, theta: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Return losses [resamples, rows]: the fitted ones times residuals drawn with replacement.

    The residuals are centred and widened by sqrt(n/(n − p)) for the p fitted parameters. If the loss is no
    square, a draw is averaged with normal noise so that its variance stays. Without this, intervals of
    Huber's loss cover 82 to 88 % of nominal 90 %.

    Raises:
        InputError: points share trunks, whose common noise this would take apart, or no row is spare.

    References: Davison & Hinkley 1997, Bootstrap Methods and their Application, section 6.2.3 (widening);
    Silverman & Young 1987, Biometrika 74 (smoothing).
    """
    table, n = problem.table, len(problem.table)
    if len(np.unique(table.cluster)) < n:
        raise InputError(
            "points of one trunk share noise, which resampled residuals would take apart: use the cluster "
            "bootstrap (the default)"
        )
    spare = n - problem.law.n_free
    if spare <= 0:
        raise InputError(f"{n} rows for {problem.law.n_free} parameters leave no residual: add rows")
    predicted = problem.predict(theta)
    residual = np.log(table.loss / predicted)
    pool = (residual - residual.mean()) * np.sqrt(n / spare)
    drawn = rng.choice(pool, (resamples, n))
    if not problem.least_squares:
        drawn = (drawn + pool.std() * rng.standard_normal((resamples, n))) / np.sqrt(2)
    return np.asarray(predicted * np.exp(drawn))


def bootstrap(problem: Problem, theta: Array, resamples: int, seed: int, kind: str = KINDS[0]) -> Array:
    """Refit every resample, to the tolerance of a point fit.

    Each starts from the point estimate. The first PROBED start from a random point too, and so do the others
    if that ever ends lower. With none of 500, fewer than one in 100 resamples has a lower minimum elsewhere
    (p = .007).

    On a long table the first CHECKED are refitted. If one Newton step comes as near as those, and no random
    start of theirs ended lower, the others take that step (one_step.py).

    Args:
        problem: law, table and estimator.
        theta: point estimate [params].
        resamples: how many.
        seed: of the draws.
        kind: `cluster` draws trunks, or weights many separate runs smoothly if the loss is no square;
            `residual` draws residuals around the fit.

    Returns:
        Estimates [resamples, params], natural units.
    """
    rng = np.random.default_rng(seed)
    weights, losses = None, None
    if kind == "cluster":
        weights = resampled_weights(problem, resamples, rng)
    else:
        losses = residual_resamples(problem, theta, resamples, rng)
    random_starts = problem.law.starts(problem.table, rng, resamples)
    if weights is not None and len(problem.table) >= LEAST_ROWS and resamples > CHECKED:
        refits, lower = _refit(problem, theta, random_starts[:CHECKED], weights[:CHECKED], None)
        steps = None if lower else one_step(problem, theta, weights)
        if steps is not None and near(steps[:CHECKED], refits):
            return np.concatenate([refits, steps[CHECKED:]])
    return _refit(problem, theta, random_starts, weights, losses)[0]


def _refit(
    problem: Problem, theta: Array, random_starts: Array, weights: Array | None, losses: Array | None
) -> tuple[Array, bool]:
    """Return estimates [resamples, params], and whether a random start ever ended lower."""
    resamples, lower = len(random_starts), False
    found = problem.solve(np.broadcast_to(theta, random_starts.shape), weights, losses=losses, near=True)
    for rows in (slice(0, PROBED), slice(PROBED, resamples)):
        far = problem.solve(random_starts[rows], _part(weights, rows), losses=_part(losses, rows))
        closer = far.objective < found.objective[rows]
        lower = lower or bool(np.any(far.objective < (1 - WON) * found.objective[rows]))
        found.theta[rows][closer] = far.theta[closer]
        if not lower or resamples <= PROBED:
            break
    return found.theta, lower


def _part(values: Array | None, batch: slice) -> Array | None:
    return None if values is None else values[batch]
