"""The compute-optimal frontier of a fitted law: n_opt(C), d_opt(C), loss_opt(C), with intervals.

The minimum of L(N, D) at fixed C is in closed form under C = 6·N·D (`Law.frontier`) and is searched
numerically under any cost per token. a + b = 1 holds for 6·N·D only.

References: Hoffmann et al. 2022, arXiv:2203.15556, section 3.3; Pearce & Song 2024, arXiv:2406.12907.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.arrays import Array
from analysis.laws import Law, find_law
from analysis.result import Fit, percentile_interval
from analysis.tables.table import LossTable

Cost = Callable[[Array], Array]

REACH = 1e3  # the search goes this far beyond the measured sizes
SPLINE_SIZES = 12  # up to so many sizes the cost per token passes through each
ZOOM_POINTS = 33  # of the search grid in log N, at every zoom
ZOOMS = 5
EXPONENT_BUDGETS = 7  # of the line through searched optima
FLAT_SHARE = 1e-3  # the flatness band: loss within this share of the best
FLAT_POINTS = 801
FLAT_REACH = 6.0  # the band is looked for this far from the optimum, in log N


@dataclass(frozen=True)
class Surface:
    """Loss and training FLOPs per token as functions of size.

    `loss(n, d)` broadcasts over arrays; with draws of parameters inside, n and d are [draws, points].
    """

    name: str
    loss: Callable[[Array, Array], Array]
    flops_per_token: Cost
    n_range: tuple[float, float]


@dataclass(frozen=True)
class Frontier:
    """Optimal sizes, tokens and losses at budgets `flops`; intervals and bands are [budgets, (low, high)].

    `a` and `b` are the exponents of n_opt and d_opt over these budgets. `flat` is the range of N within
    0.1 % of the best loss.
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

    def rows(self) -> list[dict[str, Any]]:
        """One row a budget, as in fits.json."""
        names = {"n": self.n_interval, "d": self.d_interval, "loss": self.loss_interval, "flat": self.flat}
        rows: list[dict[str, Any]] = []
        for i in range(len(self.flops)):
            row = {
                "flops": self.flops[i],
                "n_opt": self.n_opt[i],
                "d_opt": self.d_opt[i],
                "loss": self.loss[i],
            }
            for name, band in names.items():
                row |= {f"{name}_low": band[i, 0], f"{name}_high": band[i, 1]}
            rows.append({key: float(value) for key, value in row.items()})
        return rows


def six_n(n: Array) -> Array:
    """FLOPs per token under C = 6·N·D."""
    return 6 * n


def table_cost(table: LossTable) -> Cost:
    """FLOPs per token of a table as a function of N, interpolated in logs and continued with the end slopes.

    The function passes through every size of a ladder; tables with many sizes get a parabola in logs.
    """
    log_n, where = np.unique(np.log(table.n), return_inverse=True)
    log_cost = np.bincount(where, np.log(table.c / table.d)) / np.bincount(where)
    if len(log_n) == 1:
        return lambda n: np.exp(log_cost[0]) * n / np.exp(log_n[0])
    curve, slope = _smooth(log_n, log_cost)

    def cost(n: Array) -> Array:
        x = np.log(n)
        inside = np.clip(x, log_n[0], log_n[-1])
        return np.asarray(np.exp(curve(inside) + slope(inside) * (x - inside)))

    return cost


def _smooth(x: Array, y: Array) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """A smooth curve through or near (x, y), and its slope."""
    if len(x) <= SPLINE_SIZES:
        # Imported here: a fit alone starts a third of a second sooner without it.
        from scipy.interpolate import CubicSpline

        spline = CubicSpline(x, y, bc_type="natural")
        return spline, spline.derivative()
    parabola = np.polynomial.Polynomial.fit(x, y, 2)
    return parabola, parabola.deriv()


def surface_of(fit: Fit, table: LossTable, cost: Cost | None = None) -> Surface:
    """The surface of a fitted law in N and D, with the table's cost per token unless another is given."""
    law, theta = find_law(fit.law), fit.theta
    return Surface(fit.law, lambda n, d: law.value(theta, n, d), cost or table_cost(table), _reach(table))


def _reach(table: LossTable) -> tuple[float, float]:
    return float(table.n.min() / REACH), float(table.n.max() * REACH)


def optimum(surface: Surface, flops: Array, draws: int = 1) -> tuple[Array, Array, Array]:
    """Return N, D and loss of the minimum at each budget, each [draws, budgets].

    A grid in log N is zoomed in around its lowest point; the last one is closed by a parabola.
    """
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
    """Loss of sizes [draws, budgets, points] that spend exactly the budget."""
    n = np.exp(log_n)
    d = flops[:, None] / surface.flops_per_token(n)
    flat = (log_n.shape[0], -1)
    return np.asarray(surface.loss(n.reshape(flat), d.reshape(flat)).reshape(log_n.shape))


def exponent(flops: Array, values: Array) -> Array:
    """Least-squares slope of log values [draws, budgets] on log C."""
    x = np.log(flops) - np.log(flops).mean()
    return np.asarray(np.log(values) @ x / (x @ x))


def local_exponent(surface: Surface, flops: Array) -> float:
    """Exponent a of N* ∝ C^a over the given budgets."""
    return float(exponent(flops, optimum(surface, flops)[0])[0])


def six_nd_exponents(law: Law, theta: Array, table: LossTable) -> Array:
    """Exponents a [draws] under C = 6·N·D of `theta` [draws, params]; empty for laws without N and D.

    In closed form where there is one, else searched over the measured range of compute.
    """
    if {term.column for term in law.terms} != {"n", "d"}:
        return np.empty(0)
    closed = [law.frontier(one) for one in theta]
    if None not in closed:
        return np.array([one.a for one in closed if one is not None])
    spent = 6 * table.n * table.d
    flops = np.geomspace(spent.min(), spent.max(), EXPONENT_BUDGETS)
    surface = Surface(law.name, lambda n, d: law.value(theta, n, d), six_n, _reach(table))
    return exponent(flops, optimum(surface, flops, len(theta))[0])


def flatness(surface: Surface, flops: Array, n_opt: Array, share: float = FLAT_SHARE) -> Array:
    """Range of N [budgets, 2] around n_opt whose loss at the same C is within `share` of the best."""
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
    fit: Fit, table: LossTable, flops: Array, cost: Cost | None = None, level: float | None = None
) -> Frontier:
    """The frontier of a fitted law at the budgets `flops`, with percentile intervals of its bootstrap.

    `cost` is FLOPs per token as a function of N; the table's own by default, `six_n` for C = 6·N·D.
    Intervals are those of the curve itself: they assume that the law holds and leave out the noise of a run.
    """
    surface = surface_of(fit, table, cost)
    n, d, loss = (value[0] for value in optimum(surface, flops))
    level = fit.level if level is None else level
    samples = fit.theta[None, :] if fit.samples is None else fit.samples
    law = find_law(fit.law)
    drawn = Surface(fit.law, lambda n, d: law.value(samples, n, d), surface.flops_per_token, surface.n_range)
    draws = optimum(drawn, flops, len(samples))
    n_band, d_band, loss_band = (_band(value, level, fit.stretch) for value in draws)
    a_interval, b_interval = (
        None if fit.samples is None else percentile_interval(exponent(flops, value), level, fit.stretch)
        for value in draws[:2]
    )
    return Frontier(
        flops=flops,
        n_opt=n,
        d_opt=d,
        loss=loss,
        n_interval=n_band,
        d_interval=d_band,
        loss_interval=loss_band,
        flat=flatness(surface, flops, n),
        a=float(exponent(flops, n[None])[0]),
        a_interval=a_interval,
        b=float(exponent(flops, d[None])[0]),
        b_interval=b_interval,
    )


def _band(draws: Array, level: float, stretch: float) -> Array:
    """Percentile intervals [budgets, 2] of draws [draws, budgets]."""
    return np.array([percentile_interval(column, level, stretch) for column in draws.T])
