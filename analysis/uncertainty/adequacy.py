"""Whether a law describes the rows it was fitted to.

Three tests: residuals between cells against the noise between seeds, trends of the residuals along N, D and
D/N, and gamma = 1 inside the joint law. Each has significance SIGNIFICANCE. A true law fails one of them in
1 to 4 % of simulated tables (tests/analysis/uncertainty/test_adequacy.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy import stats

from analysis.arrays import Array
from analysis.holm import holm
from analysis.laws import family, find_law
from analysis.laws.limited import split_limits
from analysis.records.fits import AdequacyRecord, TrendRecord
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.solve.problem import Problem, checked_problem
from analysis.solve.search import multi_start
from analysis.tables.seed_noise import seed_noise
from analysis.tables.table import LossTable
from harness.records.errors import InputError

SIGNIFICANCE = 0.01
ADDITIVE, NESTING = "chinchilla", "joint"  # the first is the second with gamma = 1
# Special cases of a law with one parameter more, and what speaks against them.
NESTED = {
    ADDITIVE: (NESTING, "gamma other than 1"),
    "quadrature": (NESTING, "gamma other than .5"),
    "joint_e0": (NESTING, "E other than 0"),
    "tied": (ADDITIVE, "alpha other than beta"),
    **{f"kaplan_{axis}": (f"kaplan_{axis}_offset", "E other than 0") for axis in "ndc"},
}
STARTS = 16


def adequacy(table: LossTable, law: str, seed: int = 0, theta: Array | None = None) -> AdequacyRecord:
    """Test how well `law` describes the table.

    Args:
        table: finished runs.
        law: name of the law.
        seed: of random starts.
        theta: its Huber estimate [params], if it is known already.

    Notes:
        Residuals are of log loss around the Huber fit. The tests use least squares and take rows as
        independent. Noise that rows of a trunk share makes their p-values somewhat too small.
    """
    result, nested = examine(table, law, seed, theta)
    gamma = nested if split_limits(law)[0] == ADDITIVE else gamma_test(table, law, seed)
    return replace(result, gamma_test_p=gamma, verdict=verdict(law, result, nested))


def examine(
    table: LossTable, law: str, seed: int, theta: Array | None = None
) -> tuple[AdequacyRecord, float | None]:
    """Return the tests of a law, without verdict and test of gamma, and the p-value of `nested_test`."""
    problem = checked_problem(table, law)
    if theta is None:
        theta = multi_start(problem, np.random.default_rng(seed)).theta
    residuals = problem.residual(theta)
    squares = least_squares(table, law, seed, theta)
    pure, dof = seed_noise(table)
    result = AdequacyRecord(
        residual_rms=float(np.sqrt(np.mean(residuals**2))),
        residual_max=float(np.max(np.abs(residuals))),
        seed_sd=float(np.sqrt(pure / dof)) if dof else None,
        lack_of_fit_p=_lack_of_fit(table, law, sum_of_squares(squares)),
        structure=_structure(table, squares),
        gamma_test_p=None,
        verdict="",
    )
    return result, nested_test(table, law, seed)


def lack_of_fit(table: LossTable, law: str, seed: int = 0) -> float | None:
    """Return the p-value of the F test of residuals between cells against the noise between seeds.

    F = (SSE − SS_pure)/(cells − p) / (SS_pure/dof_pure); None if no cell has several rows.

    References: Draper & Smith 1998, Applied Regression Analysis, section 2.1 (lack of fit, pure error).
    """
    return _lack_of_fit(table, law, sum_of_squares(least_squares(table, law, seed)))


def _lack_of_fit(table: LossTable, law: str, squares: float) -> float | None:
    pure, dof = seed_noise(table)
    spare = len(np.unique(table.cell)) - find_law(law).n_free
    if dof == 0 or pure == 0 or spare <= 0:
        return None
    ratio = max(squares - pure, 0) / spare / (pure / dof)
    return float(stats.f.sf(ratio, spare, dof))


def gamma_test(table: LossTable, law: str, seed: int = 0) -> float | None:
    """Return the p-value of gamma = 1 (additive) inside the joint law: an F test with one extra parameter."""
    if {term.column for term in find_law(law).terms} != {"n", "d"}:
        return None
    return nested_test(table, law if split_limits(law)[0] == ADDITIVE else ADDITIVE, seed)


def nested_test(table: LossTable, law: str, seed: int = 0) -> float | None:
    """Return the p-value of a law inside the more general one of NESTED: an F test with one extra parameter.

    Limits of parameters hold for both. None if the law is no special case, or if no row is spare.
    """
    base = split_limits(law)[0]
    if base not in NESTED:
        return None
    general = NESTED[base][0] + law.removeprefix(base)
    try:
        spare = len(table) - find_law(general).n_free
        if spare <= 0:
            return None
        wide, narrow = (sum_of_squares(least_squares(table, name, seed)) for name in (general, law))
    except InputError:  # a limit on a parameter that the general law does not have
        return None
    if wide <= 0:
        return None
    return float(stats.f.sf(max(narrow - wide, 0) / (wide / spare), 1, spare))


def structure(table: LossTable, law: str, seed: int = 0) -> tuple[TrendRecord, ...]:
    """Test the residuals for trends: along log N, log D and log D/N (line and curve), and log N × log D.

    Each p-value is that of an F test of the added terms, Holm-corrected over the four trends.
    """
    return _structure(table, least_squares(table, law, seed))


def _structure(table: LossTable, squares: tuple[Problem, Array]) -> tuple[TrendRecord, ...]:
    problem, theta = squares
    residuals = problem.residual(theta)
    n, d = _standard(np.log(table.n)), _standard(np.log(table.d))
    ratio = _standard(np.log(table.d / table.n))
    designs = {
        "N": np.column_stack([n, n**2]),
        "D": np.column_stack([d, d**2]),
        "D/N": np.column_stack([ratio, ratio**2]),
        "N×D": (n * d)[:, None],
    }
    found = [(axis, *_trend(residuals, design, len(theta))) for axis, design in designs.items()]
    corrected = holm([p for _, p, _ in found])
    return tuple(
        TrendRecord(axis, float(p), float(share))
        for (axis, _, share), p in zip(found, corrected, strict=True)
    )


def lack_of_fit_warning(result: AdequacyRecord, law: str) -> FitWarning | None:
    """Return the warning for residuals larger than seed noise, or None."""
    p = result.lack_of_fit_p
    if p is None or p >= SIGNIFICANCE or result.seed_sd is None:
        return None
    return FitWarning(
        WarningCode.LACK_OF_FIT,
        f"{family(law)} leaves {100 * result.residual_rms:.2g} % RMS where seeds differ by "
        f"{100 * result.seed_sd:.2g} % (p = {p:.2g}): its intervals are too narrow",
    )


def verdict(law: str, result: AdequacyRecord, nested: float | None) -> str:
    """Return the result of the tests in one sentence."""
    found = list(failures(law, result, nested))
    rms, sd = 100 * result.residual_rms, result.seed_sd
    if found:
        return f"{family(law)} does not describe these runs: {'; '.join(found)}."
    against = (
        f", seeds differ by {100 * sd:.2g} %" if sd is not None else "; no repeated cell to compare with"
    )
    return f"{family(law)} describes these runs: residuals {rms:.2g} % RMS{against}, no structure found."


def failures(law: str, result: AdequacyRecord, nested: float | None) -> Iterator[str]:
    """Yield every test that the law fails, in words; `nested` is the p-value of `nested_test`."""
    rms, sd, p = result.residual_rms, result.seed_sd, result.lack_of_fit_p
    if p is not None and p < SIGNIFICANCE and sd is not None:
        yield f"its residuals ({100 * rms:.2g} %) exceed the seed noise ({100 * sd:.2g} %)"
    trends = [trend.axis for trend in result.structure if trend.p < SIGNIFICANCE]
    if trends:
        yield f"its residuals still follow {', '.join(trends)}"
    if nested is not None and nested < SIGNIFICANCE:
        yield f"the data ask for {NESTED[split_limits(law)[0]][1]} (p = {nested:.2g})"


def least_squares(table: LossTable, law: str, seed: int, near: Array | None = None) -> tuple[Problem, Array]:
    """Return the problem of least squares in log loss and its minimum [params], from `near` if any."""
    problem = checked_problem(table, law, "lsq")
    if near is None and problem.pilot is not None:
        near = multi_start(problem.pilot[0], np.random.default_rng(seed), STARTS).theta
    if near is not None:
        found = problem.solve(near, near=True)
        return problem, found.theta[0]
    return problem, multi_start(problem, np.random.default_rng(seed), STARTS).theta


def sum_of_squares(squares: tuple[Problem, Array]) -> float:
    problem, theta = squares
    return 2 * float(problem.objective(theta))


def _standard(values: Array) -> Array:
    spread = float(np.std(values))
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)


def _trend(residuals: Array, design: Array, used: int) -> tuple[float, float]:
    """Return the p-value of regressing residuals on `design`, and the share of their variance explained."""
    total = float(np.sum((residuals - residuals.mean()) ** 2))
    full = np.column_stack([np.ones(len(residuals)), design])
    rank = int(np.linalg.matrix_rank(full)) - 1
    spare = len(residuals) - used - rank
    if total == 0 or rank == 0 or spare <= 0:
        return 1.0, 0.0
    coefficients = np.linalg.lstsq(full, residuals, rcond=None)[0]
    rest = float(np.sum((residuals - full @ coefficients) ** 2))
    ratio = (total - rest) / rank / max(rest / spare, 1e-300)
    return float(stats.f.sf(ratio, rank, spare)), (total - rest) / total
