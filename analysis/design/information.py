"""The information that cells carry about a law, and the spread of its estimate that follows from it.

The estimate is that of `analysis.fit`: Huber's loss of log-loss residuals, every row alike, whatever noise
the rows of a trunk share. Its spread is a sandwich (influence.py). For `lsq` the width is infinite. For `gls`
the rows are freed of the noise of their trunk first: the spread is the inverse of Fisher's information.

References: White 1980 (Econometrica 48, sandwich); Atkinson, Donev & Tobias 2007, Optimum Experimental
Designs with SAS, chapters 9 and 17 (information of a nonlinear model, c-optimality).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analysis.arrays import Array, Codes
from analysis.design.influence import WEIGHTS, common_part, inside, second_moment
from analysis.laws.law import Law, centre_of
from analysis.solve.problem import DELTA, ESTIMATORS, LAD_DELTA
from analysis.tables.table import LossTable
from harness.records.errors import InputError

SINGULAR = 1e12  # condition of the information from which on nothing is determined


@dataclass(frozen=True)
class Cells:
    """Runs of a design.

    Attributes:
        n: parameters [cells].  d: training tokens [cells].  c: training FLOPs [cells].
        trunk: code of the trunk that each run branches from [cells].
    """

    n: Array
    d: Array
    c: Array
    trunk: Codes

    def __len__(self) -> int:
        return len(self.n)

    @classmethod
    def of(cls, table: LossTable) -> Cells:
        """Return the runs of a table."""
        return cls(table.n, table.d, table.c, table.cluster)

    def with_cell(self, n: float, d: float, c: float, trunk: int) -> Cells:
        """Return the design with one more run."""
        return Cells(
            np.append(self.n, n), np.append(self.d, d), np.append(self.c, c), np.append(self.trunk, trunk)
        )


@dataclass(frozen=True)
class Truth:
    """A law taken for true, and the noise of runs around it.

    Attributes:
        law: the law.
        theta: its parameters [params], natural units.
        noise_sd: standard deviation of log loss at `noise_n`.
        noise_n: parameters of the model that has this noise.
        exponent: the noise falls as N^-exponent.
        share: share of the variance that the runs of a trunk have in common.
        largest_n: from this N on the noise falls no more.
    """

    law: Law
    theta: Array
    noise_sd: float
    noise_n: float
    exponent: float
    share: float
    largest_n: float = np.inf

    def sd(self, n: Array) -> Array:
        """Return the standard deviation of log loss of runs of each N."""
        return np.asarray(self.noise_sd * (np.minimum(n, self.largest_n) / self.noise_n) ** -self.exponent)


@dataclass(frozen=True)
class Information:
    """What a design tells about a law, by one estimator.

    Attributes:
        truth: the law and the noise.  cells: the design.
        estimator: one of ESTIMATORS.  delta: width of Huber's loss, in log loss.
    """

    truth: Truth
    cells: Cells
    estimator: str = "huber"
    delta: float = DELTA

    def __post_init__(self) -> None:
        if self.estimator not in ESTIMATORS:
            raise InputError(
                f"there is no estimator {self.estimator!r}: use one of {', '.join(ESTIMATORS)}", "estimator"
            )

    @property
    def width(self) -> float:
        """Residual beyond which the loss of a row grows linearly."""
        return {"huber": self.delta, "lad": LAD_DELTA}.get(self.estimator, np.inf)

    @cached_property
    def centre(self) -> dict[str, float]:
        """Units of N, D and C in which coefficients are of order 1."""
        return centre_of(_Measured(self.cells))

    @cached_property
    def theta(self) -> Array:
        """Parameters in the units of `centre` [params]."""
        return self.truth.law.centred(self.truth.theta, self.centre)

    @cached_property
    def free(self) -> Codes:
        """Positions of the parameters that a fit determines."""
        law = self.truth.law
        return np.flatnonzero([name not in law.fixed for name in law.params])

    def log_loss(self, theta: Array, n: Array, d: Array, c: Array) -> Array:
        """Return the log loss of runs under parameters in the units of `centre`."""
        return np.log(self.truth.law.value(theta, *self._scaled(n, d, c)))

    def slope(self, n: Array, d: Array, c: Array) -> Array:
        """Return the slope of log loss by every free parameter, [runs, free]."""
        places = self._scaled(n, d, c)
        law = self.truth.law
        slope = law.jacobian(self.theta, *places) / law.value(self.theta, *places)[:, None]
        return np.asarray(slope[:, self.free])

    def _scaled(self, n: Array, d: Array, c: Array) -> tuple[Array, Array, Array]:
        return n / self.centre["n"], d / self.centre["d"], c / self.centre["c"]

    @cached_property
    def covariance(self) -> Array | None:
        """Covariance of the free parameters [free, free] in the units of `centre`; None if singular."""
        return self.with_rows(self.cells)

    def with_rows(self, cells: Cells) -> Array | None:
        """Return the covariance for another design, in the units of this one; None if it is singular."""
        slope = self.slope(cells.n, cells.d, cells.c)
        sd = self.truth.sd(cells.n)
        if self.estimator == "gls":
            bread, meat = self._whitened(slope, sd, cells.trunk)
        else:
            bread, meat = self._sandwich(slope, sd, cells.trunk)
        norm = np.sqrt(np.diag(bread))
        if not np.all((norm > 0) & np.isfinite(norm)):
            return None
        scaled = bread / np.outer(norm, norm)
        if np.linalg.cond(scaled) > SINGULAR:
            return None
        inverse = np.linalg.inv(scaled)
        return np.asarray(inverse @ (meat / np.outer(norm, norm)) @ inverse / np.outer(norm, norm))

    def _sandwich(self, slope: Array, sd: Array, trunk: Codes) -> tuple[Array, Array]:
        share, width = self.truth.share, self.width
        codes = np.unique(trunk, return_inverse=True)[1]
        common = common_part(sd, share, width)
        sums = np.zeros((codes.max() + 1, len(WEIGHTS), slope.shape[1]))
        np.add.at(sums, codes, np.swapaxes(common[:, :, None] * slope, 0, 1))
        own = second_moment(sd, width) - WEIGHTS @ common**2
        meat = np.einsum("u,tuk,tul->kl", WEIGHTS, sums, sums) + (slope.T * own) @ slope
        return (slope.T * inside(sd, width)) @ slope, meat

    def _whitened(self, slope: Array, sd: Array, trunk: Codes) -> tuple[Array, Array]:
        ratio = self.truth.share / (1 - self.truth.share)
        rows = slope / (sd * np.sqrt(1 - self.truth.share))[:, None]
        codes = np.unique(trunk, return_inverse=True)[1]
        sums = np.zeros((codes.max() + 1, slope.shape[1]))
        # The common part of a trunk has the size of each row's own noise, so it adds up over scaled rows.
        np.add.at(sums, codes, rows)
        size = np.bincount(codes)
        taken = ratio / (1 + ratio * size)
        fisher = rows.T @ rows - (sums.T * taken) @ sums
        return fisher, fisher


@dataclass(frozen=True)
class _Measured:
    """Cells as `centre_of` reads a table."""

    cells: Cells

    @property
    def n(self) -> Array:
        return self.cells.n

    @property
    def d(self) -> Array:
        return self.cells.d

    @property
    def c(self) -> Array:
        return self.cells.c

    @property
    def loss(self) -> Array:
        return np.ones(len(self.cells))
