"""Two independent searches for the minimum of a law: multi-start and variable projection.

Sums of power laws have several local minima, and no local method says that it found the lowest. Multi-start
samples all parameters. Variable projection searches the exponents only: with these fixed, an additive law is
linear in E, A and B, which makes the inner problem easy. If the two end apart, the fit carries a warning.

References: Golub & Pereyra 1973, SIAM J. Numer. Anal. 10 (variable projection); de Boer et al. 2005, Annals
of Operations Research 134 (cross-entropy search).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from analysis.arrays import Array
from analysis.laws.law import Law, centre_of
from analysis.solve.problem import Problem, Solution
from analysis.tables.table import LossTable

STARTS = 48
SAME_OBJECTIVE = 1e-3  # relative difference below which two minima count as one
EXPONENT_GRID = np.geomspace(0.05, 1.6, 7)
GAMMA_GRID = np.array([0.15, 0.3, 0.6, 1.0, 1.5])
CLOUD, ELITE, ROUNDS = 40, 12, 40
INNER_ITERATIONS = 60  # stragglers of one round are solved again in the next
CLOUD_SPREAD = 2.5  # of the covariance of the elite: keeps the cloud from shrinking before it has moved
SEARCH_TOLERANCE = 1e-9  # relative spread of the elite's objectives at which the search ends


@dataclass(frozen=True)
class Route:
    """The end of a search: theta [params] in natural units, objective, and the share of starts that agree."""

    theta: Array
    objective: float
    converged: bool
    agreeing: float


def multi_start(problem: Problem, rng: np.random.Generator, starts: int = STARTS) -> Route:
    """Minimise over all parameters from `starts` random points and keep the lowest."""
    return _lowest(problem.solve(problem.law.starts(problem.table, rng, starts)))


def variable_projection(problem: Problem, rng: np.random.Generator) -> Route:
    """Search the exponents and gamma; coefficients, scales and E ≥ 0 are solved inside.

    A grid over the searched parameters finds the basin. A Gaussian cloud around its best nodes then shrinks
    onto the minimum: each round re-centres it on its best points (cross-entropy search).

    On a large table the search runs on the pilot, and its end is minimised over all rows.
    """
    if problem.pilot is not None:
        on_pilot = variable_projection(problem.pilot[0], rng)
        return _lowest(problem.solve(on_pilot.theta, near=True))
    law = problem.law
    position = [law.params.index(name) for name in law.searched]
    inner = np.ones(len(law.params), bool)
    inner[position] = False
    axes = [
        np.unique(np.clip(GAMMA_GRID if name == "gamma" else EXPONENT_GRID, *law.bounds[name]))
        for name in law.searched
    ]
    outer = np.log(np.array(list(itertools.product(*axes))))
    low, high = np.log(np.array([law.bounds[name] for name in law.searched])).T
    best, value, theta = np.empty((0, len(position))), np.empty(0), np.empty((0, len(law.params)))
    for _ in range(ROUNDS):
        near = len(theta) > 0
        fixed = np.exp(outer)
        begin = _moved(law, problem.table, theta[0], fixed) if near else _at(law, problem.table, fixed)
        solved = problem.solve(begin, free=inner, iterations=INNER_ITERATIONS, near=near)
        best, value = np.concatenate([best, outer]), np.concatenate([value, solved.objective])
        theta = np.concatenate([theta, solved.theta])
        order = np.argsort(value)[:ELITE]
        best, value, theta = best[order], value[order], theta[order]
        if value[-1] - value[0] <= SEARCH_TOLERANCE * value[0]:
            break
        # The tiny identity keeps the covariance regular once the cloud has collapsed in a direction.
        spread = CLOUD_SPREAD * np.atleast_2d(np.cov(best, rowvar=False)) + 1e-14 * np.eye(len(position))
        outer = np.clip(rng.multivariate_normal(best.mean(axis=0), spread, CLOUD), low, high)
    return Route(theta[0], float(value[0]), bool(np.isfinite(value[0])), 1.0)


def _lowest(solution: Solution) -> Route:
    value = float(solution.objective[solution.best])
    agreeing = float(np.mean(solution.objective <= value * (1 + SAME_OBJECTIVE) + 1e-300))
    return Route(solution.theta[solution.best], value, bool(solution.converged[solution.best]), agreeing)


def _moved(law: Law, table: LossTable, theta: Array, searched: Array) -> Array:
    """Return `theta` with other searched parameters [batch, searched]; terms keep their size at mid-table."""
    centre = centre_of(table)
    moved = np.repeat(law.centred(theta[None], centre), len(searched), axis=0)
    moved[:, [law.params.index(name) for name in law.searched]] = searched
    return law.rescale(moved, centre)


def _at(law: Law, table: LossTable, searched: Array) -> Array:
    """Return starts with given searched parameters [batch, searched]; the terms share the loss evenly."""
    theta = dict(zip(law.searched, searched.T, strict=True))
    batch = len(searched)
    offset = np.full(batch, 0.4 * table.loss.min()) if "E" in law.params else np.zeros(batch)
    rest = np.exp(np.mean(np.log(table.loss))) - offset
    for term in law.terms:
        theta[term.coefficient] = rest ** (1 / theta.get("gamma", np.full(batch, law.power))) / len(law.terms)
    theta["E"] = offset
    theta |= {name: np.full(batch, np.sqrt(np.prod(law.bounds[name]))) for name in law.scales}
    return law.rescale(np.stack([theta[name] for name in law.params], axis=-1), centre_of(table))
