"""The one result of every fit, with statsmodels' names and the JSON that `analysis.fit` writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from html import escape
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis.arrays import Array
from analysis.intervals import LEVEL, percentile_interval
from analysis.laws import Law, find_law
from analysis.records.fit import (
    ComparedRecord,
    ContestedRecord,
    DescriptionRecord,
    EnvelopeRecord,
    EstimationRecord,
    Excluded,
    ExponentsRecord,
    FitRecord,
    FitStatus,
    FrontierRecord,
    IsoflopRecord,
    KaplanRecord,
    ProfileRecord,
)
from analysis.records.warning_codes import FitWarning, WarningCode
from harness.records.errors import InputError
from harness.records.number_text import significant, together

KEY_PARAMS = ("E", "alpha", "beta", "gamma", "kappa", "a", "b")  # what one line about a fit shows
BY_DESIGN = ("reference run", "learning-rate run")  # rows of a sweep that no fit is meant to see
STRAY = 1.0  # times the 90 % interval: a larger standard error is that of stray draws; normal ones have .3
WITHOUT_LAW = ("isoflop", "envelope")  # approaches that give exponents and no surface of losses


@dataclass(frozen=True)
class Frontier:
    """The compute-optimal frontier as a power law; None for a number that the approach does not give.

    Under C = 6·N·D it is N* = g·(C/6)^a and D* = (C/6)^b/g; under other FLOPs g is None. `find_frontier`
    gives the frontier as a curve, with the loss.
    """

    a: float | None = None
    a_interval: tuple[float, float] | None = None
    b: float | None = None
    b_interval: tuple[float, float] | None = None
    g: float | None = None


@dataclass(frozen=True)
class Fit:
    """A fitted law, or the exponents that another approach yields; names as in statsmodels.

    Attributes:
        estimates: {parameter: estimate} in natural units: L in nats per token, N in parameters, D in tokens,
            C in FLOPs. `params` is the same as a Series.
        samples: bootstrap estimates [resamples, params], in the order of `estimates`; None without bootstrap.
        resid: log(loss) minus log(prediction) of the fitted rows; empty for approaches without a law.
        stretch: factor on the spread of the samples; above 1 for least squares, because its residuals are
            smaller than the noise.
        largest_c: the largest fitted compute, FLOPs; extrapolation factors refer to it.
        frontier: exponents and coefficient under C = 6·N·D.
        frontier_exact: exponents under the FLOPs of the table; None if they were not searched.
        estimation: how the parameters were estimated (parametric, kaplan).
        kaplan: details of that approach (analysis/records/fit.py), as in the next two.
        isoflop: details of that approach.
        envelope: details of that approach.
        cloud: some of the bootstrap estimates (alpha, beta).
        profile: profiles of the parameters.
        contested: error in the contest of laws.
        description: whether the law describes the rows, and what a better law says; None without a law.
        read_as: what was taken from a table of other people, in words; None for a table of a sweep.

    Examples:
        >>> import analysis as sl
        >>> fit = sl.Fit(law="chinchilla", approach="parametric", estimator="huber", count="N", nobs=40,
        ...     n_clusters=40, level=0.9,
        ...     estimates={"E": 1.7, "A": 400, "B": 410, "alpha": 0.34, "beta": 0.28})
        >>> fit
        Fit(chinchilla, parametric, N = N, 40 rows, E = 1.7, alpha = 0.34, beta = 0.28)
        >>> fit.params.index.tolist()
        ['E', 'A', 'B', 'alpha', 'beta']
        >>> print(f"{fit.predict(70e9, 1.4e12):.3f} nats per token")
        1.945 nats per token
    """

    law: str
    approach: str
    estimator: str
    count: str
    nobs: int
    n_clusters: int
    estimates: Mapping[str, float]
    level: float
    objective: float | None = None
    status: FitStatus = FitStatus.CONVERGED
    frontier: Frontier = Frontier()
    frontier_exact: Frontier | None = None
    samples: Array | None = None
    stretch: float = 1.0
    resid: Array = field(default_factory=lambda: np.empty(0))
    largest_c: float | None = None
    warnings: tuple[FitWarning, ...] = ()
    excluded: tuple[Excluded, ...] = ()
    seconds: float = 0.0
    estimation: EstimationRecord | None = None
    kaplan: KaplanRecord | None = None
    isoflop: IsoflopRecord | None = None
    envelope: EnvelopeRecord | None = None
    cloud: tuple[tuple[float, float], ...] | None = None
    profile: tuple[ProfileRecord, ...] | None = None
    contested: ContestedRecord | None = None
    description: DescriptionRecord | None = None
    read_as: str | None = None

    @property
    def params(self) -> pd.Series[float]:
        """Estimates by parameter, natural units."""
        return pd.Series(dict(self.estimates), dtype=float, name="estimate")

    @property
    def exponents(self) -> Frontier:
        """Exponents to quote, under the FLOPs of the table if they were searched, else under C = 6·N·D."""
        return self.frontier_exact or self.frontier

    @property
    def theta(self) -> Array:
        """Estimates [params], in the order of the law."""
        return np.array(list(self.estimates.values()))

    @property
    def cov(self) -> Array | None:
        """Covariance of the bootstrap estimates, stretched [params, params]; None without bootstrap."""
        if self.samples is None or len(self.samples) < 2:
            return None
        return self.stretch**2 * np.atleast_2d(np.cov(self.samples, rowvar=False))

    @property
    def bse(self) -> pd.Series[float]:
        """Standard errors by parameter, the standard deviation of the bootstrap.

        NaN without bootstrap, and for a parameter whose estimates have tails so heavy that their standard
        deviation says nothing. The interval, `conf_int`, holds there too.
        """
        return pd.Series(self.errors(), index=list(self.estimates), dtype=float, name="se")

    def conf_int(self, level: float | None = None) -> pd.DataFrame:
        """Return the percentile intervals of the bootstrap.

        Args:
            level: share of the interval, between 0 and 1; that of the fit by default.

        Returns:
            A frame with the columns low and high, one row a parameter, natural units; NaN for a parameter
            that is fixed or that every draw leaves at its bound.

        Raises:
            InputError: the fit has no bootstrap, or `level` lies outside 0 to 1.
        """
        if level is not None and not 0 < level < 1:
            raise InputError(f"level is {level:g}: expected a share between 0 and 1 such as {LEVEL:g}")
        found = self.intervals(level)
        if not found:
            raise InputError(f"this fit has no intervals: {_remedy(self)}")
        ends = pd.DataFrame.from_dict(found, orient="index", columns=["low", "high"])
        return ends.reindex(list(self.estimates))

    def errors(self) -> dict[str, float]:
        """Return {parameter: standard error}, empty without bootstrap.

        Parameters of no spread are left out, and those whose spread is that of a few stray estimates.
        """
        cov = self.cov
        if cov is None:
            return {}
        found = dict(zip(self.estimates, np.sqrt(np.diag(cov)).tolist(), strict=True))
        widths = {name: high - low for name, (low, high) in self.intervals(LEVEL).items()}
        return {name: error for name, error in found.items() if 0 < error < STRAY * widths.get(name, 0.0)}

    def intervals(self, level: float | None = None) -> dict[str, tuple[float, float]]:
        """Return {parameter: (low, high)}, without parameters of no spread; empty without bootstrap."""
        if self.samples is None:
            return {}
        level = self.level if level is None else level
        found = {
            name: percentile_interval(self.samples[:, index], level, self.stretch)
            for index, name in enumerate(self.estimates)
        }
        return {name: ends for name, ends in found.items() if ends}

    def predict(
        self, n: ArrayLike, d: ArrayLike, c: ArrayLike | None = None, u: ArrayLike | None = None
    ) -> Array:
        """Return the predicted loss, nats per token.

        Args:
            n: parameters, counted as `count` says.
            d: training tokens.
            c: training FLOPs; 6·n·d by default. Only laws in C depend on it.
            u: tokens without repetition; `d` by default. Only laws with repetition depend on it.

        Returns:
            Losses in the broadcast shape of the arguments: numbers, lists, arrays or Series.

        Raises:
            InputError: the approach fits no law, as IsoFLOP and envelope.
        """
        size, data = np.asarray(n, float), np.asarray(d, float)
        compute, unique = (None if value is None else np.asarray(value, float) for value in (c, u))
        shape = np.broadcast_shapes(*(np.shape(value) for value in (n, d, c, u) if value is not None))
        found = self.loss_law().value(self.theta, size, data, compute, unique)
        return np.array(np.broadcast_to(found, shape or (1,))).reshape(shape)

    def loss_law(self) -> Law:
        """Return the law; raises InputError if the approach fits no law."""
        if self.approach in WITHOUT_LAW:
            raise InputError(f"a fit by {self.approach} predicts no loss: pass the result of fit_law")
        return find_law(self.law)

    def with_warnings(self, *warnings: FitWarning) -> Fit:
        """Return the fit with further warnings."""
        return replace(self, warnings=self.warnings + warnings)

    def summary(self) -> str:
        """Return a table in plain text: estimates, intervals, frontier, warnings."""
        head = f"{self.approach} {self.law}  N = {self.count}  {self.estimator}"
        lines = [head, f"{self.nobs} rows, {self.n_clusters} clusters, {self.status}"]
        lines += [f"read as: {self.read_as}"] if self.read_as else []
        intervals = self.intervals()
        for name, estimate in self.estimates.items():
            lines.append(_line(name, estimate, intervals.get(name)))
        for name, value, interval in (
            ("a", self.frontier.a, self.frontier.a_interval),
            ("b", self.frontier.b, self.frontier.b_interval),
        ):
            if value is not None and name not in self.estimates:
                lines.append(_line(name, value, interval))
        if intervals:
            drawn = self.estimation.bootstrap if self.estimation else "cluster"
            lines.append(f"intervals: {100 * self.level:g} % percentile bootstrap over {drawn}s")
        # A law that does not hold is in the warnings.
        holds = self.description is not None and self.description.holds is not False
        lines += [f"description: {self.description.verdict}"] if self.description and holds else []
        lines += [warning.line for warning in self.warnings]
        if self.excluded:
            lines.append(f"{len(self.excluded)} rows excluded")
            lines += left_out(entry for entry in self.excluded if entry.reason not in BY_DESIGN)
        return "\n".join(lines)

    def __repr__(self) -> str:
        shown = [f"{name} = {self.estimates[name]:.4g}" for name in KEY_PARAMS if name in self.estimates]
        count = len(self.warnings)
        warned = [f"{count} warning{'s' if count > 1 else ''}"] if count else []
        parts = [self.law, self.approach, f"N = {self.count}", f"{self.nobs} rows", *shown, *warned]
        return f"Fit({', '.join(parts)})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: a caption, the table of estimates, and the warnings."""
        columns: dict[str, Any] = {"estimate": self.params}
        caption = f"{self.approach} {self.law}, N = {self.count}, {self.nobs} rows"
        if self.intervals():
            ends = self.conf_int()
            columns |= {"low": ends["low"], "high": ends["high"]}
            caption += f", {100 * self.level:g} % intervals"
        caption += f"; read as: {self.read_as}" if self.read_as else ""
        table = pd.DataFrame(columns).to_html(float_format=lambda value: f"{value:.4g}", border=0)
        doubts = "".join(f"<li>{escape(w.code.value)}: {escape(w.message)}</li>" for w in self.warnings)
        return f"<p>{escape(caption)}</p>{table}" + (f"<ul>{doubts}</ul>" if doubts else "")

    def to_record(self, compared: ComparedRecord | None = None) -> FitRecord:
        """Return the fit as an entry of fits.json and as the JSON of `analysis.fit`.

        Args:
            compared: place of the fit in a comparison of approaches.
        """
        here, exact = self.frontier, None
        if self.frontier_exact:
            found = self.frontier_exact
            exact = ExponentsRecord(found.a, found.a_interval, found.b, found.b_interval)
        return FitRecord(
            law=self.law,
            approach=self.approach,
            estimator=self.estimator,
            count=self.count,
            nobs=self.nobs,
            n_clusters=self.n_clusters,
            params=self.estimates,
            se=self.errors(),
            interval=self.intervals(),
            level=self.level,
            objective=self.objective,
            status=self.status,
            frontier=FrontierRecord(here.a, here.a_interval, here.b, here.b_interval, here.g),
            warnings=self.warnings,
            excluded=self.excluded,
            seconds=self.seconds,
            estimation=self.estimation,
            kaplan=self.kaplan,
            isoflop=self.isoflop,
            envelope=self.envelope,
            frontier_exact=exact,
            cloud=self.cloud,
            profile=self.profile,
            read_as=self.read_as,
            contested=self.contested,
            description=self.description,
            compared=compared,
        )


def left_out(excluded: Iterable[Excluded]) -> Iterator[str]:
    """Yield the number of excluded rows for each reason, and the first of them."""
    reasons = sorted(excluded, key=lambda entry: entry.reason)
    for reason, entries in groupby(reasons, key=lambda entry: entry.reason):
        rows = [entry.row for entry in entries]
        shown = ", ".join(map(str, rows[:5])) + (", …" if len(rows) > 5 else "")
        yield f"{len(rows)} left out: {reason} (row {shown})"


def _remedy(fit: Fit) -> str:
    """How to get intervals, for the text of an error."""
    if fit.approach == "parametric":
        few = [warning for warning in fit.warnings if warning.code is WarningCode.FEW_CLUSTERS]
        return few[0].message if few else "call fit_law(..., resamples=1000)"
    if fit.approach == "isoflop":
        return "call fit_isoflop(..., resamples=1000)"
    return f"none is known to hold for a fit by {fit.approach}"


def _line(name: str, value: float, interval: tuple[float, float] | None) -> str:
    shown, between = together(value, interval, 6, significant)
    text = f"  {name:<6} {shown:>12}"
    return text if interval is None else f"{text}  {between}"
