"""Fits with one parameter fixed: the lowest objective over the others, on a table or its resamples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from analysis.arrays import Array
from analysis.laws.law import Law, Remembered, Term, centre_of
from analysis.solve.coordinates import centred_columns
from analysis.solve.problem import Problem, Solution
from analysis.tables.table import LossTable

STEPS = np.geomspace(1e-4, 1.0, 33)  # shares of the way to a bound: the first grid of a profile
SWEEPS = 2  # over the grid; in each, every point starts from the minima of its neighbours


@dataclass(frozen=True)
class FixedProblem:
    """A problem with one parameter fixed at x; for coefficients of terms x is their logarithm.

    Columns are centred, so that natural A is ln A = ln A_c + alpha·ln N_0: the law is rewritten in ln A.

    Attributes:
        original: the problem as it was fitted.  problem: the same in centred columns and in x.
        start: the estimate, in x and centred units [params].  index: of the fixed parameter.
        limits: bounds of x.  scale: natural value over x, for parameters that are no coefficient.
        logarithmic: whether x is a logarithm.
    """

    original: Problem
    problem: Problem
    start: Array
    index: int
    limits: tuple[float, float]
    scale: float
    logarithmic: bool

    @classmethod
    def of(cls, problem: Problem, theta: Array, parameter: str) -> FixedProblem:
        """Make it from a problem and its estimate theta [params], natural units."""
        law, centre = problem.law, centre_of(problem.table)
        index = law.params.index(parameter)
        term = next((term for term in law.terms if term.coefficient == parameter), None)
        start = law.centred(theta, centre)
        scale = float(law.rescale(np.ones(len(theta)), centre)[index])
        if term is not None:
            law, start = _in_logarithm(law, term, float(np.log(centre[term.axis]))), start.copy()
            start[index] = np.log(theta[index])
        low, high = law.bounds[parameter]
        centred = replace(problem, law=law, table=_centred(problem.table, centre))
        return cls(problem, centred, start, index, (low, high), scale, term is not None)

    @property
    def at_bound(self) -> bool:
        """Whether the estimate sits at a bound of x."""
        x = self.start[self.index]
        return bool(np.any(np.isclose(x, self.limits, rtol=1e-6, atol=1e-9)))

    def natural(self, x: Array) -> Array:
        """Return natural values of the parameter."""
        return np.asarray(np.exp(x) if self.logarithmic else self.scale * x)

    def natural_end(self, x: float | None) -> float | None:
        """Return the natural value of an end of an interval; None stays None."""
        return None if x is None else float(self.natural(np.array(x)))

    def wide_grid(self) -> Array:
        """Return x from bound to bound, dense near the estimate; an open range stops at the highest loss."""
        x, (low, high) = float(self.start[self.index]), self.limits
        high = high if np.isfinite(high) else float(self.problem.table.loss.max())
        return np.unique(np.concatenate([x - (x - low) * STEPS, [x], x + (high - x) * STEPS]))

    def minimum(self, values: Array) -> Array:
        """Return the lowest objective with x fixed at each of `values`, ascending [grid]."""
        # The first solve starts everywhere from the estimate and can end in another valley far out. Minima of
        # neighbours are better starts there, so they are tried from both sides.
        starts = np.tile(self.start, (len(values), 1))
        starts[:, self.index] = values
        found = self._solve(starts)
        for _ in range(SWEEPS):
            for neighbour in (np.roll(found.theta, 1, axis=0), np.roll(found.theta, -1, axis=0)):
                neighbour[:, self.index] = values
                again = self._solve(neighbour)
                lower = again.objective < found.objective
                found.theta[lower], found.objective[lower] = again.theta[lower], again.objective[lower]
        return found.objective

    def resampled_rise(self, weights: Array) -> Array:
        """Return the rise of each resampled objective from its own minimum to the estimate, [resamples]."""
        starts = np.tile(self.start, (len(weights), 1))
        there = self._solve(starts, weights).objective
        return np.maximum(there - self.problem.solve(starts, weights).objective, 0.0)

    def _solve(self, starts: Array, weights: Array | None = None) -> Solution:
        free = np.arange(len(self.start)) != self.index
        return self.problem.solve(starts, weights, free=free)


def _centred(table: LossTable, centre: Mapping[str, float]) -> LossTable:
    """Return the table in units in which every axis has the geometric mean 1."""
    n, d, c, unique = centred_columns(table, centre)
    return replace(table, n=n, d=d, c=c, unique_d=unique)


def _in_logarithm(law: Law, term: Term, log_centre: float) -> Law:
    """Return `law` for centred columns, with natural ln A in the place of the coefficient A of `term`.

    A_c = exp(ln A − alpha·ln N_0), so dL/d ln A = A_c·dL/dA_c, and −ln N_0 times that is added to dL/d alpha.
    """
    at, exponent = law.params.index(term.coefficient), law.params.index(term.exponent)

    @Remembered
    def centred(theta: Array) -> Array:
        changed = theta.copy()
        changed[..., at] = np.exp(theta[..., at] - theta[..., exponent] * log_centre)
        return changed

    def value(theta: Array, *columns: Array) -> Array:
        return law.value_of(centred(theta), *columns)

    def jacobian(theta: Array, *columns: Array) -> Array:
        inner = centred(theta)
        slope = law.jacobian_of(inner, *columns).copy()
        slope[..., at] *= inner[..., None, at]
        slope[..., exponent] -= log_centre * slope[..., at]
        return slope

    reach = [end * log_centre for end in law.bounds[term.exponent]]
    low, high = np.log(law.bounds[term.coefficient])
    return replace(
        law,
        value_of=value,
        jacobian_of=jacobian,
        bounds={**law.bounds, term.coefficient: (low + min(reach), high + max(reach))},
        terms=tuple(other for other in law.terms if other is not term),
    )
