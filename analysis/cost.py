"""FLOPs per token as a function of size, from single rows and beyond the largest of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from analysis.arrays import Array

Cost = Callable[[Array], Array]

SPLINE_SIZES = 12  # up to so many sizes the cost per token passes through each


def six_n(n: Array) -> Array:
    """Return FLOPs per token under C = 6·N·D."""
    return 6 * n


def cost_between(sizes: Array, flops_per_token: Array) -> Cost:
    """Return FLOPs per token as a function of N, interpolated in logs between those of single rows [rows].

    The function passes through every size of a ladder; of many sizes it is a parabola in logs. Above the
    largest size the difference from 6·N is continued as a power of N: attention, and weights that N leaves
    out, grow more slowly than N. Below the smallest size, and where FLOPs are 6·N, the FLOPs themselves are
    continued as a power of N.
    """
    log_n, where = np.unique(np.log(sizes), return_inverse=True)
    log_cost = np.bincount(where, np.log(flops_per_token)) / np.bincount(where)
    if len(log_n) == 1:
        return lambda n: np.exp(log_cost[0]) * n / np.exp(log_n[0])
    curve, slope = _smooth(log_n, log_cost)
    largest = log_n[-1]
    before = max(log_n[0], largest - np.log(2))
    last = np.array([before, largest])
    distance = np.exp(curve(last)) - six_n(np.exp(last))
    ratio = distance[1] / distance[0] if distance[0] else 0.0

    def cost(n: Array) -> Array:
        x = np.log(n)
        # A straight line in logs: a spline or a parabola would bend away.
        inside = np.clip(x, log_n[0], largest)
        near = np.exp(curve(inside) + slope(inside) * (x - inside))
        if ratio <= 0:
            return np.asarray(near)
        power = min(np.log(ratio) / (largest - before), 1)
        beyond = six_n(n) + distance[1] * np.exp(power * (np.maximum(x, largest) - largest))
        return np.where(x > largest, beyond, near)

    return cost


def _smooth(x: Array, y: Array) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """Return a smooth curve through or near (x, y), and its slope."""
    if len(x) <= SPLINE_SIZES:
        # Imported here: a fit alone starts a third of a second sooner without it.
        from scipy.interpolate import CubicSpline

        spline = CubicSpline(x, y, bc_type="natural")
        return spline, spline.derivative()
    parabola = np.polynomial.Polynomial.fit(x, y, 2)
    return parabola, parabola.deriv()
