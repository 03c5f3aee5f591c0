"""Error of the evaluation set: how much of it the end points of a sweep do not share.

All end points are scored on the same text. If that text is harder than usual, every loss is higher, which
moves E and hardly anything else. Only what one end point finds harder than another does acts as noise does.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.arrays import Array
from analysis.records.fits import EvaluationRecord
from harness.records.columns import is_list

COLUMN = "loss_blocks"


def interaction_variance(log_losses: Array) -> float:
    """Return the variance of what neither a row nor a column of a table explains.

    Args:
        log_losses: log loss [end points, blocks] of each part of the evaluation text.

    Returns:
        Σ (x − mean of its row − mean of its column + mean)² over (rows − 1)·(columns − 1).

    References: Searle, Casella & McCulloch 1992, Variance Components, chapter 4, two-way classification
    with one observation a cell.
    """
    rows, columns = log_losses.shape
    rest = log_losses - log_losses.mean(axis=1, keepdims=True)
    rest = rest - rest.mean(axis=0)
    return float(np.sum(rest**2) / ((rows - 1) * (columns - 1)))


def evaluation_error(points: pd.DataFrame, seed_sd: float | None) -> EvaluationRecord | None:
    """Return the standard error of a log loss that end points do not share, and its share of the seed noise.

    The text of the evaluation split is taken as given; the error is that of scoring a part of it. Each block
    holds windows from all over the split, so blocks differ as evaluation sets of their size would.

    Args:
        points: rows of points.parquet; those without losses by block are left out.
        seed_sd: pooled standard deviation of log loss between seeds; None if unknown.

    Returns:
        The record; None with fewer than two rows or blocks, or if rows cannot be compared.
    """
    found = [np.asarray(row, float) for row in points.get(COLUMN, ()) if is_list(row)]
    if len(found) < 2 or len({len(row) for row in found}) > 1 or len(found[0]) < 2:
        return None
    losses, n_blocks = np.stack(found), len(found[0])
    if not (losses > 0).all():
        return None
    variance = interaction_variance(np.log(losses)) / n_blocks
    return EvaluationRecord(
        n_points=len(found),
        n_blocks=n_blocks,
        se_relative=float(np.sqrt(variance)),
        share=variance / seed_sd**2 if seed_sd else None,
    )
