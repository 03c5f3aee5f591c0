"""Noise that laws are weighed with: between seeds, common to a trunk, by size, and what no law explains.

Large models differ less between seeds than small ones. In the sweeps of results/replications the standard
deviation of log loss falls as N^-q. A table of trunks measures q by its repeated sizes; the little that a few
seeds say is averaged with the usual q.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.arrays import Array, groups
from analysis.tables.seed_noise import TrunkNoise, seed_noise, trunk_share
from analysis.tables.table import LossTable

USUAL_SHARE, USUAL_DOF = 0.8, 8  # the share where few repeated cells measure it, and how many it counts as
MAX_CELLS = 1_000  # of a table whose repeated cells are separated from the trunks by least squares
LEAST_DOF = 4  # degrees of freedom from which repeated cells measure the noise


# Exponent of the standard deviation over N, and how far it differs between sweeps.
USUAL_EXPONENT, EXPONENT_SD = 0.2, 0.1
FARTHEST = 10.0  # times the largest measured N: from here on the noise is taken to fall no more


@dataclass(frozen=True)
class NoiseBySize:
    """How the standard deviation of log loss falls with N: `unit`·N^-exponent times that of `LawNoise`.

    Attributes:
        exponent: q.
        unit: makes the mean of 1/relative² over the rows of the table 1.
        largest: largest N of the table.
    """

    exponent: float
    unit: float
    largest: float

    @classmethod
    def of(cls, table: LossTable, exponent: float) -> NoiseBySize:
        """Make it from a table and an exponent."""
        return cls(exponent, float(np.sqrt(np.mean(table.n ** (2 * exponent)))), float(table.n.max()))

    def relative(self, n: Array) -> Array:
        """Return the standard deviation at each N over that of `LawNoise`."""
        return np.asarray(self.unit * np.minimum(n, FARTHEST * self.largest) ** -self.exponent)


@dataclass(frozen=True)
class LawNoise:
    """Noise of log loss around a law.

    Attributes:
        sd: standard deviation of a row of weight 1, with what no law explains.
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


def noise_by_size(table: LossTable) -> NoiseBySize:
    """Return how the noise falls with N; not at all in a table without trunks.

    ln s of each repeated size is compared with ln N. The result is averaged with USUAL_EXPONENT by precision.
    The trunks of a size count once, however many cells they share.

    References: Bartlett & Kendall 1946, JRSS Supplement 8 (logarithms of variances).
    """
    if len(np.unique(table.cluster)) == len(table):
        return NoiseBySize.of(table, 0.0)
    log_n, log_sd, precision = [], [], []
    for rows in groups(table.n):
        total, dof = seed_noise(table.select(np.isin(np.arange(len(table)), rows)))
        trunks = len(np.unique(table.cluster[rows])) - 1
        if dof and trunks and total:
            bias = special.digamma(trunks / 2) - np.log(trunks / 2)
            log_n.append(np.log(table.n[rows[0]]))
            log_sd.append((np.log(total / dof) - bias) / 2)
            precision.append(4 / special.polygamma(1, trunks / 2))
    usual = 1 / EXPONENT_SD**2
    if len(log_n) < 2:
        return NoiseBySize.of(table, USUAL_EXPONENT)
    x, weight = np.array(log_n), np.array(precision)
    x = x - np.average(x, weights=weight)
    known = float(weight @ x**2)
    slope = -float(weight @ (x * np.array(log_sd)))
    return NoiseBySize.of(table, (slope + usual * USUAL_EXPONENT) / (known + usual))


def pure_error(table: LossTable, share: float) -> tuple[float, int]:
    """Return sum of squares and degrees of freedom within cells, of log losses freed of trunk noise.

    Squares are weighed by the weights of the table, which are equal within a cell.
    """
    total, dof = seed_noise(table, table.weights)
    if dof < LEAST_DOF:
        return 0.0, 0
    if share == 0 or table.n_cells > MAX_CELLS:
        return total * (1 - share), dof
    codes = np.unique(table.cell, return_inverse=True)[1]
    cells = np.zeros((table.n_cells, len(table)))
    cells[codes, np.arange(len(table))] = 1.0
    rows = np.vstack([cells, np.log(table.loss)])
    freed = TrunkNoise.of(table.cluster, share).remove(rows, np.ones_like(rows))
    if table.weights is not None:
        freed = freed * np.sqrt(table.weights)
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
