"""The compute-optimal frontier of a fitted law: n_opt(C), d_opt(C), loss_opt(C), with intervals.

The minimum of L(N, D) at fixed C is in closed form under C = 6·N·D (`Law.frontier`) and is searched
numerically under any cost per token. a + b = 1 holds for 6·N·D only.

References: Hoffmann et al. 2022, arXiv:2203.15556, section 3.3; Pearce & Song 2024, arXiv:2406.12907.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis.arrays import Array
from analysis.cost import Cost, cost_between, six_n
from analysis.intervals import percentile_interval
from analysis.laws import Law
from analysis.records.frontier import FrontierRow
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.result import Fit
from analysis.tables.table import LossTable, TableLike, as_table
from harness.records.errors import InputError
from harness.records.number_text import power_of_ten, si

REACH = 1e3  # the search goes this far beyond the measured sizes
BLIND_REACH = 1e5  # without measured sizes, so far from N = D under C = 6·N·D
MAX_EXTRAPOLATION = 30.0  # times the largest fitted compute
LOCAL_STEP = 0.05  # half width in ln C over which the exponents at a single C are taken
ZOOM_POINTS = 33  # of the search grid in log N, at every zoom
ZOOMS = 5
EXPONENT_BUDGETS = 7  # of the line through searched optima
FLAT_SHARE = 1e-3  # the flatness band: loss within this share of the best
FLAT_POINTS = 801
FLAT_REACH = 6.0  # the band is looked for this far from the optimum, in log N


@dataclass(frozen=True)
class Surface:
    """Loss and training FLOPs per token as functions of size.

    Attributes:
        name: of the law.
        loss: loss at (n, d), broadcast over arrays; with draws of parameters inside, n and d are
            [draws, points].
        flops_per_token: training FLOPs a token at size n.
        n_range: sizes between which an optimum is searched.
    """

    name: str
    loss: Callable[[Array, Array], Array]
    flops_per_token: Cost
    n_range: tuple[float, float]


@dataclass(frozen=True)
class FrontierCurve:
    """Compute-optimal sizes, tokens and losses at given C; `Fit.frontier` is the power law alone.

    Attributes:
        flops: training compute C [flops], FLOPs.
        n_opt: best number of parameters [flops].  d_opt: best number of tokens.  loss: nats per token.
        n_interval: percentile interval of n_opt [flops, (low, high)]; NaN without bootstrap.
        d_interval: the same of d_opt.  loss_interval: the same of loss.
        flat: range of N [flops, (low, high)] within 0.1 % of the best loss.
        a: exponent of n_opt ∝ C^a over these C; at a single C the local slope.
        b: exponent of d_opt ∝ C^b.  a_interval, b_interval: None without bootstrap.
        warnings: what speaks against using these numbers, such as a C far beyond the fitted runs.
        largest_c: largest fitted compute, FLOPs; None if it is not known.
    """

    flops: Array
    n_opt: Array
    d_opt: Array
    loss: Array
    n_interval: Array
    d_interval: Array
    loss_interval: Array
    flat: Array
    a: float
    a_interval: tuple[float, float] | None
    b: float
    b_interval: tuple[float, float] | None
    warnings: tuple[FitWarning, ...] = ()
    largest_c: float | None = None

    def __repr__(self) -> str:
        far = max(self.flops) / self.largest_c if self.largest_c and self.warnings else None
        codes = "" if far is None else f"; extrapolation to {far:,.0f} times the largest fitted C"
        if len(self.flops) == 1:
            best = f"N* = {si(self.n_opt[0])}, D* = {si(self.d_opt[0])}, loss = {self.loss[0]:.3f}"
            return f"FrontierCurve(C = {power_of_ten(self.flops[0])}: {best}{codes})"
        first, last = (power_of_ten(value) for value in (self.flops.min(), self.flops.max()))
        grows = f"N* grows as C^{self.a:.3f}, D* as C^{self.b:.3f}"
        return f"FrontierCurve(C = {first} to {last}: {grows}{codes})"

    def frame(self) -> pd.DataFrame:
        """Return one row per value of C: the fields of `FrontierRow`, its place beyond the fit included."""
        return pd.DataFrame(self.rows())

    def rows(self) -> list[FrontierRow]:
        """Return one row per value of C, as in fits.json."""
        return [
            FrontierRow(
                flops=float(self.flops[i]),
                n_opt=float(self.n_opt[i]),
                d_opt=float(self.d_opt[i]),
                loss=float(self.loss[i]),
                n_low=float(self.n_interval[i, 0]),
                n_high=float(self.n_interval[i, 1]),
                d_low=float(self.d_interval[i, 0]),
                d_high=float(self.d_interval[i, 1]),
                loss_low=float(self.loss_interval[i, 0]),
                loss_high=float(self.loss_interval[i, 1]),
                flat_low=float(self.flat[i, 0]),
                flat_high=float(self.flat[i, 1]),
                factor=None if self.largest_c is None else float(self.flops[i] / self.largest_c),
            )
            for i in range(len(self.flops))
        ]

    def _repr_html_(self) -> str:
        """Return what a notebook shows: one row per value of C, and the warnings."""
        shown = self.frame().dropna(axis="columns", how="all")
        table = shown.to_html(float_format=lambda value: f"{value:.4g}", border=0, index=False)
        doubts = "".join(f"<li>{escape(w.code.value)}: {escape(w.message)}</li>" for w in self.warnings)
        return table + (f"<ul>{doubts}</ul>" if doubts else "")


def extrapolation_warning(largest_c: float, asked_c: float) -> FitWarning | None:
    """Return the warning for a compute beyond 30 times the largest fitted one, or None."""
    factor = asked_c / largest_c
    if factor <= MAX_EXTRAPOLATION:
        return None
    return FitWarning(
        WarningCode.EXTRAPOLATION,
        f"{asked_c:.3g} FLOPs is {factor:.0f} times the largest fitted compute; "
        f"beyond {MAX_EXTRAPOLATION:.0f} times nothing here says how far the law holds",
    )


def table_cost(table: LossTable) -> Cost:
    """Return FLOPs per token as a function of N, by the rows of a table (`cost_between`)."""
    return cost_between(table.n, table.c / table.d)


def surface_of(fit: Fit, table: LossTable, cost: Cost | None = None) -> Surface:
    """Return the surface of a fitted law, with the table's cost per token unless another is given."""
    law, theta = fit.loss_law(), fit.theta
    return Surface(
        fit.law, lambda n, d: law.value(theta, n, d), cost or table_cost(table), table_reach(table)
    )


def table_reach(table: LossTable) -> tuple[float, float]:
    return float(table.n.min() / REACH), float(table.n.max() * REACH)


def _blind_surface(fit: Fit, flops: Array, cost: Cost | None) -> Surface:
    """Return the surface of a law whose table is not at hand, with C = 6·N·D unless a cost is given."""
    law, theta = fit.loss_law(), fit.theta
    square = np.sqrt(flops / 6)
    sizes = float(square.min() / BLIND_REACH), float(square.max() * BLIND_REACH)
    return Surface(fit.law, lambda n, d: law.value(theta, n, d), cost or six_n, sizes)


def optimum(surface: Surface, flops: Array, draws: int = 1) -> tuple[Array, Array, Array]:
    """Return N, D and loss of the minimum at each C, each [draws, flops].

    A grid in log N is zoomed in around its lowest point; the last one is closed by a parabola.
    """
    # A grid and no gradient: all draws and all C go through one array operation, and a saturating law has
    # flat ends on which Newton's method would leave the range.
    low = np.full((draws, len(flops)), np.log(surface.n_range[0]))
    high = np.full_like(low, np.log(surface.n_range[1]))
    share = np.linspace(0, 1, ZOOM_POINTS)
    for _ in range(ZOOMS):
        grid = low[..., None] + (high - low)[..., None] * share
        loss = _loss_at(surface, grid, flops)
        best = np.clip(np.argmin(loss, axis=-1), 1, ZOOM_POINTS - 2)[..., None]
        low, mid, high = (np.take_along_axis(grid, best + k, -1)[..., 0] for k in (-1, 0, 1))
    left, centre, right = (np.take_along_axis(loss, best + k, -1)[..., 0] for k in (-1, 0, 1))
    bend = left - 2 * centre + right
    step = np.where(bend > 0, (left - right) / (2 * np.where(bend > 0, bend, 1)), 0)
    log_n = mid + np.clip(step, -1, 1) * (high - mid)
    n = np.exp(log_n)
    return n, flops / surface.flops_per_token(n), _loss_at(surface, log_n[..., None], flops)[..., 0]


def _loss_at(surface: Surface, log_n: Array, flops: Array) -> Array:
    """Return the loss of sizes [draws, flops, points] that spend exactly C FLOPs."""
    n = np.exp(log_n)
    d = flops[:, None] / surface.flops_per_token(n)
    flat = (log_n.shape[0], -1)
    return np.asarray(surface.loss(n.reshape(flat), d.reshape(flat)).reshape(log_n.shape))


def exponent(flops: Array, values: Array) -> Array:
    """Return the least-squares slope of log values [draws, flops] on log C."""
    x = np.log(flops) - np.log(flops).mean()
    return np.asarray(np.log(values) @ x / (x @ x))


def local_exponent(surface: Surface, flops: Array) -> float:
    """Return the exponent a of N* ∝ C^a over the given C."""
    return float(exponent(flops, optimum(surface, flops)[0])[0])


def six_nd_exponents(law: Law, theta: Array, table: LossTable) -> Array:
    """Return the exponents a [draws] under C = 6·N·D of `theta` [draws, params].

    They are in closed form if the law has one, else searched over the measured range of compute; empty for
    laws that leave out N or D.
    """
    if {term.column for term in law.terms} != {"n", "d"}:
        return np.empty(0)
    closed = [law.frontier(one) for one in theta]
    if None not in closed:
        return np.array([one.a for one in closed if one is not None])
    spent = 6 * table.n * table.d
    flops = np.geomspace(spent.min(), spent.max(), EXPONENT_BUDGETS)
    surface = Surface(law.name, lambda n, d: law.value(theta, n, d), six_n, table_reach(table))
    return exponent(flops, optimum(surface, flops, len(theta))[0])


def flatness(surface: Surface, flops: Array, n_opt: Array, share: float = FLAT_SHARE) -> Array:
    """Return the range of N [flops, 2] whose loss at the same C is within `share` of the best."""
    offsets = np.linspace(-FLAT_REACH, FLAT_REACH, FLAT_POINTS)
    log_n = np.log(n_opt)[None, :, None] + offsets
    loss = _loss_at(surface, log_n, flops)[0]
    centre = FLAT_POINTS // 2
    above = loss > (1 + share) * loss[:, [centre]]
    low = FLAT_POINTS // 2 - np.argmax(above[:, centre::-1], axis=1)
    high = FLAT_POINTS // 2 + np.argmax(above[:, centre:], axis=1)
    low = np.where(above[:, : centre + 1].any(1), low, 0)
    high = np.where(above[:, centre:].any(1), high, FLAT_POINTS - 1)
    return np.asarray(n_opt[:, None] * np.exp(np.column_stack([offsets[low], offsets[high]])))


def find_frontier(
    fit: Fit,
    table: TableLike | None,
    flops: ArrayLike,
    *,
    cost: Cost | None = None,
    mapping: Mapping[str, str] | None = None,
    level: float | None = None,
) -> FrontierCurve:
    """Find the compute-optimal frontier of a fitted law, with percentile intervals of its bootstrap.

    Args:
        fit: a fitted law in N and D, from `fit_law`.
        table: the table of the fit (a LossTable, a frame or a path). Its FLOPs give the cost of a token as a
            function of N: the FLOPs that the runs really cost. None stands for C = 6·N·D.
        flops: training compute C: a number, a list, an array or a Series, FLOPs.
        cost: another function from N to training FLOPs per token; `six_n` for C = 6·N·D.
        mapping: columns of a foreign table, as for `load_table`.
        level: share of the intervals; that of the fit by default.

    Returns:
        One entry per value of C. Intervals are those of the curve itself: they assume that the law holds, and
        they leave out the noise of a run. A C beyond 30 times the largest fitted compute adds a warning.

    Raises:
        InputError: the fit has no law in N and D, or a value of C is not a positive number.

    References: Hoffmann et al. 2022, arXiv:2203.15556, section 3.3.

    Examples:
        >>> import analysis as sl, numpy as np, pandas as pd
        >>> n, d = (x.ravel() for x in np.meshgrid([1e7, 3e7, 1e8, 3e8], [1e9, 3e9, 1e10]))
        >>> runs = pd.DataFrame({"N": n, "D": d, "loss": 1.7 + 400 * n**-0.34 + 410 * d**-0.28})
        >>> found = sl.find_frontier(sl.fit_law(runs, resamples=0), runs, [1e18, 1e19, 1e20])
        >>> print(f"N* grows as C^{found.a:.3f}")
        N* grows as C^0.452
    """
    asked = _budgets(flops)
    law = _law_in_both(fit)
    if table is None:
        surface = _blind_surface(fit, asked, cost)
    else:
        surface = surface_of(fit, as_table(table, mapping, fit.count), cost)
    n, d, loss = (value[0] for value in optimum(surface, asked))
    a, b = (float(value[0]) for value in _exponents(surface, asked, 1, (n[None], d[None], loss[None])))
    level = fit.level if level is None else level
    if fit.samples is None:
        n_band = d_band = loss_band = np.full((len(asked), 2), np.nan)
        a_interval = b_interval = None
    else:
        samples = fit.samples
        drawn = Surface(
            fit.law, lambda n, d: law.value(samples, n, d), surface.flops_per_token, surface.n_range
        )
        draws = optimum(drawn, asked, len(samples))
        n_band, d_band, loss_band = (_band(value, level, fit.stretch) for value in draws)
        a_interval, b_interval = (
            percentile_interval(value, level, fit.stretch)
            for value in _exponents(drawn, asked, len(samples), draws)
        )
    largest_c = _largest_c(fit, table, mapping)
    far = largest_c and extrapolation_warning(largest_c, float(asked.max()))
    return FrontierCurve(
        flops=asked,
        n_opt=n,
        d_opt=d,
        loss=loss,
        n_interval=n_band,
        d_interval=d_band,
        loss_interval=loss_band,
        flat=flatness(surface, asked, n),
        a=a,
        a_interval=a_interval,
        b=b,
        b_interval=b_interval,
        warnings=(far,) if far else (),
        largest_c=largest_c,
    )


def _budgets(flops: ArrayLike) -> Array:
    """Return C [flops]; raise InputError unless it is one or more positive numbers."""
    try:
        asked = np.atleast_1d(np.asarray(flops, float))
    except (TypeError, ValueError):
        asked = np.empty(0)
    if asked.ndim != 1 or len(asked) == 0 or not np.all((asked > 0) & np.isfinite(asked)):
        raise InputError(f"flops is {flops!r}: expected one or more positive numbers such as 1e20")
    return asked


def _largest_c(fit: Fit, table: TableLike | None, mapping: Mapping[str, str] | None) -> float | None:
    """Return the largest fitted compute; of a fit that does not say it, that of its table."""
    if fit.largest_c is not None or table is None:
        return fit.largest_c
    return float(as_table(table, mapping, fit.count).c.max())


def optimal_allocation(
    fit: Fit,
    flops: ArrayLike,
    *,
    table: TableLike | None = None,
    mapping: Mapping[str, str] | None = None,
    level: float | None = None,
) -> FrontierCurve:
    """Divide a training compute: the size N* and tokens D* of lowest predicted loss at C FLOPs.

    Without `table`, C = 6·N·D holds. Then the minimum of E + (A·N^-α + B·D^-β)^γ is in closed form,
    N* = G·(C/6)^a and D* = (C/6)^b / G with a = β/(α+β), b = α/(α+β) and G = (αA/βB)^(1/(α+β)); the search
    ends there too. With `table`, a token costs what it cost the runs of that table: exact FLOPs, attention
    and head included, which at small widths moves a by .1 and more.

    Args:
        fit: a fitted law in N and D, from `fit_law`. N is counted as `fit.count` says.
        flops: training compute C: a number, a list, an array or a Series, FLOPs.
        table: the table of the fit, for exact FLOPs.
        mapping: columns of a foreign table, as for `load_table`.
        level: share of the intervals; that of the fit by default.

    Returns:
        A `FrontierCurve`: `n_opt`, `d_opt`, `loss` and their intervals, one entry per C; `frame()` is the
        DataFrame. `warnings` says so if C lies beyond 30 times the largest fitted compute.

    Raises:
        InputError: the fit has no law in N and D, or a value of C is not a positive number.

    References: Hoffmann et al. 2022, arXiv:2203.15556, section 3.3, equation 4.

    Examples:
        >>> import analysis as sl
        >>> law = {"E": 1.82, "A": 482, "B": 2085, "alpha": 0.348, "beta": 0.366}  # arXiv:2404.10102, table 1
        >>> fit = sl.Fit(law="chinchilla", approach="parametric", estimator="huber", count="N", nobs=240,
        ...     n_clusters=240, estimates=law, level=0.9, largest_c=1e22)
        >>> best = sl.optimal_allocation(fit, 5.76e23)
        >>> print(f"{best.n_opt[0]:.3g} parameters, {best.d_opt[0]:.3g} tokens, {best.loss[0]:.3f} nats")
        7.23e+10 parameters, 1.33e+12 tokens, 1.976 nats
        >>> print(best.warnings[0].code)
        extrapolation
    """
    return find_frontier(fit, table, flops, mapping=mapping, level=level)


def _law_in_both(fit: Fit) -> Law:
    """Return the law of a fit; refuse laws that leave out N or D and have no optimum between the two."""
    law = fit.loss_law()
    if {term.column for term in law.terms} != {"n", "d"}:
        raise InputError(
            f"{fit.law} is no law in N and D, so it has no best size: fit chinchilla, for example"
        )
    return law


def _exponents(
    surface: Surface, flops: Array, draws: int, found: tuple[Array, Array, Array] | None = None
) -> tuple[Array, Array]:
    """Return the exponents a and b [draws] over C, or around a single C; `found` are the optima there."""
    if np.ptp(flops) == 0:
        flops = flops[0] * np.exp([-LOCAL_STEP, LOCAL_STEP])
        found = None
    n, d, _ = found or optimum(surface, flops, draws)
    return exponent(flops, n), exponent(flops, d)


def _band(draws: Array, level: float, stretch: float) -> Array:
    """Return percentile intervals [flops, 2] of draws [draws, flops]; NaN where they have no spread."""
    none = (np.nan, np.nan)
    return np.array([percentile_interval(column, level, stretch) or none for column in draws.T])
