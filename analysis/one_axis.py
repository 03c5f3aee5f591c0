"""Tables whose runs share one token count, or one size: Kaplan's law along the other axis, and no more.

Nothing in such runs says how compute is best divided, so no law in N and D, no IsoFLOP slice, no envelope
and no frontier is read off them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis.approaches import Attempts
from analysis.kaplan import SAME, fit_kaplan
from analysis.laws import find_law
from analysis.result import Fit, Warning_, WarningCode
from analysis.table import LossTable

MISSING = (
    "laws in N and D, IsoFLOP, envelopes and a frontier are left out, because they need runs of several "
    "sizes and token counts; Kaplan's law along the other axis is fitted"
)


def shared_axis(table: LossTable) -> str | None:
    """Which axis, n or d, has one value in every row; None where both vary."""
    return next((axis for axis in ("d", "n") if np.ptp(np.log(getattr(table, axis))) < SAME), None)


def fit_other_axis(tables: Mapping[str, LossTable], shared: str, level: float, seed: int) -> Attempts:
    """Kaplan's law along the axis that varies, under every way to count N, and one warning for the rest."""
    attempts = Attempts()
    primary = next(iter(tables))
    for count, table in tables.items():
        if count == primary or shared == "d":
            what = f"a fit of Kaplan's law with N = {count}"
            axis = "n" if shared == "d" else "d"
            attempts.add(what, WarningCode.FEW_SIZES, fit_kaplan, table, level=level, seed=seed, axes=axis)
    first = tables[primary]
    held = f"on {first.d[0]:.3g} tokens" if shared == "d" else f"at one size, {first.n[0]:.3g} parameters"
    attempts.warnings.insert(0, Warning_(WarningCode.ONE_AXIS, f"every run was trained {held}: {MISSING}"))
    return attempts


def one_axis_verdict(fits: list[Fit], shared: str) -> str:
    """What such runs say, in words."""
    own, other = ("one token count", "size N") if shared == "d" else ("one size", "training tokens D")
    text = (
        f"All these runs have {own}: they say how the loss falls with {other}, and nothing about how compute "
        "is best divided, so no law in N and D is fitted."
    )
    found = [fit for fit in fits if "E" in fit.params] or fits
    if not found:
        return text
    fit = found[0]
    values = ", ".join(f"{name} = {value:.3g}" for name, value in fit.params.items())
    return f"{text} L = {find_law(fit.law).formula} has {values} over {fit.nobs} runs, without interval."
