"""What the laws that describe the rows say together: the exponent a, and the best loss of a larger run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.frontier import find_frontier
from analysis.laws import family, saturating
from analysis.result import Fit
from analysis.tables.table import LossTable
from harness.records.number_text import power_of_ten

BEYOND = 10.0  # times the largest compute: how far a table of runs is commonly used
NO_LIMITS = (
    f"the {saturating.FAMILY} law did not compete, because the table has no loss U of a unigram model and no "
    "vocabulary: if it holds, new runs of larger compute miss the intervals of the others more often than "
    "these say; map columns to unigram and vocab, or name the law saturating(U,V)"
)


def verdict_of(fits: Sequence[Fit], table: LossTable) -> str | None:
    """Return in words what the fitted laws in N and D that describe the rows say; None without such a law.

    The range of a and that of the loss span the intervals of all of them (their estimates without bootstrap).
    """
    standing = [fit for fit in fits if _stands(fit, table)]
    if not standing:
        return None
    flops = BEYOND * float(table.c.max())
    ends_a, ends_loss = [], []
    for fit in standing:
        curve = find_frontier(fit, table, flops)
        ends_a += [fit.exponents.a, *(fit.exponents.a_interval or ())]
        ends_loss += [float(curve.loss[0]), *curve.loss_interval[0].tolist()]
    named = ", ".join(family(fit.law) for fit in standing)
    several = f"the laws that describe these rows ({named}) give" if standing[1:] else f"{named} gives"
    exponents = [end for end in ends_a if end is not None]
    text = (
        f"{several} a between {min(exponents):.3f} and {max(exponents):.3f}, and between "
        f"{np.nanmin(ends_loss):.3f} and {np.nanmax(ends_loss):.3f} nats per token for the best division of "
        f"{power_of_ten(flops)} FLOPs, {BEYOND:g} times the largest fitted compute"
    )
    return text if table.limits else f"{text}; {NO_LIMITS}"


def _stands(fit: Fit, table: LossTable) -> bool:
    """Return whether a fit is one in N and D under the table's count whose law no test rejects."""
    return (
        fit.approach == "parametric"
        and fit.count == table.count
        and fit.exponents.a is not None
        and (fit.description is None or fit.description.holds is not False)
    )
