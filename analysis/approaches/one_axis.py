"""Tables whose runs share one token count, or one size: Kaplan's law along the other axis, and no more.

Such runs do not say how compute is best divided. So no law in N and D, no IsoFLOP slice, no envelope and no
frontier is fitted.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis.approaches.kaplan import SAME, fit_kaplan
from analysis.laws import find_law
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.result import Fit
from analysis.tables.table import LossTable
from analysis.uncertainty.table_warnings import with_doubts
from harness.records.errors import InputError

MISSING = (
    "laws in N and D, IsoFLOP, envelopes and a frontier are left out, because they need runs of several "
    "sizes and token counts"
)


def shared_axis(table: LossTable) -> str | None:
    """Return the axis, n or d, that has one value in all rows (token counts to SAME).

    None if both vary, or if the table does not say sizes or token counts.
    """
    if set(table.absent) & set("nd"):
        return None
    if np.ptp(np.log(table.d)) < SAME:
        return "d"
    return "n" if np.ptp(table.n) == 0 else None


def fit_other_axis(
    tables: Mapping[str, LossTable], shared: str, level: float, seed: int
) -> tuple[list[Fit], FitWarning]:
    """Fit Kaplan's law along the axis that varies, with one warning about everything left out.

    `tables` maps a count of N to its table, the primary one first; along D all give the same law.
    """
    first = next(iter(tables.values()))
    alike = f"on {first.d[0]:.3g} tokens" if shared == "d" else f"at one size, {first.n[0]:.3g} parameters"
    said = f"every run was trained {alike}: {MISSING}"
    axis, counted = ("n", list(tables.values())) if shared == "d" else ("d", [first])
    try:
        fits = [fit for table in counted for fit in fit_kaplan(table, level=level, seed=seed, axes=axis)]
    except InputError:
        text = "Kaplan's law along the other axis needs three values of it, these runs have fewer"
        return [], FitWarning(WarningCode.ONE_AXIS, f"{said}; {text}")
    found = [with_doubts(fit, tables[fit.count]) for fit in fits]
    return found, FitWarning(WarningCode.ONE_AXIS, f"{said}; Kaplan's law along the other axis is fitted")


def one_axis_verdict(fits: list[Fit], shared: str) -> str:
    """Return what such runs say and do not say, in words."""
    own, other = ("one token count", "size N") if shared == "d" else ("one size", "training tokens D")
    text = (
        f"All these runs have {own}: they say how the loss falls with {other}, and nothing about how compute "
        "is best divided, so no law in N and D is fitted."
    )
    found = [fit for fit in fits if "E" in fit.estimates] or fits
    if not found:
        return text
    fit = found[0]
    values = ", ".join(f"{name} = {value:.3g}" for name, value in fit.estimates.items())
    return f"{text} L = {find_law(fit.law).formula} has {values} over {fit.nobs} runs, without interval."
