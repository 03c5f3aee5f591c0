"""Warnings about a table itself, which every fit of it carries."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.result import Fit
from analysis.tables.checks import FAR
from analysis.tables.columns import cell_axes
from analysis.tables.seed_noise import seed_noise
from analysis.tables.table import LossTable

MIXED_SD = 0.02  # relative, within cells; seeds of one recipe differ by a fifth of this or less


def table_warnings(table: LossTable) -> tuple[FitWarning, ...]:
    """Return warnings if C is far from 6·N·D, rows of equal N and D hardly agree, or depth moves.

    Doubts that were found when the table was read come with them.
    """
    return (*table.warnings, *_flops_apart(table), *_mixed_cells(table), *_moving_depth(table))


def with_doubts(fit: Fit, table: LossTable) -> Fit:
    """Return the fit with the warnings of its table, each once."""
    return fit.with_warnings(*(doubt for doubt in table_warnings(table) if doubt not in fit.warnings))


def _flops_apart(table: LossTable) -> Iterator[FitWarning]:
    if table.absent:
        return
    ratio = table.c / (6 * table.n * table.d)
    low, high = float(ratio.min()), float(ratio.max())
    if low <= FAR and high >= 1 / FAR:
        return
    between = f"{low:.2g}" if np.isclose(low, high, rtol=0.01) else f"{low:.2g} to {high:.2g}"
    text = (
        f"C is {between} times 6·N·D in every row: N ({table.count}) leaves out parameters that C pays for, "
        "C is not the training FLOPs, or the units of a column are wrong"
    )
    yield FitWarning(WarningCode.FLOPS_APART, text)


def _mixed_cells(table: LossTable) -> Iterator[FitWarning]:
    total, dof = seed_noise(table)
    sd = float(np.sqrt(total / dof)) if dof else 0.0
    if sd <= MIXED_SD or WarningCode.UNTUNED_CELLS in {warning.code for warning in table.warnings}:
        return
    text = (
        f"rows of equal {cell_axes(table.absent)} differ by {100 * sd:.2g} % in loss, far more than seeds "
        "do: keep the rows of one data set and recipe by a condition on a column"
    )
    yield FitWarning(WarningCode.MIXED_CELLS, text)


def _moving_depth(table: LossTable) -> Iterator[FitWarning]:
    depths = np.unique(table.n_layers) if table.n_layers is not None else np.empty(0)
    if len(depths) < 2:
        return
    text = (
        f"the models have {depths[0]} to {depths[-1]} layers: a law of N and D holds along these shapes "
        "alone, and no interval knows what another shape adds to a loss"
    )
    yield FitWarning(WarningCode.MOVING_DEPTH, text)
