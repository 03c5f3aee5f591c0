"""Tests of a law (lack of fit, structure of the residuals, gamma = 1) and the contest that weighs laws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from analysis.approaches.parametric import estimate
from analysis.arrays import Array
from analysis.averaging.average import EXCLUDED, average_laws
from analysis.contest.rollout import Rolled, cuts, rollout, rollout_rms
from analysis.holm import holm
from analysis.laws import family, find_law, saturating, with_limits
from analysis.records.fit import FitWarning, WarningCode
from analysis.records.fits import AdequacyRecord, ContestRow, TrendRecord
from analysis.solve.problem import checked_problem
from analysis.solve.search import multi_start
from analysis.tables.noise import seed_noise
from analysis.tables.table import LossTable

CANDIDATES = ("chinchilla", "quadrature", "joint", "saturating", "bounded")
LARGEST = "joint"  # a candidate with the most parameters: a forecast needs so many cells
CONTEST_RULE = (
    f"Candidates: {', '.join(CANDIDATES)} ({saturating.FAMILY} where the table has its two limits). Each law "
    "is fitted to the fit cells by generalised least squares on log loss: points of a trunk share noise. Its "
    "weight is exp(-(χ² + p·ln K)/2), scaled to a sum of 1: χ² is the sum of squares around the law over the "
    "variance between seeds, or over that around the best law if it is larger; p counts its parameters, K "
    "the cells. The law of largest weight is chosen. E, the exponents, the frontier and the forecast are "
    f"stated over all laws of weight {EXCLUDED:g} or more, each with its weight."
)
SIGNIFICANCE = 0.01


@dataclass(frozen=True)
class Entrant:
    """One law in a contest.

    Attributes:
        law: its name.  count: column that holds N.
        rollout_rms: RMS error of log loss over all cuts; None if no cut was possible.
        weight: its share of the average over laws, 0 … 1.  chi2: as in CONTEST_RULE.
        n_params: free parameters.
        chosen: whether CONTEST_RULE chose it.
        rolled: its predictions, cut by cut.
    """

    law: str
    count: str
    rollout_rms: float | None
    weight: float
    chi2: float
    n_params: int
    chosen: bool
    rolled: tuple[Rolled, ...]

    def to_row(self, chosen: bool) -> ContestRow:
        """Return the law's row in fits.json and forecast.json; a study may rest on a law `chosen` earlier."""
        return ContestRow(
            self.law, self.count, self.rollout_rms, self.n_params, chosen, weight=self.weight, chi2=self.chi2
        )


def candidates(table: LossTable) -> tuple[str, ...]:
    """Return the laws that compete on `table`: CANDIDATES without those whose limits the table lacks."""
    usable = [law for law in CANDIDATES if law != saturating.FAMILY or table.limits is not None]
    return tuple(with_limits(law, table.limits) for law in usable)


def contest(
    table: LossTable, laws: Sequence[str] | None = None, seed: int = 0, at: Array | None = None
) -> list[Entrant]:
    """Weigh laws by CONTEST_RULE; the one of largest weight is chosen. Rollouts stand beside the weights.

    Args:
        table: finished runs, held-out ones left out.
        laws: names of the laws; `candidates(table)` by default.
        seed: of the starts.
        at: computes of the cuts, FLOPs; all that the laws allow (`rollout.cuts`) by default.
    """
    laws = candidates(table) if laws is None else laws
    at = cuts(table, laws) if at is None else at
    weighed = {entry.name: entry for entry in average_laws(table, laws, resamples=0, seed=seed).laws}
    chosen = max(laws, key=lambda law: weighed[law].weight)
    entrants = []
    for law in laws:
        rolled, found = tuple(rollout(table, law, at, seed)), weighed[law]
        entrants.append(
            Entrant(
                law,
                table.count,
                rollout_rms(rolled),
                found.weight,
                found.chi2,
                found.law.n_free,
                law == chosen,
                rolled,
            )
        )
    return entrants


def adequacy(table: LossTable, law: str, seed: int = 0) -> AdequacyRecord:
    """Test how well `law` describes the table.

    Notes:
        Residuals are of log loss around the Huber fit. The tests use least squares and take rows as
        independent. Noise that rows of a trunk share makes their p-values somewhat too small.
    """
    problem = checked_problem(table, law)
    theta = estimate(table, law, seed)
    residuals = problem.residual(theta)
    pure, dof = seed_noise(table)
    result = AdequacyRecord(
        residual_rms=float(np.sqrt(np.mean(residuals**2))),
        residual_max=float(np.max(np.abs(residuals))),
        seed_sd=float(np.sqrt(pure / dof)) if dof else None,
        lack_of_fit_p=lack_of_fit(table, law, seed),
        structure=structure(table, law, seed),
        gamma_test_p=gamma_test(table, law, seed),
        verdict="",
    )
    return replace(result, verdict=_verdict(law, result))


def lack_of_fit(table: LossTable, law: str, seed: int = 0) -> float | None:
    """Return the p-value of the F test of residuals between cells against the noise between seeds.

    F = (SSE − SS_pure)/(cells − p) / (SS_pure/dof_pure); None if no cell has several rows.

    References: Draper & Smith 1998, Applied Regression Analysis, section 2.1 (lack of fit, pure error).
    """
    pure, dof = seed_noise(table)
    spare = len(np.unique(table.cell)) - find_law(law).n_free
    if dof == 0 or pure == 0 or spare <= 0:
        return None
    ratio = max(_sse(table, law, seed) - pure, 0) / spare / (pure / dof)
    return float(stats.f.sf(ratio, spare, dof))


def gamma_test(table: LossTable, law: str, seed: int = 0) -> float | None:
    """Return the p-value of gamma = 1 (additive) inside the joint law: an F test with one extra parameter."""
    axes = {term.column for term in find_law(law).terms}
    spare = len(table) - len(find_law("joint").params)
    if axes != {"n", "d"} or spare <= 0:
        return None
    joint, additive = _sse(table, "joint", seed), _sse(table, "chinchilla", seed)
    if joint <= 0:
        return None
    return float(stats.f.sf(max(additive - joint, 0) / (joint / spare), 1, spare))


def structure(table: LossTable, law: str, seed: int = 0) -> tuple[TrendRecord, ...]:
    """Test the residuals for trends: along log N, log D and log D/N (line and curve), and log N × log D.

    Each p-value is that of an F test of the added terms, Holm-corrected over the four trends.
    """
    problem = checked_problem(table, law, "lsq")
    theta = multi_start(problem, np.random.default_rng(seed)).theta
    residuals = problem.residual(theta)
    n, d = _standard(np.log(table.n)), _standard(np.log(table.d))
    ratio = _standard(np.log(table.d / table.n))
    used = len(theta)
    designs = {
        "N": np.column_stack([n, n**2]),
        "D": np.column_stack([d, d**2]),
        "D/N": np.column_stack([ratio, ratio**2]),
        "N×D": (n * d)[:, None],
    }
    found = [(axis, *_trend(residuals, design, used)) for axis, design in designs.items()]
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


def _sse(table: LossTable, law: str, seed: int) -> float:
    """Return the sum of squared log-loss residuals of the least-squares fit."""
    problem = checked_problem(table, law, "lsq")
    return 2 * multi_start(problem, np.random.default_rng(seed)).objective


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


def _verdict(law: str, result: AdequacyRecord) -> str:
    """Return the result of the tests in one sentence."""
    rms, sd, p = result.residual_rms, result.seed_sd, result.lack_of_fit_p
    trends = [trend.axis for trend in result.structure if trend.p < SIGNIFICANCE]
    doubts = []
    if p is not None and p < SIGNIFICANCE and sd is not None:
        doubts.append(f"its residuals ({100 * rms:.2g} %) exceed the seed noise ({100 * sd:.2g} %)")
    if trends:
        doubts.append(f"its residuals still follow {', '.join(trends)}")
    gamma = result.gamma_test_p
    if gamma is not None and gamma < SIGNIFICANCE and law == "chinchilla":
        doubts.append(f"the data ask for gamma other than 1 (p = {gamma:.2g})")
    if doubts:
        return f"{family(law)} does not describe these runs: {'; '.join(doubts)}."
    against = (
        f", seeds differ by {100 * sd:.2g} %" if sd is not None else "; no repeated cell to compare with"
    )
    return (
        f"{family(law)} describes these runs: residuals {100 * rms:.2g} % RMS{against}, no structure found."
    )
