"""Robust least squares for many problems at once: every start and every bootstrap resample is one row.

Levenberg–Marquardt minimises Σ w·ρ(r) with Huber's ρ over a batch of parameter vectors and weights. `gls` is
least squares on residuals freed of the noise that the points of a trunk share. A law is solved in coordinates
z (coordinates.py); results come back in natural units.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from analysis.arrays import Array, Index, Mask
from analysis.laws import find_law, saturating
from analysis.laws.law import Law
from analysis.solve.coordinates import Coordinates, Seen
from analysis.solve.levenberg_marquardt import WIDE_TOLERANCE, huber, minimise, narrowing
from analysis.tables.seed_noise import TrunkNoise, WeightedTrunks, trunk_share
from analysis.tables.table import AXIS_NAMES, LossTable
from harness.records.errors import InputError

ESTIMATORS = ("huber", "lad", "lsq", "lsq_loss", "gls")
LAD_DELTA = 1e-7  # Huber's loss this narrow is least absolute deviations to seven digits
ITERATIONS, WIDE_ITERATIONS = 300, 25  # at the wanted width, at each wider width
KEPT_BYTES = 31 * 2**20
CACHED_NUMBERS = 40_000  # members × rows solved together: as many as the cache of a core holds
# Far starts go to the basin on so many rows of a longer table; only the last steps take all of them.
PILOT_ROWS = 2_000
LARGE = 2 * PILOT_ROWS  # rows from which on a pilot is worth its second solution
PILOT_LEAST = 50  # rows with weight that a pilot must keep for every member of a batch


@dataclass(frozen=True)
class Solution:
    """Minima of a batch: theta [batch, params] in natural units, objective [batch], converged [batch]."""

    theta: Array
    objective: Array
    converged: Mask

    @property
    def best(self) -> int:
        """Position of the lowest objective."""
        return int(np.argmin(self.objective))

    @classmethod
    def joined(cls, parts: Sequence[Solution]) -> Solution:
        """Join solutions of parts of a batch."""
        return cls(
            np.concatenate([part.theta for part in parts]),
            np.concatenate([part.objective for part in parts]),
            np.concatenate([part.converged for part in parts]),
        )


@dataclass(frozen=True)
class Problem:
    """One law on one table under one estimator.

    Attributes:
        law, table: the model and its data.
        estimator: one of ESTIMATORS.
        delta: width of Huber's loss, in log loss.
        shared: share of the noise common to a trunk, for `gls`; None measures it on the table.
    """

    law: Law
    table: LossTable
    estimator: str = "huber"
    delta: float = 1e-3
    shared: float | None = None

    @property
    def least_squares(self) -> bool:
        """Whether the loss is a square at any residual."""
        return np.isinf(self.width)

    @property
    def width(self) -> float:
        """Residual beyond which Huber's ρ grows linearly; infinite for least squares."""
        return {"huber": self.delta, "lad": LAD_DELTA}.get(self.estimator, np.inf)

    @property
    def weights(self) -> Array:
        """Weights of the rows [rows], 1 by default."""
        return np.ones(len(self.table)) if self.table.weights is None else self.table.weights

    @cached_property
    def _trunk_noise(self) -> TrunkNoise:
        shared = trunk_share(self.table) if self.shared is None else self.shared
        return TrunkNoise.of(self.table.cluster, shared)

    def independent(self, values: Array, weights: Array) -> Array:
        """Return residuals [batch, rows] or slopes [batch, rows, params] as the estimator weighs them."""
        return self._trunk_noise.remove(values, weights) if self.estimator == "gls" else values

    def _trunks(self, weights: Array) -> WeightedTrunks | None:
        """Return the noise that rows of given weights [batch, rows] share; None if they share none."""
        shares = self.estimator == "gls" and self._trunk_noise.ratio > 0
        return self._trunk_noise.weighted(weights) if shares else None

    @property
    def columns(self) -> tuple[Array, Array, Array, Array | None]:
        """N, D, C and the tokens without repetition of the table, as a law takes them."""
        table = self.table
        return table.n, table.d, table.c, table.unique_d

    @cached_property
    def pilot(self) -> tuple[Problem, Index] | None:
        """The problem on PILOT_ROWS rows spread evenly over N and D, and their positions; None for few rows.

        A minimum of the pilot starts in the basin of the minimum over all rows.
        """
        if len(self.table) < LARGE:
            return None
        order = np.lexsort((self.table.c, self.table.d, self.table.n))
        rows = np.sort(order[np.linspace(0, len(order) - 1, PILOT_ROWS).round().astype(int)])
        mask = np.zeros(len(self.table), bool)
        mask[rows] = True
        measured = self.shared is None and self.estimator == "gls"
        shared = trunk_share(self.table) if measured else self.shared
        return replace(self, table=self.table.select(mask), shared=shared), rows

    def predict(self, theta: Array) -> Array:
        """Return the losses of the law on the table, [..., rows]."""
        return self.law.value(theta, *self.columns)

    def residual(self, theta: Array, loss: Array | None = None) -> Array:
        """Return measured minus predicted, in log loss (in loss for `lsq_loss`), [..., rows]."""
        loss = self.table.loss if loss is None else loss
        predicted = self.predict(theta)
        return loss - predicted if self.estimator == "lsq_loss" else np.log(loss) - np.log(predicted)

    def objective(self, theta: Array, weights: Array | None = None, loss: Array | None = None) -> Array:
        """Return the minimised sum: Σ w·huber, Σ w·|r| for `lad`, Σ w·r²/2 for least squares.

        For `gls` r is the residual without the noise that its trunk shares.
        """
        used = self.weights if weights is None else weights
        residual = self.independent(
            self.residual(theta, loss), np.broadcast_to(used, (*theta.shape[:-1], used.shape[-1]))
        )
        sums = np.sum(used * huber(residual, self.width), axis=-1)
        return sums / LAD_DELTA if self.estimator == "lad" else sums

    def solve(
        self,
        starts: Array,
        weights: Array | None = None,
        free: Mask | None = None,
        iterations: int = ITERATIONS,
        losses: Array | None = None,
        near: bool = False,
    ) -> Solution:
        """Minimise from every start.

        Args:
            starts: parameters [batch, params], natural units.
            weights: weights [batch, rows] in the place of the table's; a resample is a weighting.
            free: parameters that may move [params]; the others keep their start.
            iterations: most steps at the wanted width.
            losses: losses [batch, rows] in the place of the table's.
            near: the starts are near the minimum, so the pilot and the wider losses that lead there are left
                out.
        """
        starts = np.atleast_2d(starts)
        shape = (len(starts), len(self.table))
        weights = np.broadcast_to(self.weights if weights is None else weights, shape)
        losses = np.broadcast_to(self.table.loss if losses is None else losses, shape)
        if not near and self.pilot is not None:
            pilot, kept = self.pilot
            if np.count_nonzero(weights[:, kept], axis=1).min() >= PILOT_LEAST:
                starts = pilot.solve(starts, weights[:, kept], free, iterations, losses[:, kept]).theta
                near = True
        usable = np.ones(len(self.law.params), bool) if free is None else free
        coordinates = Coordinates(self.law, self.table)

        def part(rows: slice) -> Solution:
            logs = self.estimator != "lsq_loss"
            measured = np.log(losses[rows]) if logs else losses[rows]
            seen = Seen(measured, weights[rows], logs, self._trunks(weights[rows]))
            theta, converged = self._solve(coordinates, starts[rows], seen, usable, iterations, near)
            return Solution(theta, self.objective(theta, weights[rows], losses[rows]), converged)

        _keep_freed_memory()
        # Arrays of one part stay in the cache of a core; a whole batch would stream through memory.
        size = max(1, CACHED_NUMBERS // len(self.table))
        return Solution.joined([part(slice(i, i + size)) for i in range(0, len(starts), size)])

    def _solve(
        self, coordinates: Coordinates, starts: Array, seen: Seen, free: Mask, iterations: int, near: bool
    ) -> tuple[Array, Mask]:
        z = coordinates.inside(coordinates.forward(starts))
        *wider, last = narrowing(self.width)
        for width in () if near else wider:
            z, _ = minimise(coordinates, z, seen, free, width, WIDE_ITERATIONS, WIDE_TOLERANCE)
        z, converged = minimise(coordinates, z, seen, free, last, iterations)
        return coordinates.backward(z), converged


@functools.cache
def _keep_freed_memory() -> None:
    """Make the C library keep freed blocks; else each new array of a step costs its page faults.

    glibc raises its threshold to the largest block freed so far, up to 32 MB; other C libraries are not
    affected. Fits become two to three times as fast.

    References: mallopt(3), M_MMAP_THRESHOLD.
    """
    block = np.empty(KEPT_BYTES, np.uint8)
    del block


# The law of the axis that is left, of a table in which the other has one value.
OTHER_AXIS = {"d": "kaplan_n_offset", "n": "kaplan_d_offset"}
DELTA = 1e-3  # Hoffmann et al. 2022, section 3.3


def checked_problem(table: LossTable, law: str, estimator: str = "huber", delta: float = DELTA) -> Problem:
    """Return the problem; raises InputError with the reason if the table cannot hold the law."""
    found = find_law(law)
    if estimator not in ESTIMATORS:
        raise InputError(
            f"there is no estimator {estimator!r}: use one of {', '.join(ESTIMATORS)}", "estimator"
        )
    if delta <= 0:
        raise InputError(f"delta is {delta:g}: expected a positive number such as {DELTA:g}")
    table.require(law, found.axes)
    need = found.n_free
    if len(table) < need:
        raise InputError(f"{len(table)} rows for the {need} parameters of {law}: give at least {need} rows")
    saturating.check_limits(found.name, float(table.loss.min()))
    if "E" in found.fixed and found.bounds["E"][0] >= table.loss.min():
        at, lowest = found.bounds["E"][0], table.loss.min()
        raise InputError(f"E is fixed at {at:g}, the lowest loss is {lowest:g}: fix it below that")
    for term in found.terms:
        name = AXIS_NAMES[term.column]
        distinct = len(np.unique(getattr(table, term.column)))
        if distinct < 2:
            other = OTHER_AXIS[term.column] if found.axes == "nd" else None
            instead = f", or fit {other}, a law of the other axis" if other else ""
            raise InputError(f"{law} needs at least two {name}, the table has {distinct}: add runs{instead}")
    if np.ptp(table.loss) == 0:
        raise InputError(
            f"all {len(table)} losses equal {table.loss[0]:g}: check the column of the loss", "loss"
        )
    if table.n_cells < need:
        raise InputError(
            f"{len(table)} rows of {table.n_cells} different cells for the {need} parameters of {law}: give "
            f"at least {need} cells, since rows of one N and D are one point of a law"
        )
    return Problem(found, table, estimator, delta)
