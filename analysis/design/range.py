"""Whether cells cover enough of N and D to tell a law: refusals, and doubts with stable codes."""

from __future__ import annotations

import numpy as np

from analysis.arrays import Array
from analysis.records.warning_codes import FitWarning, WarningCode
from harness.records.errors import InputError

SAME_SIZE = 1.05  # sizes within this factor are one
CONSTANT = 1.25  # D over a power of N within this factor is constant
RISING = 0.1  # power from which on D grows with N; at fixed compute it falls, and tells both apart
SHORT = 4.0  # factor of N, of D or of C below which a range is short


def check_range(n: Array, d: Array) -> None:
    """Raise InputError if runs cannot tell a law in N and D: one size, one D, or D that follows N."""
    doubt = degenerate(n, d)
    if doubt is not None:
        raise InputError(doubt.message)


def degenerate(n: Array, d: Array) -> FitWarning | None:
    """Return why no law in N and D follows from runs of N and D; None if one does."""
    if span(n) < SAME_SIZE:
        return FitWarning(
            WarningCode.ONE_SIZE,
            f"all {len(n)} runs have N = {n[0]:.3g}, which says nothing of how the loss falls with size: add "
            "a second and a third size",
        )
    if span(d) < SAME_SIZE:
        return FitWarning(
            WarningCode.SHORT_RANGE,
            f"all {len(n)} runs have D = {d[0]:.3g}, which says nothing of how the loss falls with data: add "
            "other token counts",
        )
    log_n, log_d = np.log(n) - np.mean(np.log(n)), np.log(d) - np.mean(np.log(d))
    power = float(log_n @ log_d / (log_n @ log_n))
    if power > RISING and span(np.exp(log_d - power * log_n)) < CONSTANT:
        same = span(d / n) < CONSTANT
        how = f"D/N is {d[0] / n[0]:.3g}" if same else f"D is proportional to N^{power:.2f}"
        return FitWarning(
            WarningCode.CONSTANT_RATIO,
            f"{how} in all {len(n)} runs, so size and data cannot be told apart: add runs with other token "
            "counts at two or more sizes",
        )
    return None


def range_doubts(n: Array, d: Array, c: Array) -> tuple[FitWarning, ...]:
    """Return a doubt if the runs cover too short a range of N, of D or of C."""
    short = [
        f"{name} by a factor of {span(values):.2g}"
        for name, values in (("N", n), ("D", d), ("C", c))
        if span(values) < SHORT
    ]
    if not short:
        return ()
    return (
        FitWarning(
            WarningCode.SHORT_RANGE,
            f"the runs differ in {' and '.join(short)} alone, and exponents follow from ratios: spread N, D "
            f"and C by {SHORT:g} or more",
        ),
    )


def span(values: Array) -> float:
    """Return the largest over the smallest value."""
    return float(np.max(values) / np.min(values))
