"""Expected standard errors of parameters, of the exponent a and of a loss ahead, from a design alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from analysis.arrays import Array
from analysis.averaging.average import average_laws
from analysis.averaging.noise import FARTHEST
from analysis.contest.adequacy import candidates
from analysis.cost import Cost, cost_between, six_n
from analysis.design.information import Cells, Information, Truth
from analysis.design.range import check_range, range_doubts
from analysis.frontier import EXPONENT_BUDGETS, REACH, Surface, exponent, extrapolation_warning, optimum
from analysis.laws import family, with_limits
from analysis.laws.law import Law
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.solve.problem import checked_problem
from analysis.solve.search import multi_start
from analysis.tables.table import LossTable, TableLike, as_table
from harness.records.errors import InputError

STEP = 1e-4  # relative step of a numerical slope
NORMAL_90 = 1.6449  # of a 90 % interval, in standard errors
FARTHEST_TARGET = 1e5  # times the largest compute of a design
STATED = ("E", "alpha", "beta", "gamma")


@dataclass(frozen=True)
class Target:
    """A run whose loss is to be forecast.

    Attributes:
        flops: training compute C, FLOPs.  n: parameters N.  d: training tokens D.
        loss: its loss under the law, nats per token.
    """

    flops: float
    n: float
    d: float
    loss: float


@dataclass(frozen=True)
class ExpectedErrors:
    """Standard errors to expect from a design, under a law taken for true.

    Attributes:
        law: its name.  estimator: how it will be fitted.
        n_runs: runs of the design.  n_cells: different (N, D) among them.
        values: E and the exponents of the law taken for true, and a of N* ∝ C^a under C = 6·N·D.
        errors: the standard error of each; None if its range of 90 % reaches the end of what is allowed.
        target: the run ahead; None if none was asked for.
        target_error: standard error of the log loss at the target, without the noise of that run; None as
            above, or without a target.
        noise: standard deviation of log loss of a run at the target, or else at the largest N.
        warnings: what speaks against these numbers.
    """

    law: str
    estimator: str
    n_runs: int
    n_cells: int
    values: Mapping[str, float]
    errors: Mapping[str, float | None]
    target: Target | None
    target_error: float | None
    noise: float
    warnings: tuple[FitWarning, ...] = ()


def expected_errors(
    table: TableLike,
    law: str | None = None,
    *,
    mapping: Mapping[str, str] | None = None,
    target: float | None = None,
    estimator: str = "huber",
) -> ExpectedErrors:
    """Return the standard errors to expect of fits to runs such as those of a table.

    The law is fitted to the table and taken for true, with the noise that its repeated cells show. Then the
    slopes of the law at the runs give the spread of the estimates.

    Args:
        table: finished runs: a LossTable, or a frame or path that `load_table` reads.
        law: name of the law; by default the candidate of largest weight.
        mapping: columns of a foreign table, as for `load_table`.
        target: compute of a run ahead, FLOPs, of the best size for it.
        estimator: how laws are fitted, as for `fit_law`.

    Returns:
        The errors: `errors` by parameter (of a for C = 6·N·D), `target_error` of the log loss at the target,
        `warnings` with what speaks against them.

    Raises:
        InputError: the runs cannot tell the law: one size, D/N constant, too few cells; or the target lies
            below the runs.

    References: Atkinson, Donev & Tobias 2007, Optimum Experimental Designs with SAS, chapter 17.

    Examples:
        >>> import analysis as sl, numpy as np, pandas as pd
        >>> n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 4)))
        >>> noise = 0.003 * np.random.default_rng(0).standard_normal(20)
        >>> loss = (1.7 + 400 * n**-0.34 + 410 * d**-0.28) * np.exp(noise)
        >>> runs = pd.DataFrame({"N": n, "D": d, "loss": loss})
        >>> found = sl.expected_errors(runs, "chinchilla", target=6e21)
        >>> print(f"alpha ± {found.errors['alpha']:.3f}, loss at the target ± {found.target_error:.2%}")
        alpha ± 0.008, loss at the target ± 0.42%
    """
    runs = as_table(table, mapping)
    truth = truth_of(runs, law)
    information = Information(truth, Cells.of(runs), estimator)
    return expect(information, target=target)


def truth_of(table: LossTable, law: str | None = None) -> Truth:
    """Return the law that a table supports, and its noise, to be taken for true.

    Args:
        table: finished runs.
        law: name of the law; by default the candidate of largest weight.

    Raises:
        InputError: the table cannot hold the law.
    """
    table.require("a design", "nd")
    check_range(table.n, table.d)
    names = candidates(table) if law is None else (with_limits(law, table.limits),)
    able = []
    for name in names:
        try:
            checked_problem(table, name)
            able.append(name)
        except InputError:
            if law is not None:
                raise
    if not able:
        raise InputError(
            f"{len(table)} runs hold no law in N and D, expected runs of several sizes and token counts: add "
            "runs"
        )
    average = average_laws(table, able, resamples=0)
    best = average.best
    if best.law.axes != "nd":
        raise InputError(f"{best.name} is no law in N and D: name one that predicts runs, such as chinchilla")
    # The law as the report states it; the average fits its means with the noise of trunks removed.
    theta = multi_start(checked_problem(table, best.name), np.random.default_rng(0)).theta
    return Truth(
        best.law,
        theta,
        float(average.noise.sd * average.by_size.unit * average.by_size.largest**-average.by_size.exponent),
        average.by_size.largest,
        average.by_size.exponent,
        average.noise.share,
        FARTHEST * average.by_size.largest,
    )


def expect(
    information: Information,
    *,
    target: float | None = None,
    place: tuple[float, float, float] | None = None,
    cost: Cost | None = None,
) -> ExpectedErrors:
    """Return the standard errors to expect of a design.

    Args:
        information: design and law.
        target: compute of a run ahead of the best size, FLOPs.
        place: N, D and C of a run ahead, in its stead.
        cost: training FLOPs per token at size N; that of the runs by default.

    Raises:
        InputError: the design cannot tell the law, or the target lies below it or too far beyond.
    """
    cells, truth = information.cells, information.truth
    check_range(cells.n, cells.d)
    covariance = information.covariance
    n_cells = len(np.unique(np.column_stack([cells.n, cells.d]), axis=0))
    if covariance is None or n_cells < len(information.free):
        raise InputError(
            f"{n_cells} different cells do not tell the {len(information.free)} parameters of "
            f"the {family(truth.law.name)} law apart, expected more sizes and token counts: add cells"
        )
    ahead = None
    if place is not None:
        ahead = _at(information, *place)
    elif target is not None:
        ahead = best_run(information, target, cost)
    errors = _parameter_errors(information, covariance)
    weak = _weak(information, covariance)
    values = {name: float(truth.theta[truth.law.params.index(name)]) for name in errors}
    slope_of_a = slope(information, lambda theta: _exponent(information, theta))
    values["a"] = _exponent(information, information.theta)
    errors["a"] = _error(slope_of_a, covariance)
    stated: dict[str, float | None] = dict(errors)
    doubts = list(range_doubts(cells.n, cells.d, cells.c))
    if not 0 < values["a"] - NORMAL_90 * errors["a"] < values["a"] + NORMAL_90 * errors["a"] < 1:
        weak["a"] = errors["a"]
    if weak:
        doubts.append(_beyond_linear(weak))
        stated |= {name: None for name in weak if name in stated}
    ahead_error = None if ahead is None or weak else target_error(information, covariance, ahead)
    if ahead is not None:
        far = extrapolation_warning(float(cells.c.max()), ahead.flops)
        doubts += [far] if far else []
    return ExpectedErrors(
        law=truth.law.name,
        estimator=information.estimator,
        n_runs=len(cells),
        n_cells=n_cells,
        values=values,
        errors=stated,
        target=ahead,
        target_error=ahead_error,
        noise=float(truth.sd(np.array([cells.n.max() if ahead is None else ahead.n]))[0]),
        warnings=tuple(doubts),
    )


def best_run(information: Information, flops: float, cost: Cost | None = None) -> Target:
    """Return the run of least loss at a compute.

    Raises:
        InputError: the compute lies below that of the runs, or too far beyond it.
    """
    cells = information.cells
    low, high = float(cells.c.min()), float(cells.c.max())
    if not low <= flops <= FARTHEST_TARGET * high:
        raise InputError(
            f"a target of {flops:.3g} FLOPs was given and the runs have {low:.3g} to {high:.3g}: expected "
            f"one from {low:.3g} to {FARTHEST_TARGET * high:.3g}; a loss below the runs is measured, not "
            "forecast"
        )
    law, theta = information.truth.law, information.truth.theta
    surface = _surface(law, theta, cost or cost_between(cells.n, cells.c / cells.d), cells)
    n, d, loss = (float(part[0, 0]) for part in optimum(surface, np.array([flops])))
    return Target(flops, n, d, loss)


def target_error(information: Information, covariance: Array, target: Target) -> float:
    """Return the standard error of the log loss at a target."""
    place = (np.array([value]) for value in (target.n, target.d, target.flops))
    return _error(information.slope(*place)[0], covariance)


def slope(information: Information, of: Callable[[Array], float]) -> Array:
    """Return the slope of a quantity by the free parameters, in the units of the centre."""
    found = []
    for position in information.free:
        ends = []
        step = STEP * max(abs(information.theta[position]), STEP)
        for side in (step, -step):
            theta = information.theta.copy()
            theta[position] += side
            ends.append(of(theta))
        found.append((ends[0] - ends[1]) / (2 * step))
    return np.array(found)


def _at(information: Information, n: float, d: float, c: float) -> Target:
    law, theta = information.truth.law, information.truth.theta
    return Target(c, n, d, float(law.value(theta, [n], [d], [c])[0]))


def _error(slope: Array, covariance: Array) -> float:
    return float(np.sqrt(slope @ covariance @ slope))


def _parameter_errors(information: Information, covariance: Array) -> dict[str, float]:
    params = information.truth.law.params
    names = [params[position] for position in information.free]
    errors = np.sqrt(np.diag(covariance))
    return {name: float(error) for name, error in zip(names, errors, strict=True) if name in STATED}


def _weak(information: Information, covariance: Array) -> dict[str, float]:
    """Return the parameters whose range of 90 % reaches the end of what is allowed, with their errors."""
    law = information.truth.law
    lowest = float(law.value(information.truth.theta, *_places(information.cells)).min())
    found = {}
    for position, error in zip(information.free, np.sqrt(np.diag(covariance)), strict=True):
        name, value = law.params[position], information.theta[position]
        low, high = law.bounds[name]
        high = min(high, lowest) if name == "E" else high
        if not low < value - NORMAL_90 * error < value + NORMAL_90 * error < high and not (
            law.depends_on_units(name)
        ):
            found[name] = float(error)
    return found


def _places(cells: Cells) -> tuple[Array, Array, Array]:
    return cells.n, cells.d, cells.c


def _beyond_linear(weak: Mapping[str, float]) -> FitWarning:
    names = " and ".join(weak)
    return FitWarning(
        WarningCode.BEYOND_LINEAR,
        f"the runs leave {names} open up to the end of the allowed range, where errors are not symmetric: "
        f"those of {names} and of a loss ahead are not stated",
    )


def _surface(law: Law, theta: Array, cost: Cost, cells: Cells) -> Surface:
    reach = float(cells.n.min() / REACH), float(cells.n.max() * REACH)
    return Surface(law.name, lambda n, d: law.value(theta, n, d), cost, reach)


def _exponent(information: Information, theta: Array) -> float:
    """Return a of N* ∝ C^a under C = 6·N·D over the computes of the design."""
    law, cells = information.truth.law, information.cells
    plain = law.rescale(theta, information.centre)
    closed = law.frontier(plain)
    if closed is not None:
        return closed.a
    spent = 6 * cells.n * cells.d
    flops = np.geomspace(spent.min(), spent.max(), EXPONENT_BUDGETS)
    return float(exponent(flops, optimum(_surface(law, plain, six_n, cells), flops)[0])[0])
