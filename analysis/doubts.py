"""Doubts about a table itself, which travel with every fit of it."""

from __future__ import annotations

import numpy as np

from analysis.checks import FAR
from analysis.result import Fit, Warning_, WarningCode
from analysis.table import LossTable


def table_warnings(table: LossTable) -> tuple[Warning_, ...]:
    """Warns where C is far from 6·N·D in every row: frontiers under the two then differ in level."""
    ratio = table.c / (6 * table.n * table.d)
    if ratio.min() <= FAR and ratio.max() >= 1 / FAR:
        return ()
    low, high = float(ratio.min()), float(ratio.max())
    between = f"{low:.2g}" if np.isclose(low, high, rtol=0.01) else f"{low:.2g} to {high:.2g}"
    text = (
        f"C is {between} times 6·N·D in every row: N ({table.count}) leaves out parameters that C pays for, "
        "C is not the training FLOPs, or the units of a column are wrong"
    )
    return (Warning_(WarningCode.FLOPS_APART, text),)


def with_doubts(fit: Fit, table: LossTable) -> Fit:
    """The fit with the warnings of its table, each once."""
    return fit.with_warnings(*(doubt for doubt in table_warnings(table) if doubt not in fit.warnings))
