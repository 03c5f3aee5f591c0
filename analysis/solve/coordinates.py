"""The coordinates in which a law is fitted: centred columns, logarithms of coefficients and scales.

In natural units A and alpha are almost collinear: exp(alpha·ln N) changes A by orders of magnitude. After
each column is divided by its geometric mean, the two hardly interact. A coefficient is positive and spans
many orders of magnitude, so its logarithm takes steps of even size and needs no bound at 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from analysis.arrays import Array, Codes, Mask
from analysis.laws.law import Law, Remembered, centre_of
from analysis.tables.seed_noise import WeightedTrunks
from analysis.tables.table import LossTable


def centred_columns(table: LossTable, centre: Mapping[str, float]) -> tuple[Array, Array, Array, Array]:
    """Return N, D, C and the tokens without repetition, each divided by its centre."""
    n, d, c = table.n / centre["n"], table.d / centre["d"], table.c / centre["c"]
    return n, d, c, d if table.unique_d is None else table.unique_d / centre["d"]


class Seen(NamedTuple):
    """The data of a batch [batch, rows]: losses, or with `logs` their logarithms, and weights.

    `trunks` hold noise that rows share; without them all rows are independent.
    """

    measured: Array
    weights: Array
    logs: bool
    trunks: WeightedTrunks | None = None

    def of(self, running: Codes | Mask) -> Seen:
        """Return the data of some members of the batch."""
        trunks = None if self.trunks is None else self.trunks.of(running)
        return Seen(self.measured[running], self.weights[running], self.logs, trunks)

    def independent(self, values: Array) -> Array:
        """Return residuals [batch, rows] or slopes [batch, rows, params] without noise that rows share."""
        return values if self.trunks is None else self.trunks.remove(values)


class Coordinates:
    """The map between natural parameters theta and coordinates z, both [batch, params]."""

    def __init__(self, law: Law, table: LossTable) -> None:
        self.law = law
        self.centre = centre_of(table)
        self.columns = centred_columns(table, self.centre)
        logarithmic = {term.coefficient for term in law.terms} | set(law.scales)
        self.is_log = np.array([name in logarithmic for name in law.params])
        limits = np.array([law.bounds[name] for name in law.params], dtype=float)
        with np.errstate(divide="ignore"):
            limits[self.is_log] = np.log(limits[self.is_log])
        self.low, self.high = limits[:, 0], limits[:, 1]
        # The solver takes the slope where it took the residual.
        self._centred_once = Remembered(self.centred)

    def forward(self, theta: Array) -> Array:
        """Return z of natural parameters."""
        centred = self.law.centred(theta, self.centre)
        return np.where(self.is_log, np.log(np.where(self.is_log, centred, 1.0)), centred)

    def backward(self, z: Array) -> Array:
        """Return the natural parameters of z."""
        return self.law.rescale(self.centred(z), self.centre)

    def centred(self, z: Array) -> Array:
        """Return the parameters for centred columns."""
        # np.where evaluates both sides: exp of a parameter that is no logarithm could overflow.
        return np.where(self.is_log, np.exp(np.where(self.is_log, z, 0.0)), z)

    def inside(self, z: Array) -> Array:
        """Return z clipped to the bounds."""
        return np.minimum(np.maximum(z, self.low), self.high)

    def residual(self, z: Array, seen: Seen) -> Array:
        """Return measured minus predicted, [batch, rows]. Nobody may change z afterwards."""
        predicted = self.law.value_of(self._centred_once(z), *self.columns)
        return seen.measured - (np.log(predicted) if seen.logs else predicted)

    def slope(self, z: Array, residual: Array, seen: Seen) -> Array:
        """Return the derivative by z of the prediction or its logarithm, [batch, rows, params].

        `residual` [batch, rows] is the residual at z.
        """
        theta = self._centred_once(z)
        jacobian = self.law.jacobian_of(theta, *self.columns)
        # d/d ln A = A·d/dA. In place, one factor after the other: the rows stay next to each other in memory.
        jacobian *= np.where(self.is_log, theta, 1.0)[:, None, :]
        if seen.logs:
            # 1/prediction, without another evaluation of the law: ln prediction = measured − residual.
            jacobian *= np.exp(residual - seen.measured)[..., None]
        return jacobian
