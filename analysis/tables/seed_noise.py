"""Noise of losses: the spread between seeds, what a trunk shares of it, draws of it, and evaluation error.

All end points are scored on the same text. If that text is harder than usual, every loss is higher, which
moves E and hardly anything else. Only what one end point finds harder than another does acts as noise does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.arrays import Array, Codes, Index, Mask, groups
from analysis.records.fit import RunNoiseRecord
from analysis.records.fits import EvaluationRecord, NoiseCell, NoiseRecord
from analysis.tables.table import LossTable
from harness.records.columns import is_list

# Misfit of a law varies along a trunk, unlike shared noise; so a part of the noise always counts as separate.
MAX_TRUNK_SHARE = 0.8
ASSUMED_SD = 0.002  # relative, if neither seeds nor residuals measure it
LOSS_BLOCKS = "loss_blocks"  # column of losses by part of the evaluation text
KNOWN_DOF = 1000  # from here on the standard deviation counts as known


@dataclass(frozen=True)
class Noise:
    """Noise of log loss: standard deviation, its degrees of freedom, and the source of the measurement."""

    sd: float
    dof: int
    source: str

    def to_record(self) -> RunNoiseRecord:
        return RunNoiseRecord(self.sd, self.dof, self.source)


def seed_noise(table: LossTable, weights: Array | None = None) -> tuple[float, int]:
    """Return sum of squares and degrees of freedom of log loss within cells that have several rows.

    `weights` [rows], equal within a cell, weigh the squares.
    """
    log_loss = np.log(table.loss) * (1.0 if weights is None else np.sqrt(weights))
    total, dof = 0.0, 0
    for rows in groups(table.cell):
        if len(rows) == 1:
            continue
        values = log_loss[rows]
        total += float(np.sum((values - values.mean()) ** 2))
        dof += len(values) - 1
    return total, dof


def trunk_share(table: LossTable) -> float:
    """Return the share of the seed noise of log loss that is common to the points of a trunk.

    It is the intraclass correlation, clipped to 0 … MAX_TRUNK_SHARE. Let e be the deviation of a row from the
    mean of its cell. The share is the mean product of e over pairs of points of a trunk, over the mean of e².
    It is 0 if nothing measures it, because no trunk shares two cells with another.
    """
    log_loss, cells = np.log(table.loss), table.cell
    means = np.bincount(cells, log_loss) / np.bincount(cells)
    repeated = np.bincount(cells)[cells] > 1
    deviation = (log_loss - means[cells])[repeated]
    trunks = table.cluster[repeated]
    square, product, pairs = float(np.sum(deviation**2)), 0.0, 0
    for rows in groups(trunks):
        own = deviation[rows]
        product += float(np.sum(own) ** 2 - np.sum(own**2))
        pairs += len(own) * (len(own) - 1)
    if pairs == 0 or square == 0:
        return 0.0
    return float(np.clip(product / pairs / (square / len(deviation)), 0.0, MAX_TRUNK_SHARE))


@dataclass(frozen=True)
class TrunkNoise:
    """Noise with a part common to each trunk, and the transformation that leaves independent rows.

    Let the common variance be `ratio` times the variance of a row. Subtract 1 − (1 + ratio·k)^−½ times their
    mean from the k rows of a trunk: they become independent with equal variance. Least squares on the result
    is generalised least squares.

    Attributes:
        trunk: code of the trunk of every row [rows], from 0.
        order: rows sorted by trunk.  first: position of each trunk in `order`.
        ratio: common variance over that of a row.

    References: Fuller & Battese 1973, JASA 68, random-effects transformation.
    """

    trunk: Codes
    order: Index
    first: Index
    ratio: float

    @classmethod
    def of(cls, cluster: Codes, share: float) -> TrunkNoise:
        """Make it from the trunk of every row [rows] and the share of the variance common to a trunk."""
        codes = np.unique(cluster, return_inverse=True)[1]
        order = np.argsort(codes, kind="stable")
        return cls(codes, order, np.flatnonzero(np.diff(codes[order], prepend=-1)), share / (1 - share))

    def remove(self, values: Array, weights: Array) -> Array:
        """Return `values` [..., rows] or [..., rows, params] made independent, over rows with weight > 0.

        `weights` [..., rows] are equal within a trunk, or 0.
        """
        return values if self.ratio == 0 else self.weighted(weights).remove(values)

    def weighted(self, weights: Array) -> WeightedTrunks:
        """Return what depends on the weights [..., rows] alone, for many values."""
        total = self.sums(weights)
        taken = 1 - 1 / np.sqrt(1 + self.ratio * self.sums((weights > 0).astype(float)))
        return WeightedTrunks(self, weights, np.where(total > 0, total, 1.0), taken)

    def sums(self, values: Array) -> Array:
        """Return the sum over the rows of each trunk, [..., trunks]."""
        # np.take, unlike values[..., order], leaves the rows next to each other in memory.
        return np.asarray(np.add.reduceat(np.take(values, self.order, axis=-1), self.first, axis=-1))


@dataclass(frozen=True)
class WeightedTrunks:
    """Trunk noise of rows with given weights.

    Attributes:
        noise: its structure.
        weights: of the rows [..., rows], equal within a trunk, or 0.
        total: sum of the weights of each trunk, 1 if that is 0 [..., trunks].
        taken: share of a trunk's mean that is subtracted [..., trunks].
    """

    noise: TrunkNoise
    weights: Array
    total: Array
    taken: Array

    def of(self, running: Codes | Mask) -> WeightedTrunks:
        """Return the trunks of some members of a batch."""
        return WeightedTrunks(self.noise, self.weights[running], self.total[running], self.taken[running])

    def remove(self, values: Array) -> Array:
        """Return `values` [..., rows] or [..., rows, params] made independent, over rows with weight > 0."""
        if values.ndim == self.weights.ndim:
            return self._remove(values, self.weights, self.total, self.taken)
        # Rows last: a trunk is then a stretch of neighbours in memory.
        weights, total, taken = (each[..., None, :] for each in (self.weights, self.total, self.taken))
        return self._remove(values.swapaxes(-1, -2), weights, total, taken).swapaxes(-1, -2)

    def _remove(self, values: Array, weights: Array, total: Array, taken: Array) -> Array:
        mean = self.noise.sums(weights * values) / total
        return np.asarray(values - np.take(taken * mean, self.noise.trunk, axis=-1))


def draw_noise(table: LossTable, noise: Noise, resamples: int, rng: np.random.Generator) -> Array:
    """Draw noise of log loss [rows, resamples], common to the rows of a trunk.

    The variance itself is drawn (scaled inverse chi-square), so that few degrees of freedom widen the
    intervals as Student's t does.
    """
    clusters, codes = np.unique(table.cluster, return_inverse=True)
    shocks = rng.standard_normal((len(clusters), resamples))
    return np.asarray(noise.sd * drawn_scale(noise.dof, resamples, rng) * shocks[codes])


def drawn_scale(dof: int, resamples: int, rng: np.random.Generator) -> Array:
    """Draw σ/s [resamples] for a standard deviation s of `dof` degrees of freedom: inverse chi-square."""
    if dof >= KNOWN_DOF:
        return np.ones(resamples)
    return np.sqrt(dof / rng.chisquare(dof, resamples))


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
    found = [np.asarray(row, float) for row in points.get(LOSS_BLOCKS, ()) if is_list(row)]
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


def noise_report(points: pd.DataFrame) -> NoiseRecord:
    """Return the spread between seeds of every cell of our own table, pooled too, and the evaluation error.

    `points` holds the rows that fits see; a cell is (rung, n_tokens), and cells with one seed are left out.
    """
    cells, total, dof = [], 0.0, 0
    for _, rows in points.groupby(["rung", "n_tokens"], sort=False):
        losses = rows.loss
        if len(losses) < 2:
            continue
        sd = float(losses.std())
        cells.append(
            NoiseCell(
                rung=str(rows.rung.iloc[0]),
                n_tokens=int(rows.n_tokens.iloc[0]),
                n_seeds=len(losses),
                sd=sd,
                sd_relative=sd / float(losses.mean()),
            )
        )
        total += (len(losses) - 1) * float(np.log(losses).var())
        dof += len(losses) - 1
    pooled = float(np.sqrt(total / dof)) if dof else None
    return NoiseRecord(tuple(cells), pooled, evaluation_error(points, pooled))
