"""How much a loss moves between seeds, and draws of that noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.table import LossTable

F64 = NDArray[np.float64]

ASSUMED_SD = 0.002  # relative, where neither seeds nor residuals measure it
KNOWN_DOF = 1000  # from here on the standard deviation counts as known


@dataclass(frozen=True)
class Noise:
    """Noise of log loss: its standard deviation, the degrees of freedom behind it, where it came from."""

    sd: float
    dof: int
    source: str


def seed_noise(table: LossTable) -> tuple[float, int]:
    """Sum of squares and degrees of freedom of log loss within the cells that have several rows."""
    log_loss = np.log(table.loss)
    total, dof = 0.0, 0
    for cell in np.unique(table.cell):
        values = log_loss[table.cell == cell]
        total += float(np.sum((values - values.mean()) ** 2))
        dof += len(values) - 1
    return total, dof


def draw_noise(table: LossTable, noise: Noise, resamples: int, rng: np.random.Generator) -> F64:
    """Noise of log loss [rows, resamples], common to the rows of a trunk.

    The variance itself is drawn (scaled inverse chi-square), so that few degrees of freedom widen the
    intervals as Student's t does.
    """
    clusters, codes = np.unique(table.cluster, return_inverse=True)
    shocks = rng.standard_normal((len(clusters), resamples))
    scale = np.sqrt(noise.dof / rng.chisquare(noise.dof, resamples)) if noise.dof < KNOWN_DOF else 1.0
    return np.asarray(noise.sd * scale * shocks[codes])


def noise_report(points: pd.DataFrame) -> dict[str, Any]:
    """Spread between seeds of every cell of our own table that has several, and the pooled relative one.

    `points` holds the rows that fits see; a cell is (rung, n_tokens).
    """
    cells, total, dof = [], 0.0, 0
    for _, rows in points.groupby(["rung", "n_tokens"], sort=False):
        losses = rows.loss
        if len(losses) < 2:
            continue
        sd = float(losses.std())
        cells.append(
            {
                "rung": str(rows.rung.iloc[0]),
                "n_tokens": int(rows.n_tokens.iloc[0]),
                "n_seeds": len(losses),
                "sd": sd,
                "sd_relative": sd / float(losses.mean()),
            }
        )
        total += (len(losses) - 1) * float(np.log(losses).var())
        dof += len(losses) - 1
    return {"cells": cells, "pooled_relative": float(np.sqrt(total / dof)) if dof else None}
