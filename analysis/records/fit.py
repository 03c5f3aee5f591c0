"""Record of one fit, as fits.json, forecast.json and the JSON of `python -m analysis.fit` hold it.

Symbols: N parameters, D training tokens, C training FLOPs, L loss in nats per token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from analysis.arrays import Interval
from analysis.records.warning_codes import FitWarning
from harness.records.json_files import ABSENT_IF_NONE, PART

# Columns of points.parquet that count N, the default first.
COUNTS = ("n_params_matmul", "n_params", "n_params_body")
OpenEnds = tuple[float | None, float | None]


class FitStatus(StrEnum):
    """How the search for the best parameters ended."""

    CONVERGED = "converged"  # the lowest minimum meets the tolerance
    STOPPED = "stopped before the tolerance was met"  # the steps ran out first


@dataclass(frozen=True)
class Excluded:
    """A row excluded from every fit, with the reason.

    Attributes:
        row: number of the row among the data rows of the table, from 0.
        reason: why, in words.
    """

    row: int
    reason: str


@dataclass(frozen=True)
class ExponentsRecord:
    """Exponents of the compute-optimal sizes, N* ∝ C^a and D* ∝ C^b; None if they were not found.

    Attributes:
        a: exponent of N*.
        a_interval: its interval at the level of the fit; None without a bootstrap.
        b: exponent of D*.
        b_interval: its interval.
    """

    a: float | None = None
    a_interval: Interval | None = None
    b: float | None = None
    b_interval: Interval | None = None


@dataclass(frozen=True)
class FrontierRecord(ExponentsRecord):
    """The compute-optimal frontier under C = 6·N·D as a power law, N* = G·(C/6)^a and D* = (C/6)^b/G.

    Attributes:
        G: coefficient of N*; None if the exponents are those of searched optima.
    """

    G: float | None = None


@dataclass(frozen=True)
class RunNoiseRecord:
    """Noise of the loss of one run.

    Attributes:
        sd_relative: standard deviation, relative to the loss.
        dof: degrees of freedom behind it; 1000 stands for a known value.
        source: where it comes from: seeds, residuals, given or assumed.
    """

    sd_relative: float
    dof: int
    source: str


@dataclass(frozen=True)
class RoutesRecord:
    """Lowest objective that each of the two independent searches reached.

    Attributes:
        multi_start: minimisation over all parameters from many starts; its end is the estimate.
        variable_projection: search over exponents, with the coefficients solved for at each of them.
    """

    multi_start: float
    variable_projection: float


@dataclass(frozen=True)
class EstimationRecord:
    """How the parameters of a law were estimated: keys of parametric and Kaplan fits.

    Attributes:
        resamples: bootstrap resamples asked for.
        bootstrap: what was drawn: `cluster` (trunks) or `residual`.
        se_gauss_newton: standard error by parameter from slopes and residuals; None with too few trunks.
        delta: δ of the Huber loss of log-loss residuals; None for other estimators.
        log_likelihood: of the log losses, for `lad` (Laplace noise) and `lsq` (normal noise); else None.
        routes: objective that each search reached.
        starts_agreeing: share of the starts that ended at the lowest minimum.
        condition_number: of the Jacobian of log loss with scaled columns; None if a column is 0.
        largest_flops: largest fitted C, FLOPs.
    """

    resamples: int
    bootstrap: str
    se_gauss_newton: Mapping[str, float | None] | None
    delta: float | None
    log_likelihood: float | None
    routes: RoutesRecord
    starts_agreeing: float
    condition_number: float | None
    largest_flops: float


@dataclass(frozen=True)
class KaplanRecord:
    """The line of runs along which a Kaplan law is fitted.

    Attributes:
        constant: the quantity that is constant along the line, in words.
        constant_value: its value, tokens or parameters; None for the lower edge of the losses.
        published_exponent: exponent of Kaplan et al., arXiv:2001.08361.
    """

    constant: str
    constant_value: float | None
    published_exponent: float


@dataclass(frozen=True)
class OptimumRow:
    """Minimum of one IsoFLOP slice; None for numbers that a slice without a minimum lacks.

    Attributes:
        flops: C of the slice, FLOPs.
        n_opt: size with the lowest loss, parameters.
        d_opt: tokens of that size, tokens.
        loss: lowest loss, nats per token.
        se_log_n: standard error of ln n_opt.
        n_sizes: sizes in the slice.
        reason: why the minimum does not count, in words; None if it counts.
    """

    flops: float
    n_opt: float | None
    d_opt: float | None
    loss: float | None
    se_log_n: float | None
    n_sizes: int
    reason: str | None


@dataclass(frozen=True)
class SlicingBiasRecord:
    """Bias of interpolated slices: a fitted law sliced as the table was.

    Attributes:
        law: the fitted law.
        a_slices: a of the slices of that law.
        a_surface: a of its own frontier.
        difference: a_slices − a_surface.
    """

    law: str
    a_slices: float
    a_surface: float
    difference: float


@dataclass(frozen=True)
class IsoflopRecord:
    """Keys of an IsoFLOP fit.

    Attributes:
        slices: `measured` (rows trained at one budget) or `interpolated` (a rectangle of N × D).
        method: how the minimum of a slice is found: `quadratic`, `cubic` or `akima`.
        window: sizes that the curve of a slice goes through.
        min_sizes: fewest sizes in a slice.
        bias: of interpolated slices; None if it cannot be found.
        noise: of one run's loss, behind the standard errors of the minima.
        optima: one row a slice.
    """

    slices: str
    method: str
    window: int
    min_sizes: int
    bias: SlicingBiasRecord | None
    noise: RunNoiseRecord
    optima: tuple[OptimumRow, ...]


@dataclass(frozen=True)
class EdgeRow:
    """A point on the lower edge of the losses.

    Attributes:
        flops: C, FLOPs.
        n: size, parameters.
        d: tokens.
        loss: nats per token.
    """

    flops: float
    n: float
    d: float
    loss: float


@dataclass(frozen=True)
class EnvelopeRecord:
    """Keys of an envelope fit.

    Attributes:
        source: `end points` or `training curves`.
        method: how the lower edge is found: `hull` or `bins`.
        edge: the points on the edge.
    """

    source: str
    method: str
    edge: tuple[EdgeRow, ...]


@dataclass(frozen=True)
class ProfileRecord:
    """Profile of the objective along one parameter, the others fitted again at each value.

    Attributes:
        parameter: its name.
        estimate: its estimate, natural units.
        values: its fixed values, ascending, natural units.
        objective: lowest objective at each value.
        lowest: objective at the estimate.
        cut: objective that bounds the interval; None without an interval.
        level: confidence of the interval.
        interval: its ends; None for an open end.
        rule: how the cut was found, and which end is open and why, in words.
    """

    parameter: str
    estimate: float
    values: tuple[float, ...]
    objective: tuple[float, ...]
    lowest: float
    cut: float | None
    level: float
    interval: OpenEnds
    rule: str


@dataclass(frozen=True)
class BetterLawRecord:
    """What a law says that describes the rows better than the fitted one, by least squares in log loss.

    Attributes:
        law: its name.
        residual_rms: RMS of its residuals, relative to the loss.
        params: estimate by parameter, natural units.
        a: exponent of N* under C = 6·N·D; None for laws of one axis.
        describes: whether it passes the tests that the fitted law fails.
    """

    law: str
    residual_rms: float
    params: Mapping[str, float]
    a: float | None
    describes: bool


@dataclass(frozen=True)
class DescriptionRecord:
    """Whether the fitted law describes the rows.

    Attributes:
        holds: whether it passes every test; None if the rows leave nothing to test.
        verdict: the result in words.
        better: a law that describes them better; None without one, and if the fitted law holds.
    """

    holds: bool | None
    verdict: str
    better: BetterLawRecord | None = None


@dataclass(frozen=True)
class ContestedRecord:
    """Result of a law in the contest, as `analysis.fit --approach all` writes it.

    Attributes:
        rollout_rms: RMS error of log loss beyond the fitted computes; None if no compute allows a rollout.
    """

    rollout_rms: float | None


@dataclass(frozen=True)
class ComparedRecord:
    """Keys of a fit that `analysis.fit --approach all` adds.

    Attributes:
        recommended: whether this is the fit to quote.
        reason: why it is, or why none is; in one entry of the list.
        not_possible: approaches that the table does not allow, a sentence each; in the same entry.
        together: what the laws say that the rows cannot exclude, in words; in the same entry.
    """

    recommended: bool
    reason: str | None = field(default=None, metadata=ABSENT_IF_NONE)
    not_possible: tuple[str, ...] | None = field(default=None, metadata=ABSENT_IF_NONE)
    together: str | None = field(default=None, metadata=ABSENT_IF_NONE)


@dataclass(frozen=True)
class FitRecord:
    """A fitted law, or the exponents that another approach yields.

    The parts (`estimation`, `kaplan`, `isoflop`, `envelope`, `contested`, `compared`) have their keys beside
    the common ones; a part that an approach does not have is None.

    Attributes:
        law: name of the law; `saturating(U,V)` carries its limits U and V, nats per token.
        approach: `parametric`, `isoflop`, `envelope` or `kaplan`.
        estimator: what was minimised, or how the line was drawn.
        count: column that holds N.
        nobs: fitted rows.
        n_clusters: trunks among them.
        params: estimate by parameter, natural units (N in parameters, D in tokens, C in FLOPs).
        se: bootstrap standard error by parameter; empty without a bootstrap.
        interval: bootstrap interval by parameter; empty without a bootstrap.
        level: confidence of every interval.
        objective: lowest value of what was minimised; None for approaches without a law.
        status: how the search ended.
        frontier: exponents and coefficient under C = 6·N·D.
        warnings: doubts about this fit.
        excluded: rows that it did not see.
        seconds: time that it took, s.
        frontier_exact: exponents under the FLOPs of the table; None if they were not searched.
        estimation: how the parameters were estimated (parametric, kaplan).
        kaplan: the line of runs (kaplan).
        isoflop: slices and their minima (isoflop).
        envelope: the lower edge (envelope).
        cloud: up to 200 bootstrap estimates (alpha, beta) of the recommended fit.
        profile: profiles of the parameters of the recommended fit.
        read_as: what was taken from a table of other people, in words; None for a table of a sweep.
        description: whether the law describes the rows; None for approaches without a law.
        contested: result in the contest (`--approach all`).
        compared: place in the comparison (`--approach all`).
    """

    law: str
    approach: str
    estimator: str
    count: str
    nobs: int
    n_clusters: int
    params: Mapping[str, float]
    se: Mapping[str, float]
    interval: Mapping[str, Interval]
    level: float
    objective: float | None
    status: FitStatus
    frontier: FrontierRecord
    warnings: tuple[FitWarning, ...]
    excluded: tuple[Excluded, ...]
    seconds: float
    estimation: EstimationRecord | None = field(default=None, metadata=PART)
    kaplan: KaplanRecord | None = field(default=None, metadata=PART)
    isoflop: IsoflopRecord | None = field(default=None, metadata=PART)
    envelope: EnvelopeRecord | None = field(default=None, metadata=PART)
    frontier_exact: ExponentsRecord | None = field(default=None, metadata=ABSENT_IF_NONE)
    cloud: tuple[Interval, ...] | None = field(default=None, metadata=ABSENT_IF_NONE)
    profile: tuple[ProfileRecord, ...] | None = field(default=None, metadata=ABSENT_IF_NONE)
    read_as: str | None = field(default=None, metadata=ABSENT_IF_NONE)
    description: DescriptionRecord | None = field(default=None, metadata=ABSENT_IF_NONE)
    contested: ContestedRecord | None = field(default=None, metadata=PART)
    compared: ComparedRecord | None = field(default=None, metadata=PART)

    @property
    def exponents(self) -> ExponentsRecord:
        """Exponents to quote: under the FLOPs of the table if they were searched, else under C = 6·N·D."""
        return self.frontier_exact or self.frontier

    @property
    def method(self) -> str | None:
        """How an approach without a law reads the data."""
        read = self.isoflop or self.envelope
        return read.method if read else None


def finite(value: float) -> float | None:
    """Return the number, or None if it is not finite."""
    return float(value) if math.isfinite(value) else None


def with_constant(fit: Mapping[str, Any]) -> dict[str, Any]:
    """Return a fit of schema 1 under the keys of schema 2."""
    renamed = {"held": "constant", "held_value": "constant_value"}
    found = {renamed.get(key, key): value for key, value in fit.items()}
    if "resamples" in found:
        # The first files of schema 1 were written before these keys.
        found = {"bootstrap": "cluster", "se_gauss_newton": None, "log_likelihood": None} | found
    return found
