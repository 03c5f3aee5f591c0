"""Whether a fitted law describes its rows, as a sentence, and if not, what a better law says.

In N and D the better law is the heaviest of the average over laws, so that one table has one better law. Laws
of one axis compete by BIC, from simple to general: few rows without repeats flatter a law of many parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from analysis.arrays import Array
from analysis.averaging.average import WeighedLaw, average_laws
from analysis.frontier import six_nd_exponents
from analysis.laws import Law, family, find_law, saturating, with_limits
from analysis.records.fit import BetterLawRecord, DescriptionRecord
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.result import Fit
from analysis.solve.problem import checked_problem
from analysis.tables.table import LossTable
from analysis.uncertainty.adequacy import (
    ADDITIVE,
    NESTING,
    examine,
    failures,
    least_squares,
    sum_of_squares,
    verdict,
)
from harness.records.errors import InputError

# Laws that may describe rows better, by the axes of the law that does not.
RIVALS = {
    "nd": (ADDITIVE, "quadrature", NESTING, "bounded", saturating.FAMILY),
    "n": ("kaplan_n", "kaplan_n_offset", "broken_n"),
    "d": ("kaplan_d", "kaplan_d_offset", "broken_d"),
    "c": ("kaplan_c", "kaplan_c_offset", "broken_c"),
}
# The BIC of a better law is lower by so much: very strong evidence in the words of Kass & Raftery 1995,
# JASA 90.
BETTER = 10.0
EXACT = 1e-9  # residuals of log loss below this are rounding


def with_description(fit: Fit, table: LossTable, seed: int = 0, rivals: Sequence[str] | None = None) -> Fit:
    """Return a fit that says whether its law describes the rows, with a warning if it does not.

    A table that leaves no residual, or none to judge by, is said to have none. `rivals` are the laws that may
    be named as better; by default RIVALS.
    """
    spare = len(table) - find_law(fit.law).n_free
    noiseless = float(np.max(np.abs(fit.resid))) < EXACT
    if spare <= 0 or noiseless:
        text = (
            f"{family(fit.law)} goes through every row, which shows nothing about rows that it has not seen."
            if spare <= 0
            else f"{family(fit.law)} describes these runs: it leaves nothing."
        )
        return replace(fit, description=DescriptionRecord(None if spare <= 0 else True, text))
    result, nested = examine(table, fit.law, seed, fit.theta)
    said = verdict(fit.law, result, nested)
    if not any(failures(fit.law, result, nested)):
        return replace(fit, description=DescriptionRecord(True, said))
    better = _better_law(table, fit.law, seed, _able(table, fit.law, rivals))
    text = f"{said.rstrip('.')}; {_in_words(better, table)}."
    doubt = FitWarning(WarningCode.LACK_OF_FIT, f"{text.rstrip('.')}; intervals leave this out")
    return replace(fit, description=DescriptionRecord(False, text, better)).with_warnings(doubt)


def _able(table: LossTable, law: str, rivals: Sequence[str] | None) -> list[str]:
    """Return the rivals of a law that the table can determine with cells to spare."""
    axes = find_law(law).axes
    named = RIVALS.get(axes, ()) if rivals is None else rivals
    able = []
    for rival in named:
        try:
            name = checked_problem(table, with_limits(rival, table.limits)).law.name
        except InputError:  # limits or rows that the table does not have
            continue
        found = find_law(name)
        if name != law and found.axes == axes and found.n_free < table.n_cells:
            able.append(name)
    return able


def _better_law(table: LossTable, law: str, seed: int, rivals: Sequence[str]) -> BetterLawRecord | None:
    """Return what a better law says; None if the BIC of none is lower than that of `law` by BETTER."""
    if not rivals:
        return None
    heaviest = _heaviest if find_law(law).axes == "nd" else _lowest
    found = heaviest(table, law, rivals, seed)
    if found is None:
        return None
    better, theta = found
    result, nested = examine(table, better.name, seed)
    exponent = six_nd_exponents(better, theta[None], table)
    return BetterLawRecord(
        law=better.name,
        residual_rms=result.residual_rms,
        params=dict(zip(better.params, theta.tolist(), strict=True)),
        a=float(exponent[0]) if len(exponent) else None,
        describes=not any(failures(better.name, result, nested)),
    )


def _heaviest(table: LossTable, law: str, rivals: Sequence[str], seed: int) -> tuple[Law, Array] | None:
    """Return the heaviest law of the average over `law` and its rivals with its estimate [params]."""
    average = average_laws(table, [law, *rivals], resamples=0, seed=seed)

    def bic(entry: WeighedLaw) -> float:
        return entry.chi2 + entry.law.n_free * float(np.log(table.n_cells))

    best, own = average.best, average.alone(law).best
    return (best.law, best.theta) if bic(own) - bic(best) > BETTER else None


def _lowest(table: LossTable, law: str, rivals: Sequence[str], seed: int) -> tuple[Law, Array] | None:
    """Return the rival of the lowest BIC, in steps of BETTER from simple to general, with its estimate."""
    rows = len(table)

    def bic(name: str) -> tuple[float, Law, Array]:
        problem, theta = least_squares(table, name, seed)
        squares = max(sum_of_squares((problem, theta)), 1e-300)
        penalty = problem.law.n_free * float(np.log(rows))
        return rows * float(np.log(squares / rows)) + penalty, problem.law, theta

    entries = sorted(map(bic, rivals), key=lambda entry: (entry[1].n_free, entry[0]))
    best = entries[0]
    for entry in entries[1:]:
        if entry[0] < best[0] - BETTER:
            best = entry
    return best[1:] if best[0] < bic(law)[0] - BETTER else None


def _in_words(better: BetterLawRecord | None, table: LossTable) -> str:
    if better is None:
        text = "no other law here describes them clearly better"
        unlimited = table.limits is None and not {"n", "d"} & set(table.absent)
        return f"{text}; saturating needs U and the vocabulary to compete" if unlimited else text
    said = [f"residuals {100 * better.residual_rms:.2g} % RMS"]
    said += [f"E = {better.params['E']:.3g}"] if "E" in better.params else []
    said += [f"a = {better.a:.3f} under C = 6·N·D"] if better.a is not None else []
    how = "describes them" if better.describes else "comes closer, and does not describe them either"
    return f"{family(better.law)} {how} ({', '.join(said)})"
