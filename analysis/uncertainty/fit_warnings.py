"""Identifiability: warnings if a table does not determine the parameters of a law."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.arrays import Array, Interval
from analysis.intervals import LEVEL, NORMAL, percentile_interval
from analysis.laws.law import Law, centre_of
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.solve.coordinates import centred_columns
from analysis.solve.problem import Problem
from analysis.solve.search import Route
from analysis.tables.table import LossTable
from analysis.uncertainty.covariance import gauss_newton_cov

FLAT_WIDTH = 0.15  # of beta/(alpha + beta): at 100 times the compute N* is uncertain by a factor of two
MAX_CONDITION = 3e3  # of the column-scaled Jacobian of log loss; a full N × D grid has 50 to 500
MIN_SIZES, MIN_SIZE_RANGE = 5, 30.0
MIN_TOKENS, MIN_TOKEN_RANGE = 4, 8.0
MIN_RATIO_SPREAD = 0.35  # standard deviation of ln D given ln N: half a doubling
MAX_E_GAP = 0.5  # of the loss range between the lowest loss and E
MIN_CLUSTERS = 5
MIN_AGREEING = 0.1
MAX_ROUTE_GAP, MAX_EXPONENT_GAP = 1e-3, 0.02


def identifiability_warnings(
    problem: Problem, starts: Route, projection: Route, samples: Array | None = None, stretch: float = 1.0
) -> tuple[FitWarning, ...]:
    """Return every doubt about a fit whose two searches ended at `starts` and at `projection`.

    `samples` [resamples, params] are its bootstrap estimates, with the factor `stretch` on their spread.
    """
    return (
        *_routes(problem.law, starts, projection),
        *_bounds(problem, starts.theta),
        *_design(problem.law, problem.table),
        *_conditioning(problem, starts.theta),
        *_offset(problem, starts.theta),
        *_valley(problem, starts.theta, samples, stretch),
    )


def condition_number(problem: Problem, theta: Array) -> float:
    """Return the condition number of the Jacobian of log loss, its columns scaled to unit length.

    It is taken in centred columns; in natural units A and alpha would be confounded by the units alone.
    """
    law, centre = problem.law, centre_of(problem.table)
    centred, columns = law.centred(theta, centre), centred_columns(problem.table, centre)
    slope = law.jacobian(centred, *columns) / law.value(centred, *columns)[:, None]
    slope = slope[:, [name not in law.fixed for name in law.params]]
    norm = np.linalg.norm(slope, axis=0)
    if not np.all((norm > 0) & np.isfinite(norm)):
        return float("inf")
    return float(np.linalg.cond(slope / norm))


def exponents_apart(
    problem: Problem, theta: Array, samples: Array | None, stretch: float = 1.0
) -> tuple[Interval, Interval] | None:
    """Return the intervals of alpha − beta and of beta/(alpha + beta) at LEVEL.

    They are percentiles of the bootstrap estimates `samples` [resamples, params], or else normal ones from
    the Gauss–Newton covariance. None if the law has no two free exponents of N and D, or if neither says how
    far its exponents vary.
    """
    law = problem.law
    by_column = {term.column: term.exponent for term in law.terms}
    names = [by_column.get("n"), by_column.get("d")]
    if len(law.terms) != 2 or None in names or len({*names} - {*law.fixed}) < 2:
        return None
    places = [law.params.index(name) for name in names if name]
    if samples is not None:
        alpha, beta = samples[:, places].T
        ends = [percentile_interval(x, LEVEL, stretch) for x in (alpha - beta, beta / (alpha + beta))]
        return None if ends[0] is None or ends[1] is None else (ends[0], ends[1])
    cov = gauss_newton_cov(problem, theta)
    if cov is None or not np.all(np.isfinite(cov[np.ix_(places, places)])):
        return None
    alpha, beta = theta[places]
    slopes = np.array([[1.0, -1.0], np.array([-beta, alpha]) / (alpha + beta) ** 2])
    half = NORMAL.inv_cdf((1 + LEVEL) / 2) * np.sqrt(
        np.einsum("ij,jk,ik->i", slopes, cov[np.ix_(places, places)], slopes)
    )
    centre = np.array([alpha - beta, beta / (alpha + beta)])
    (low, low_a), (high, high_a) = (centre - half).tolist(), (centre + half).tolist()
    return (low, high), (low_a, high_a)


def _routes(law: Law, starts: Route, projection: Route) -> Iterator[FitWarning]:
    gap = abs(projection.objective - starts.objective) / max(starts.objective, 1e-300)
    positions = [law.params.index(term.exponent) for term in law.terms]
    apart = float(np.max(np.abs(projection.theta - starts.theta)[positions]))
    negligible = starts.objective < 1e-12
    if (gap > MAX_ROUTE_GAP and not negligible) or apart > MAX_EXPONENT_GAP:
        yield FitWarning(
            WarningCode.ROUTES_DISAGREE,
            f"multi-start and variable projection end {100 * gap:.2g} % apart in the objective and "
            f"{apart:.2g} in the exponents: the minimum is not settled",
        )
    if starts.agreeing < MIN_AGREEING and not negligible:
        yield FitWarning(
            WarningCode.FEW_STARTS_AGREE,
            f"{100 * starts.agreeing:.0f} % of the starts reached the lowest minimum: the surface has many",
        )


def _bounds(problem: Problem, theta: Array) -> Iterator[FitWarning]:
    law = problem.law
    inner = {term.coefficient for term in law.terms}
    centred = law.centred(theta, centre_of(problem.table))
    for index, name in enumerate(law.params):
        low, high = law.bounds[name]
        if name in law.fixed:
            continue
        value = float(centred[index])
        if value <= low * (1 + 1e-6) + 1e-12 or value >= high * (1 - 1e-6):
            shown = "its term is negligible or without limit" if name in inner else f"{name} = {value:.4g}"
            yield FitWarning(
                WarningCode.ACTIVE_BOUND,
                f"{name} is at the end of its range ({shown}): this table does not determine it",
            )


def _design(law: Law, table: LossTable) -> Iterator[FitWarning]:
    axes = {term.column for term in law.terms}
    sizes, tokens = np.unique(table.n), np.unique(table.d)
    if "n" in axes and (len(sizes) < MIN_SIZES or sizes[-1] / sizes[0] < MIN_SIZE_RANGE):
        yield FitWarning(
            WarningCode.FEW_SIZES,
            f"{len(sizes)} sizes over {sizes[-1] / sizes[0]:.3g} times in N: "
            f"{MIN_SIZES} sizes over {MIN_SIZE_RANGE:.0f} times are needed for a trustworthy alpha",
        )
    if "d" in axes and (len(tokens) < MIN_TOKENS or tokens[-1] / tokens[0] < MIN_TOKEN_RANGE):
        yield FitWarning(
            WarningCode.FEW_TOKENS,
            f"{len(tokens)} token counts over {tokens[-1] / tokens[0]:.3g} times in D: "
            f"{MIN_TOKENS} counts over {MIN_TOKEN_RANGE:.0f} times are needed for a trustworthy beta",
        )
    if {"n", "d"} <= axes and len(sizes) > 1:
        spread = _spread_given(np.log(table.d), np.log(table.n))
        if spread < MIN_RATIO_SPREAD:
            yield FitWarning(
                WarningCode.COLLINEAR,
                f"D follows N (ln D given ln N varies by {spread:.2g}): alpha and beta cannot be told apart; "
                "add cells with other D/N",
            )
    clusters = len(np.unique(table.cluster))
    if clusters < MIN_CLUSTERS:
        yield FitWarning(
            WarningCode.FEW_CLUSTERS,
            f"{clusters} trunks: {MIN_CLUSTERS} are needed to resample, so there are no intervals",
        )


def _spread_given(y: Array, x: Array) -> float:
    """Return the standard deviation of y around its straight line in x."""
    return float(np.std(y - np.polyval(np.polyfit(x, y, 1), x)))


def _conditioning(problem: Problem, theta: Array) -> Iterator[FitWarning]:
    condition = condition_number(problem, theta)
    if condition > MAX_CONDITION:
        yield FitWarning(
            WarningCode.ILL_CONDITIONED,
            f"condition number {'infinite' if np.isinf(condition) else f'{condition:.2g}'} (limit "
            f"{MAX_CONDITION:g}): some combination of parameters hardly changes the loss",
        )


def _offset(problem: Problem, theta: Array) -> Iterator[FitWarning]:
    if "E" not in problem.law.params or "E" in problem.law.fixed:
        return
    loss = problem.table.loss
    gap = float(loss.min() - theta[problem.law.params.index("E")])
    if gap > MAX_E_GAP * np.ptp(loss):
        yield FitWarning(
            WarningCode.E_NOT_BRACKETED,
            f"E lies {gap:.3g} nats below the lowest loss, {100 * gap / np.ptp(loss):.0f} % of the measured "
            f"range (limit {100 * MAX_E_GAP:.0f} %): do not quote it",
        )


def _valley(problem: Problem, theta: Array, samples: Array | None, stretch: float) -> Iterator[FitWarning]:
    found = exponents_apart(problem, theta, samples, stretch)
    if found is None:
        return
    (low, high), (low_a, high_a) = found
    if low <= 0 <= high and high_a - low_a > FLAT_WIDTH:
        yield FitWarning(
            WarningCode.FLAT_VALLEY,
            f"alpha − beta lies in [{low:.2g}, {high:.2g}] and beta/(alpha + beta) in [{low_a:.2f}, "
            f"{high_a:.2f}] ({100 * LEVEL:g} %): the data do not tell alpha from beta",
        )
