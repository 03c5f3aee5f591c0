"""What speaks against quoting the fit of the law that the rule chose, and which runs would change that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.advice import ADVICE, by_gravity
from analysis.laws import Law, family, find_law
from analysis.records.warning_codes import TABLE_WIDE, FitWarning, Severity, WarningCode
from analysis.result import Fit
from analysis.tables.table import LossTable
from analysis.uncertainty.fit_warnings import MIN_SIZE_RANGE, MIN_SIZES, MIN_TOKEN_RANGE, MIN_TOKENS
from harness.records.number_text import percent

MIN_PREDICTED = 3  # cells that a contest must predict for its winner to be recommended
CELLS_A_PARAMETER = 2  # up to so many cells a parameter are few: a dozen for the joint law
# What blocks a number of a row that is recommended nevertheless, and how that is said.
SAID_BESIDE = {
    WarningCode.LACK_OF_FIT: "it is the likeliest and still does not describe these rows, see lack_of_fit",
    WarningCode.E_NOT_BRACKETED: "its E alone is not to be quoted, see e_not_bracketed",
}
NOT_TOLD_APART = "D follows N in these rows, so they cannot say how N* grows; a law of C alone describes them"


def objection(fit: Fit, table: LossTable, errors: Mapping[str, float], n_predicted: int) -> str | None:
    """Return why the fit of the chosen law is not to be quoted, and what would change that, or None.

    Args:
        fit: of the law that the rule chose.
        table: the rows that it was fitted to.
        errors: RMS of log loss in the contest by law; empty without a contest.
        n_predicted: cells that the contest predicted from cells of less compute.
    """
    wide = table_wide(fit.warnings)
    if wide:
        return f"the table is to be mended first: {'; '.join(warning.message for warning in wide)}"
    if WarningCode.COLLINEAR in {warning.code for warning in fit.warnings}:
        return NOT_TOLD_APART
    against = objections(fit, table, errors, n_predicted)
    return _in_words(fit, table, against) if against else None


def table_wide(warnings: Sequence[FitWarning]) -> list[FitWarning]:
    """Return the warnings that block everything that is read off a table."""
    return [warning for warning in warnings if warning.code in TABLE_WIDE]


def mending(warnings: Sequence[FitWarning]) -> str | None:
    """Return what to do before anything is quoted, if a warning is about the whole table."""
    wide = by_gravity(warning.code for warning in table_wide(warnings))
    if not wide:
        return None
    remedies = "; ".join(ADVICE[code].remedy for code in wide)
    return f"nothing can be quoted before the table is mended ({', '.join(wide)}): {remedies}"


def said_beside(warnings: Sequence[FitWarning]) -> str:
    """Return clauses on the numbers of a recommended row that are not to be quoted."""
    codes = {warning.code for warning in warnings}
    return "".join(f"; {said}" for code, said in SAID_BESIDE.items() if code in codes)


def _disqualifies(warning: FitWarning) -> bool:
    """Return whether a warning of a row speaks against the row as a whole."""
    if warning.code is WarningCode.ILL_CONDITIONED:
        return True
    return warning.severity is Severity.BLOCKS and warning.code not in SAID_BESIDE


def objections(fit: Fit, table: LossTable, errors: Mapping[str, float], n_predicted: int) -> list[str]:
    """Return each reason against quoting the fit of the chosen law; empty if there is none."""
    law = find_law(fit.law)
    if law.axes != "nd":
        return ["it is no law in N and D, so it does not say how compute is best divided"]
    doubts = [warning.message for warning in fit.warnings if _disqualifies(warning)]
    error = errors.get(fit.law)
    if table.n_cells < _least_cells(law):
        doubts.append(f"{table.n_cells} cells are few for {law.n_free} parameters")
    if n_predicted < MIN_PREDICTED:
        cells_said = f"{n_predicted or 'no'} cell{'' if n_predicted == 1 else 's'}"
        doubts.append(f"the contest could predict {cells_said} from cells of less compute")
    elif error is not None and min(errors.values()) < error == max(errors.values()):
        doubts.append(f"its error, {percent(error)} RMS, is the largest of the laws")
    return doubts


def _least_cells(law: Law) -> int:
    return CELLS_A_PARAMETER * law.n_free + 1


def _in_words(fit: Fit, table: LossTable, against: Sequence[str]) -> str:
    """Return the reasons in a sentence, and which runs would take them away."""
    text = f"the rule chooses {family(fit.law)}, but {'; '.join(against)}"
    law = find_law(fit.law)
    if law.axes != "nd":
        return text
    wanted = [
        f"{least} {name} over {span:.0f} times (now {len(values)} over {values[-1] / values[0]:.3g})"
        for name, values, least, span in (
            ("sizes N", np.unique(table.n), MIN_SIZES, MIN_SIZE_RANGE),
            ("token counts D", np.unique(table.d), MIN_TOKENS, MIN_TOKEN_RANGE),
        )
        if len(values) < least or values[-1] < span * values[0]
    ]
    if table.n_cells < _least_cells(law):
        wanted.append(f"{_least_cells(law)} cells of N and D (now {table.n_cells})")
    return f"{text}; what would change that: {', '.join(wanted) or 'runs of larger compute'}"
