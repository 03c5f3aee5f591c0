"""Difference of log loss between two arms as a plane over ln N and ln D, with its covariance.

The plane is fitted by generalised least squares, because pairs of one pair of trunks share noise. Rows
without a partner are held against a law of both arms, whose freedom widens the covariance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from analysis.arrays import Array, Codes, Index
from analysis.averaging.noise import LEAST_DOF, shared_noise
from analysis.compare.pairs import Pairs
from analysis.laws import Law
from analysis.records.comparison import NoiseSource
from analysis.tables.seed_noise import KNOWN_DOF, TrunkNoise
from analysis.tables.table import LossTable

USUAL_SD = 0.0045  # of log loss between seeds, pooled over results/replications
WITHOUT: dict[str, Any] = dict.fromkeys(
    ("loss_sem", "weights", "seed", "role", "unique_d", "rung", "n_layers")
)
COMMON = 0.07  # correlation of the noise of two sizes of one seed, over tests/stored/same_recipe.parquet
SIGNIFICANCE = 0.05  # of the test whether the plane misses more than seeds explain
LEAST_SPREAD = 0.2  # standard deviation of ln N, ln D, or of what one leaves of the other, that shows a slope


@dataclass(frozen=True)
class Estimate:
    """A fitted law: its form and its parameters [params]."""

    law: Law
    theta: Array

    def log_loss(self, table: LossTable) -> Array:
        """Return the log loss of every row [rows]."""
        return np.asarray(np.log(self.law.value(self.theta, table.n, table.d, table.c)))

    def slopes(self, table: LossTable) -> Array:
        """Return the derivative of the log loss by each free parameter, columns of norm 1 [rows, free]."""
        free = [index for index, name in enumerate(self.law.params) if name not in self.law.fixed]
        loss = self.law.value(self.theta, table.n, table.d, table.c)
        found = self.law.jacobian(self.theta, table.n, table.d, table.c)[:, free] / loss[:, None]
        norm = np.linalg.norm(found, axis=0)
        return np.asarray(found / np.where(norm > 0, norm, 1))


@dataclass(frozen=True)
class Difference:
    """The plane δ(N, D) = ln L of the second arm − ln L of the base arm.

    Attributes:
        centre: ln N and ln D at which δ is `value[0]` [2].
        axes: directions in ln N and ln D along which there is a slope [slopes, 2].
        value: constant and slopes [1 + slopes].  covariance: theirs, with `dof` degrees of freedom.
        sd: standard deviation of the difference of one pair of runs.
        dof: its degrees of freedom; KNOWN_DOF if it is not measured.
        source: how `sd` is known.
        rows: pairs; of unpaired arms the rows of both.
        trunks: pairs of trunks; of unpaired arms the trunks of both.
        replicates: pairs of a cell, on average.
    """

    centre: Array
    axes: Array
    value: Array
    covariance: Array
    sd: float
    dof: int
    source: NoiseSource
    rows: int
    trunks: int
    replicates: float

    def at(self, log_n: Array, log_d: Array, value: Array | None = None) -> Array:
        """Return δ at ln N and ln D.

        Args:
            log_n: ln N.  log_d: ln D, of the same shape.
            value: planes [..., 1 + slopes] that broadcast against both; the estimate by default.
        """
        value = self.value if value is None else value
        x, y = log_n - self.centre[0], log_d - self.centre[1]
        total = value[..., 0] + 0 * x
        for index, (along_n, along_d) in enumerate(self.axes):
            total = total + value[..., 1 + index] * (along_n * x + along_d * y)
        return np.asarray(total)

    def draws(self, n: int, rng: np.random.Generator) -> Array:
        """Return planes [n, 1 + slopes] about the estimate, from Student's t if the noise is measured."""
        values, vectors = np.linalg.eigh(self.covariance)
        root = vectors * np.sqrt(np.maximum(values, 0))
        shocks = rng.standard_normal((n, len(self.value))) @ root.T
        if self.dof < KNOWN_DOF:
            shocks *= np.sqrt(self.dof / rng.chisquare(self.dof, n))[:, None]
        return np.asarray(self.value + shocks)


def difference_of(
    first: LossTable, second: LossTable, pairs: Pairs | None, base: Estimate, noise: float | None = None
) -> Difference:
    """Fit the plane to the pairs of two arms, or to all their rows if there are no pairs.

    Args:
        first: finished runs of the base arm.  second: of the other arm.
        pairs: which rows belong together; None compares both arms with the law.
        base: a law of the base arm. Pairs use only its change over the sizes by which the arms differ.
        noise: standard deviation of log loss between seeds, if it is known.
    """
    if pairs is not None:
        one, two = pairs.first, pairs.second
        left, right = (np.log(table.loss) - base.log_loss(table) for table in (first, second))
        rows = _rows_of(second, two, right[two] - left[one], pairs.trunk)
        axes, design = _plane(rows, rows)
        found = _fitted(rows, design, axes, rows, None if noise is None else np.sqrt(2) * noise, pair=True)
        return found if pairs.by_seed else _with_common_noise(found, found.sd**2)
    rows = pooled(first, second)
    log_loss = np.log(rows.loss) - base.log_loss(rows)
    axes, plane = _plane(rows, second)
    plane = plane * (np.arange(len(rows)) >= len(first))[:, None]
    design = np.hstack([plane, base.slopes(rows)])
    # Without it rows of both arms in one cell would differ by more than noise.
    rough = np.linalg.lstsq(design, log_loss, rcond=None)[0][: plane.shape[1]]
    rows = replace(rows, loss=np.exp(log_loss - plane @ rough))
    found = _fitted(rows, design, axes, second, noise, pair=False)
    return _with_common_noise(replace(found, value=found.value + rough), 2 * found.sd**2)


def _with_common_noise(found: Difference, variance: float) -> Difference:
    """Return a difference of arms with other seeds: runs of one seed share noise at all sizes.

    Sizes of one seed read the same text. Where both arms have the seed, that cancels.

    Args:
        found: the difference, with noise that sizes do not share.
        variance: of the difference of two runs.
    """
    covariance = found.covariance.copy()
    covariance[0, 0] += COMMON * variance / found.replicates
    return replace(found, covariance=covariance)


def pooled(first: LossTable, second: LossTable, difference: Difference | None = None) -> LossTable:
    """Return the rows of both arms as one table, without their difference if it is given."""
    log_loss = np.log(second.loss)
    if difference is not None:
        log_loss = log_loss - difference.at(np.log(second.n), np.log(second.d))
    return replace(
        first,
        n=np.concatenate([first.n, second.n]),
        d=np.concatenate([first.d, second.d]),
        c=np.concatenate([first.c, second.c]),
        loss=np.concatenate([first.loss, np.exp(log_loss)]),
        cluster=np.concatenate([first.cluster, second.cluster + first.cluster.max() + 1]),
        row=np.arange(len(first) + len(second)),
        limits=first.limits if first.limits == second.limits else None,
        **WITHOUT,
    )


def _rows_of(table: LossTable, rows: Index, log_loss: Array, trunk: Codes) -> LossTable:
    """Return rows of a table with other log losses and trunks."""
    return replace(
        table,
        n=table.n[rows],
        d=table.d[rows],
        c=table.c[rows],
        loss=np.exp(log_loss),
        cluster=trunk,
        row=np.arange(len(rows)),
        limits=None,
        **WITHOUT,
    )


def _plane(rows: LossTable, centred_on: LossTable) -> tuple[Array, Array]:
    """Return the directions that have a slope [slopes, 2] and the columns of the plane [rows, 1 + slopes].

    An axis along which the second arm hardly varies has none. If D follows N they share one.
    """
    x, y = np.log(rows.n), np.log(rows.d)
    own = np.column_stack([np.log(centred_on.n), np.log(centred_on.d)])
    centre = own.mean(axis=0)
    spread = own.std(axis=0)
    axes = np.eye(2)[spread >= LEAST_SPREAD]
    if len(axes) == 2:
        apart = spread * np.sqrt(max(1 - np.corrcoef(own.T)[0, 1] ** 2, 0))
        if apart.min() < LEAST_SPREAD:
            axes = np.array([[1.0, 1.0]])
    place = np.column_stack([x - centre[0], y - centre[1]])
    return axes, np.column_stack([np.ones(len(rows)), place @ axes.T])


def _fitted(
    rows: LossTable, design: Array, axes: Array, centred_on: LossTable, noise: float | None, *, pair: bool
) -> Difference:
    """Return the plane by generalised least squares; its columns lead `design` [rows, columns]."""
    share, _ = shared_noise(rows)
    freed = TrunkNoise.of(rows.cluster, share)
    alike = np.ones(len(rows))
    x, y = freed.remove(design, alike), freed.remove(np.log(rows.loss), alike)
    coefficients, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
    rest = y - x @ coefficients
    spread = _spread(rows, freed, y, float(rest @ rest), int(rank), len(axes) + 1, noise, pair, share)
    wanted = 1 + len(axes)
    covariance = spread.unit * np.linalg.pinv(x.T @ x)[:wanted, :wanted]
    return Difference(
        centre=np.array([np.log(centred_on.n).mean(), np.log(centred_on.d).mean()]),
        axes=axes,
        value=np.asarray(coefficients[:wanted], float),
        covariance=np.asarray(covariance, float),
        sd=float(np.sqrt(spread.unit / (1 - share))),
        dof=spread.dof,
        source=spread.source,
        rows=len(rows),
        trunks=len(np.unique(rows.cluster)),
        replicates=len(rows) / rows.n_cells,
    )


@dataclass(frozen=True)
class _Spread:
    """Variance of a row that is freed of trunk noise, with its degrees of freedom and source."""

    unit: float
    dof: int
    source: NoiseSource


def _spread(
    rows: LossTable,
    freed: TrunkNoise,
    y: Array,
    around: float,
    rank: int,
    n_plane: int,
    noise: float | None,
    pair: bool,
    share: float,
) -> _Spread:
    """Return the variance around the plane: between seeds, or of what the plane misses if that is more.

    Args:
        rows: the rows.  freed: their transformation.  y: transformed log losses.
        around: sum of squares around the plane.  rank: of the design.  n_plane: columns of the plane.
        noise: given standard deviation of a row.  pair: whether a row is the difference of two runs.
        share: share of the variance common to a trunk.
    """
    if noise is not None:
        return _Spread(noise**2 * (1 - share), KNOWN_DOF, NoiseSource.GIVEN)
    cells = np.zeros((len(rows), rows.n_cells))
    cells[np.arange(len(rows)), rows.cell] = 1.0
    z = freed.remove(cells, np.ones(len(rows)))
    within = y - z @ np.linalg.lstsq(z, y, rcond=None)[0]
    pure, pure_dof = float(within @ within), len(rows) - rows.n_cells
    trunks = len(np.unique(rows.cluster))
    # Trunks, not their points, tell how far seeds differ.
    spare = min(len(rows) - rank, trunks - min(n_plane, 2) if trunks < len(rows) else len(rows))
    if pure_dof >= LEAST_DOF and spare >= 2:
        missed_dof = rows.n_cells - rank
        missed = max(around - pure, 0.0) / max(missed_dof, 1)
        if missed_dof >= LEAST_DOF and pure > 0:
            p = float(stats.f.sf(missed / (pure / pure_dof), missed_dof, pure_dof))
            if p < SIGNIFICANCE:
                return _Spread(missed, missed_dof, NoiseSource.MISSED)
        return _Spread(around / (len(rows) - rank), spare, NoiseSource.SEEDS)
    assumed = USUAL_SD**2 * (2 if pair else 1) * (1 - share)
    if spare >= LEAST_DOF:
        scatter = around / (len(rows) - rank)
        return _Spread(scatter, spare, NoiseSource.SCATTER)
    return _Spread(assumed, KNOWN_DOF, NoiseSource.ASSUMED)
