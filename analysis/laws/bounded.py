"""The bounded law: additive at low losses, bent at high losses towards a limit L0 that is fitted.

L = E + (s + t) / (1 + (s + t)/(L0 − E)) with s = A·N^-alpha and t = B·D^-beta: the loss of a model without
size, or without data, is L0. With L0 → ∞ it becomes the additive law. The saturating law has two limits that
are known beforehand; this one needs nothing but the table.

References: arXiv:2605.09189, E + (L0 − E)·h/(1 + h) with h = a·N^-alpha + b·D^-beta.
"""

from __future__ import annotations

import numpy as np

from analysis.arrays import Array
from analysis.laws.law import COEFFICIENT_BOUNDS, EXPONENT_BOUNDS, SIZE_AND_DATA, Law, Remembered, stacked

PARAMS = ("E", "A", "B", "alpha", "beta", "room")
# L0 − E, nats per token: below the least the law cannot reach the losses of a table, above the most no loss
# that a text has bends.
ROOM_BOUNDS = (1e-2, 1e3)


def value(theta: Array, n: Array, d: Array, _c: Array, _u: Array) -> Array:
    e, _size, _data, room, s, t = _parts(theta, n, d)
    return np.asarray(e + (s + t) / (1 + (s + t) / room))


def jacobian(theta: Array, n: Array, d: Array, _c: Array, _u: Array) -> Array:
    _e, size, data, room, s, t = _parts(theta, n, d)
    damping = 1 + (s + t) / room
    by_term = 1 / damping**2
    by_room = ((s + t) / room / damping) ** 2
    columns = (
        np.ones_like(damping),
        by_term * size,
        by_term * data,
        -by_term * s * np.log(n),
        -by_term * t * np.log(d),
        by_room,
    )
    return stacked(columns)


@Remembered
def _parts(theta: Array, n: Array, d: Array) -> tuple[Array, ...]:
    """Return E, N^-alpha, D^-beta, L0 − E, s and t."""
    e, a, b, alpha, beta, room = (theta[..., index, None] for index in range(len(PARAMS)))
    size, data = np.exp(-alpha * np.log(n)), np.exp(-beta * np.log(d))
    return e, size, data, room, a * size, b * data


BOUNDED = Law(
    "bounded",
    "E + (s + t)/(1 + (s + t)/room), s = A·N^-alpha, t = B·D^-beta, room = L0 - E",
    PARAMS,
    {
        "E": (0.0, np.inf),
        "A": COEFFICIENT_BOUNDS,
        "B": COEFFICIENT_BOUNDS,
        "alpha": EXPONENT_BOUNDS,
        "beta": EXPONENT_BOUNDS,
        "room": ROOM_BOUNDS,
    },
    SIZE_AND_DATA,
    value,
    jacobian,
    scales={"room": None},
)
LAWS = (BOUNDED,)
