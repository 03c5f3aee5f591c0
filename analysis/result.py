"""The one result of every fit, with statsmodels' names and the JSON that `analysis.fit` writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import NormalDist
from typing import Any

import numpy as np

from analysis.arrays import Array
from analysis.laws import find_law
from analysis.tables.table import Excluded

NORMAL = NormalDist()
LEVEL = 0.9  # confidence of every interval unless another level is asked for


class WarningCode(StrEnum):
    """Stable codes of the warnings that a fit can carry; a report may not hide them."""

    FLAT_VALLEY = "flat_valley"  # tied and untied exponents fit equally well
    ILL_CONDITIONED = "ill_conditioned"  # some combination of parameters is hardly determined
    ACTIVE_BOUND = "active_bound"  # a parameter sits at the end of its range
    COLLINEAR = "collinear"  # N and D (almost) proportional
    E_NOT_BRACKETED = "e_not_bracketed"  # E far below the lowest loss: not to be quoted
    FEW_SIZES = "few_sizes"
    FEW_TOKENS = "few_tokens"
    FEW_STARTS_AGREE = "few_starts_agree"  # many local minima
    FEW_CLUSTERS = "few_clusters"  # too few trunks to resample
    EXTRAPOLATION = "extrapolation"  # asked for more than 30 times the largest fitted compute
    ROUTES_DISAGREE = "routes_disagree"  # multi-start and variable projection end apart
    LACK_OF_FIT = "lack_of_fit"  # residuals larger than the seed noise
    EDGE_OPTIMUM = "edge_optimum"  # an IsoFLOP slice without an interior minimum
    FEW_BUDGETS = "few_budgets"
    ONE_AXIS = "one_axis"  # all runs of one size, or of one token count: no law in N and D
    INTERPOLATED = "interpolated"  # slices read off an interpolated rectangle of cells
    METHODS_DISAGREE = "methods_disagree"  # two readings of the same data differ
    APPROACHES_DISAGREE = "approaches_disagree"  # exponents further apart than their intervals say
    COUNTS_DISAGREE = "counts_disagree"  # the exponent depends on how N is counted
    FLOPS_APART = "flops_apart"  # C is far from 6·N·D in every row
    MIXED_CELLS = "mixed_cells"  # losses of equal N and D further apart than seeds


@dataclass(frozen=True)
class FitWarning:
    """A named doubt about a fit, in one sentence."""

    code: WarningCode
    message: str

    def to_dict(self) -> dict[str, str]:
        return {"code": self.code.value, "message": self.message}


@dataclass(frozen=True)
class Exponents:
    """N* = g·(C/6)^a, D* = (C/6)^b / g; None where the approach does not give the number."""

    a: float | None = None
    a_interval: tuple[float, float] | None = None
    b: float | None = None
    b_interval: tuple[float, float] | None = None
    g: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "a": plain(self.a),
            "a_interval": plain(self.a_interval),
            "b": plain(self.b),
            "b_interval": plain(self.b_interval),
            "G": plain(self.g),
        }


@dataclass(frozen=True)
class Fit:
    """A fitted law, or the exponents that another approach yields.

    Attributes:
        params: estimates in natural units (L in nats per token, N in parameters, D in tokens, C in FLOPs).
        samples: bootstrap estimates [resamples, params], in the order of `params`; None without bootstrap.
        resid: log(loss) minus log(prediction) of the fitted rows; empty for approaches without a law.
        stretch: factor on the spread of the samples; above 1 for least squares, whose residuals are smaller
            than the noise by what the parameters took up.
        largest_c: the largest fitted compute, FLOPs; what extrapolation factors refer to.
        extra: further documented keys of the JSON.
    """

    law: str
    approach: str
    estimator: str
    count: str
    nobs: int
    n_clusters: int
    params: Mapping[str, float]
    level: float
    objective: float | None = None
    status: str = "converged"
    frontier: Exponents = Exponents()
    samples: Array | None = None
    stretch: float = 1.0
    resid: Array = field(default_factory=lambda: np.empty(0))
    largest_c: float | None = None
    warnings: tuple[FitWarning, ...] = ()
    excluded: tuple[Excluded, ...] = ()
    seconds: float = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def theta(self) -> Array:
        return np.array(list(self.params.values()))

    @property
    def cov(self) -> Array | None:
        """Covariance of the bootstrap estimates, stretched [params, params]."""
        if self.samples is None or len(self.samples) < 2:
            return None
        return self.stretch**2 * np.atleast_2d(np.cov(self.samples, rowvar=False))

    @property
    def bse(self) -> dict[str, float]:
        """Standard errors: the standard deviation of the bootstrap estimates; empty without bootstrap."""
        cov = self.cov
        return {} if cov is None else dict(zip(self.params, np.sqrt(np.diag(cov)).tolist(), strict=True))

    def conf_int(self, level: float | None = None) -> dict[str, tuple[float, float]]:
        """Percentile intervals of the parameters; empty without bootstrap."""
        if self.samples is None:
            return {}
        level = self.level if level is None else level
        return {
            name: percentile_interval(self.samples[:, index], level, self.stretch)
            for index, name in enumerate(self.params)
        }

    def predict(self, n: Array, d: Array, c: Array | None = None, u: Array | None = None) -> Array:
        """Predicted loss at (n, d); `c` defaults to 6·n·d and matters for laws in C only, `u` (unique
        tokens) to d and matters for laws with repetition."""
        return find_law(self.law).value(self.theta, n, d, c, u)

    def with_warnings(self, *warnings: FitWarning) -> Fit:
        return replace(self, warnings=self.warnings + warnings)

    def summary(self) -> str:
        """A table in plain text: estimates, standard errors, intervals, frontier, warnings."""
        head = f"{self.approach} {self.law}  N = {self.count}  {self.estimator}"
        lines = [head, f"{self.nobs} rows, {self.n_clusters} clusters, {self.status}"]
        errors, intervals = self.bse, self.conf_int()
        for name, estimate in self.params.items():
            lines.append(_line(name, estimate, intervals.get(name), errors.get(name)))
        for name, value, interval in (
            ("a", self.frontier.a, self.frontier.a_interval),
            ("b", self.frontier.b, self.frontier.b_interval),
        ):
            if value is not None:
                lines.append(_line(name, value, interval, None))
        if intervals:
            drawn = self.extra.get("bootstrap", "cluster")
            lines.append(f"intervals: {100 * self.level:g} % percentile bootstrap over {drawn}s")
        lines += [f"warning {warning.code.value}: {warning.message}" for warning in self.warnings]
        if self.excluded:
            lines.append(f"{len(self.excluded)} rows excluded")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `analysis.fit`: stable keys, natural units, null where a number does not exist."""
        return {
            "law": self.law,
            "approach": self.approach,
            "estimator": self.estimator,
            "count": self.count,
            "nobs": self.nobs,
            "n_clusters": self.n_clusters,
            "params": plain(dict(self.params)),
            "se": plain(self.bse),
            "interval": plain(self.conf_int()),
            "level": self.level,
            "objective": plain(self.objective),
            "status": self.status,
            "frontier": self.frontier.to_dict(),
            "warnings": [warning.to_dict() for warning in self.warnings],
            "excluded": [row.to_dict() for row in self.excluded],
            "seconds": self.seconds,
            **plain(dict(self.extra)),
        }


def percentile_interval(samples: Array, level: float, stretch: float = 1.0) -> tuple[float, float]:
    """The central `level` share of the samples, or of normal ones `stretch` times as wide.

    Expanded percentiles after Hesterberg 2015, arXiv:1411.5279, section 3.3: ends stay inside the samples.
    """
    tail = (1 - level) / 2 if stretch == 1 else NORMAL.cdf(-stretch * NORMAL.inv_cdf((1 + level) / 2))
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)


def plain(value: Any) -> Any:
    """JSON types only: NumPy scalars to numbers, tuples and arrays to lists, not-finite numbers to None."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(entry) for entry in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.bool_):
        return bool(value)
    return value


def _line(name: str, value: float, interval: tuple[float, float] | None, error: float | None) -> str:
    text = f"  {name:<6} {value:12.6g}"
    if error is not None:
        text += f"  se {error:10.4g}"
    if interval is not None:
        text += f"  [{interval[0]:.5g}, {interval[1]:.5g}]"
    return text
