"""What speaks against quoting the fit of the law that the rule chose, and which runs would change that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.laws import Law, family, find_law
from analysis.records.warning import WarningCode
from analysis.result import Fit
from analysis.tables.table import LossTable
from analysis.uncertainty.fit_warnings import MIN_SIZE_RANGE, MIN_SIZES, MIN_TOKEN_RANGE, MIN_TOKENS
from harness.records.number_text import percent

MIN_PREDICTED = 3  # cells that a contest must predict for its winner to be recommended
CELLS_A_PARAMETER = 2  # up to so many cells a parameter are few: a dozen for the joint law
DISQUALIFYING = {WarningCode.ACTIVE_BOUND, WarningCode.ILL_CONDITIONED}
NOT_TOLD_APART = "D follows N in these rows, so they cannot say how N* grows; a law of C alone describes them"


def objection(fit: Fit, table: LossTable, errors: Mapping[str, float], n_predicted: int) -> str | None:
    """Return why the fit of the chosen law is not to be quoted, and what would change that, or None.

    Args:
        fit: of the law that the rule chose.
        table: the rows that it was fitted to.
        errors: RMS of log loss in the contest by law; empty without a contest.
        n_predicted: cells that the contest predicted from cells of less compute.
    """
    if WarningCode.COLLINEAR in {warning.code for warning in fit.warnings}:
        return NOT_TOLD_APART
    against = objections(fit, table, errors, n_predicted)
    return _in_words(fit, table, against) if against else None


def objections(fit: Fit, table: LossTable, errors: Mapping[str, float], n_predicted: int) -> list[str]:
    """Return each reason against quoting the fit of the chosen law; empty if there is none."""
    law = find_law(fit.law)
    if law.axes != "nd":
        return ["it is no law in N and D, so it does not say how compute is best divided"]
    doubts = [warning.message for warning in fit.warnings if warning.code in DISQUALIFYING]
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
