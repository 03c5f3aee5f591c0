"""Fit a loss law to a table: `python -m analysis.fit TABLE`.

The parametric approach (approach 3 of Hoffmann et al. 2022, arXiv:2203.15556) minimises the sum of
Huber's loss (delta 1e-3) of log-loss residuals over all rows, as Besiroglu et al. 2024 do
(arXiv:2404.10102); `lad` is the limit of a tiny delta, `lsq` and `lsq_loss` are least squares in log loss
and in loss, `gls` is least squares in log loss with the noise that points of a trunk share.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.answer import answer, save
from analysis.bootstrap import KINDS, bootstrap
from analysis.covariance import gauss_newton_cov
from analysis.frontier import six_nd_exponents
from analysis.identifiability import MIN_CLUSTERS, condition_number, identifiability_warnings
from analysis.laws import find_law, with_limits
from analysis.result import Exponents, Fit, percentile_interval
from analysis.search import Route, multi_start, variable_projection
from analysis.solver import ESTIMATORS, Problem
from analysis.table import LossTable
from harness.records import InputError

Array = NDArray[np.float64]

APPROACHES = ("parametric", "isoflop", "envelope", "kaplan")
DELTA = 1e-3  # Hoffmann et al. 2022, section 3.3


def fit_law(
    table: LossTable,
    law: str = "chinchilla",
    estimator: str = "huber",
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    delta: float = DELTA,
    kind: str = KINDS[0],
) -> Fit:
    """Fit `law` to every row of `table`, with bootstrap intervals and warnings.

    Two independent searches must end in the same place, otherwise the fit carries a warning.
    `resamples=0` leaves out standard errors and intervals, as do fewer than MIN_CLUSTERS trunks. `kind` says
    what is resampled: `cluster` (trunks) or `residual`.

    Raises:
        InputError: unknown law, estimator or kind, or a table that cannot hold the law at all.
    """
    began = time.perf_counter()
    law = with_limits(law, table.limits)
    problem = checked_problem(table, law, estimator, delta)
    if kind not in KINDS:
        raise InputError(f"there is no bootstrap {kind!r}: type one of {', '.join(KINDS)}")
    rng = np.random.default_rng(seed)
    starts = multi_start(problem, rng)
    projection = variable_projection(problem, rng)
    n_clusters = len(np.unique(table.cluster))
    # Too few trunks always resample to nearly the same table: intervals of no width.
    intervals = resamples > 0 and n_clusters >= MIN_CLUSTERS
    samples = bootstrap(problem, starts.theta, resamples, seed, kind) if intervals else None
    stretch = stretch_of(problem, kind)
    return Fit(
        law=law,
        approach="parametric",
        estimator=estimator,
        count=table.count,
        nobs=len(table),
        n_clusters=n_clusters,
        params=dict(zip(problem.law.params, starts.theta.tolist(), strict=True)),
        level=level,
        objective=starts.objective,
        status="converged" if starts.converged else "stopped before the tolerance was met",
        frontier=exponents_of(problem, starts.theta, samples, level, stretch),
        samples=samples,
        stretch=stretch,
        resid=np.log(table.loss) - np.log(problem.predict(starts.theta)),
        largest_c=float(table.c.max()),
        warnings=identifiability_warnings(problem, starts, projection),
        excluded=table.excluded,
        seconds=time.perf_counter() - began,
        extra={"resamples": resamples, "bootstrap": kind, **_details(problem, starts, projection)},
    )


def _details(problem: Problem, starts: Route, projection: Route) -> dict[str, Any]:
    """Further keys of the JSON (results/README.md)."""
    theta = starts.theta
    return {
        "se_gauss_newton": _gauss_newton_errors(problem, theta),
        "delta": problem.delta if problem.estimator == "huber" else None,
        "log_likelihood": log_likelihood(problem, theta),
        "routes": {"multi_start": starts.objective, "variable_projection": projection.objective},
        "starts_agreeing": starts.agreeing,
        "condition_number": condition_number(problem, theta),
        "largest_flops": float(problem.table.c.max()),
    }


def _gauss_newton_errors(problem: Problem, theta: Array) -> dict[str, float | None] | None:
    cov = gauss_newton_cov(problem, theta)
    if cov is None:
        return None
    return dict(zip(problem.law.params, np.sqrt(np.diag(cov)).tolist(), strict=True))


def log_likelihood(problem: Problem, theta: Array) -> float | None:
    """Log-likelihood of the log losses at theta where the estimator maximises one, its scale at the maximum.

    Laplace noise for `lad`, to which the joint fit of a Huber density with a free scale shrinks on the points
    of Hoffmann et al. (Besiroglu et al. 2024, arXiv:2404.10102, section 3); Gaussian noise for `lsq`.
    """
    residual, n = problem.residual(theta), len(problem.table)
    if problem.table.weights is not None or not np.any(residual):
        return None
    if problem.estimator == "lad":
        return float(-n * (np.log(2 * np.mean(np.abs(residual))) + 1))
    if problem.estimator == "lsq":
        return float(-0.5 * n * (np.log(2 * np.pi * np.mean(residual**2)) + 1))
    return None


def estimate(table: LossTable, law: str, seed: int = 0, delta: float = DELTA) -> Array:
    """The point estimate alone, by multi-start: what rollouts and contests refit many times."""
    return multi_start(checked_problem(table, law, "huber", delta), np.random.default_rng(seed)).theta


def checked_problem(table: LossTable, law: str, estimator: str = "huber", delta: float = DELTA) -> Problem:
    """The problem, or an InputError that says why this table cannot hold this law."""
    found = find_law(law)
    if estimator not in ESTIMATORS:
        raise InputError(f"there is no estimator {estimator!r}: type one of {', '.join(ESTIMATORS)}")
    if delta <= 0:
        raise InputError(f"delta is {delta:g}: expected a positive number such as {DELTA:g}")
    need = found.n_free
    if len(table) < need:
        raise InputError(f"{len(table)} rows for the {need} parameters of {law}: give at least {need} rows")
    if "E" in found.held and found.bounds["E"][0] >= table.loss.min():
        at, lowest = found.bounds["E"][0], table.loss.min()
        raise InputError(f"E is held at {at:g}, the lowest loss is {lowest:g}: hold it below that")
    for term in found.terms:
        name = {"n": "sizes N", "d": "token counts D", "c": "computes C"}[term.column]
        distinct = len(np.unique(getattr(table, term.column)))
        if distinct < 2:
            raise InputError(f"{law} needs at least two {name}, the table has {distinct}: add runs")
    if np.ptp(table.loss) == 0:
        raise InputError(f"all {len(table)} losses equal {table.loss[0]:g}: check the loss column (--loss)")
    return Problem(found, table, estimator, delta)


def stretch_of(problem: Problem, kind: str) -> float:
    """sqrt(g/(g−1)·(n−1)/(n−p)) for least squares on drawn trunks, else 1.

    Drawn rows carry residuals, which are smaller than the noise; drawn residuals are widened already, and the
    narrow Huber losses do not need it (simulated, tests/test_coverage.py).
    """
    n, g, p = len(problem.table), len(np.unique(problem.table.cluster)), problem.law.n_free
    if kind == "residual" or not problem.least_squares or min(g - 1, n - p) < 1:
        return 1.0
    return float(np.sqrt(g / (g - 1) * (n - 1) / (n - p)))


def exponents_of(
    problem: Problem, theta: Array, samples: Array | None, level: float, stretch: float = 1.0
) -> Exponents:
    """Frontier exponents under C = 6·N·D with percentile intervals from the bootstrap estimates."""
    law, table = problem.law, problem.table
    here = six_nd_exponents(law, theta[None], table)
    if len(here) == 0:
        return Exponents()
    a, closed = float(here[0]), law.frontier(theta)
    g = None if closed is None else closed.g
    if samples is None:
        return Exponents(a=a, b=1 - a, g=g)
    each = six_nd_exponents(law, samples, table)
    return Exponents(
        a=a,
        a_interval=percentile_interval(each, level, stretch),
        b=1 - a,
        b_interval=percentile_interval(1 - each, level, stretch),
        g=g,
    )


def jackknife(table: LossTable, law: str = "chinchilla", seed: int = 0) -> dict[str, Any]:
    """Leave one size out: the exponent a under C = 6·N·D without each size, and its jackknife standard error.

    SE² = (k − 1)/k · Σ (a_i − mean a)² over the k sizes. Sizes whose removal leaves too few rows are skipped.
    """
    found = find_law(law)
    rows: list[dict[str, Any]] = []
    for size in np.unique(table.n):
        rest = table.select(table.n != size)
        if len(rest) < found.n_free or len(np.unique(rest.n)) < 2:
            continue
        # Over the budgets of the whole table: a shorter range would itself move a searched exponent.
        without = six_nd_exponents(found, estimate(rest, law, seed)[None], table)
        if len(without):
            left_out = f"{size:.0f}" if table.rung is None else table.rung[int(np.argmax(table.n == size))]
            rows.append({"left_out": left_out, "a": float(without[0])})
    values = np.array([row["a"] for row in rows])
    k = len(values)
    error = float(np.sqrt((k - 1) / k * np.sum((values - values.mean()) ** 2))) if k > 1 else None
    return {"a": rows, "a_se": error}


def _parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(prog="python -m analysis.fit", description="Fit loss laws to a table.")
    command.add_argument("table", type=Path, help=".csv or .parquet, one row a finished run")
    command.add_argument("--law", default="chinchilla", help="which law (a wrong name lists them)")
    command.add_argument(
        "--approach",
        default="parametric",
        choices=(*APPROACHES, "all"),
        help="all compares them, with a contest of laws, and marks the row to quote",
    )
    command.add_argument("--estimator", default="huber", help=f"one of {', '.join(ESTIMATORS)}")
    command.add_argument("--count", default="n_params_matmul", help="column that holds N in our own tables")
    command.add_argument("--loss", default="loss", help="column that holds the loss")
    command.add_argument(
        "--map",
        help="columns of a foreign table: N=params,D=tokens,loss=val,C=flops; N=total|body compares two "
        "counts with --approach all; C= leaves a column out",
    )
    command.add_argument("--scale", help="units of N, D or C: N=1e9,D=1e6 for billions and millions")
    command.add_argument("--where", help="keep rows with these values: dataset=c4,schedule=cosine")
    command.add_argument("--resamples", type=int, default=1000, help="bootstrap refits, 0 for none")
    command.add_argument("--bootstrap", default=KINDS[0], help=f"what is drawn: {' or '.join(KINDS)}")
    command.add_argument("--level", type=float, default=0.95, help="of the intervals")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--json", type=Path, help="write the result here")
    return command


def _run(arguments: argparse.Namespace) -> None:
    if not 0 < arguments.level < 1:
        raise InputError(f"--level is {arguments.level:g}: expected a share between 0 and 1 such as 0.95")
    if arguments.resamples < 0:
        raise InputError(f"--resamples is {arguments.resamples}: expected 0 or more")
    if arguments.bootstrap != KINDS[0] and arguments.approach != "parametric":
        raise InputError(
            f"--bootstrap {arguments.bootstrap} belongs to --approach parametric, got {arguments.approach}: "
            "leave it out"
        )
    command = importlib.import_module("analysis.command")
    text, result = (command.every if arguments.approach == "all" else command.one)(arguments)
    print(text)
    save(arguments.json, result)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 0 when done, 2 when the input cannot be used."""
    return answer(lambda: _run(_parser().parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
