"""Noise that laws are weighed with: between seeds, common to a trunk, and what no law explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.tables.noise import TrunkNoise, seed_noise, trunk_share
from analysis.tables.table import LossTable

USUAL_SHARE, USUAL_DOF = 0.8, 8  # the share where few repeated cells measure it, and how many it counts as
MAX_CELLS = 1_000  # of a table whose repeated cells are separated from the trunks by least squares
LEAST_DOF = 4  # degrees of freedom from which repeated cells measure the noise


@dataclass(frozen=True)
class LawNoise:
    """Noise of log loss around a law.

    Attributes:
        sd: standard deviation of a row, with what no law explains.
        share: share of the variance common to the rows of a trunk.
        dof: degrees of freedom of `sd`.
        pure: sum of squares within cells, freed of trunk noise; 0 without repeats.
    """

    sd: float
    share: float
    dof: int
    pure: float

    @property
    def unit(self) -> float:
        """Variance of a row that is freed of trunk noise, as `gls` sees it."""
        return self.sd**2 * (1 - self.share)


def shared_noise(table: LossTable) -> tuple[float, int]:
    """Return the share of the noise that a trunk has in common, and its degrees of freedom.

    Repeated cells measure the share. If few cells are repeated, the measured share is averaged with
    USUAL_SHARE, which counts as USUAL_DOF degrees of freedom. For separate runs the share is 0.
    """
    trunks = len(np.unique(table.cluster))
    if trunks == len(table):
        return 0.0, len(table)
    repeated = np.bincount(table.cell)[table.cell] > 1
    groups_of_seeds = len(np.unique(table.n[repeated]))
    dof = max(len(np.unique(table.cluster[repeated])) - groups_of_seeds, 0)
    measured = trunk_share(table) if dof else 0.0
    return (dof * measured + USUAL_DOF * USUAL_SHARE) / (dof + USUAL_DOF), dof + USUAL_DOF


def pure_error(table: LossTable, share: float) -> tuple[float, int]:
    """Return sum of squares and degrees of freedom within cells, of log losses freed of trunk noise."""
    total, dof = seed_noise(table)
    if dof < LEAST_DOF:
        return 0.0, 0
    if share == 0 or table.n_cells > MAX_CELLS:
        return total * (1 - share), dof
    codes = np.unique(table.cell, return_inverse=True)[1]
    cells = np.zeros((table.n_cells, len(table)))
    cells[codes, np.arange(len(table))] = 1.0
    rows = np.vstack([cells, np.log(table.loss)])
    freed = TrunkNoise.of(table.cluster, share).remove(rows, np.ones_like(rows))
    design, values = freed[:-1].T, freed[-1]
    rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return float(rest @ rest), dof


def law_noise(
    table: LossTable, share: float, share_dof: int, sums: Sequence[float], n_free: Sequence[int]
) -> LawNoise:
    """Return the noise around the best law.

    The variance is the larger of two: that within cells, and that of the means of cells around the best law.
    A law that misses its own runs will miss new runs by as much.

    Args:
        table: the fitted runs.
        share: share of the noise common to a trunk.  share_dof: its degrees of freedom.
        sums: of squares around each law, freed of trunk noise.
        n_free: free parameters of each law.
    """
    pure, pure_dof = pure_error(table, share)
    spare = [max(table.n_cells - free, 1) if pure_dof else max(len(table) - free, 1) for free in n_free]
    around = [max(total - pure, 0.0) / left for total, left in zip(sums, spare, strict=True)]
    best = int(np.argmin(around))
    variance, dof = around[best], spare[best]
    if pure_dof:
        variance, dof = max((variance, dof), (pure / pure_dof, pure_dof))
    return LawNoise(float(np.sqrt(variance / (1 - share))), share, min(dof, share_dof), pure)
