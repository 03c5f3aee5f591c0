"""Power laws with one smooth break, in N, D or C: `broken_n`, `broken_d`, `broken_c`.

L = E + K·x^-kappa · (1 + (x/X)^(1/width))^((kappa - kappa_after)·width): slope kappa well below the break X,
kappa_after well above it, over about `width` e-folds of x. The published form has c_1 = kappa_after - kappa.

References: Caballero et al. 2022, arXiv:2210.14891, equation 1 with n = 1.
"""

from __future__ import annotations

import numpy as np

from analysis.arrays import Array
from analysis.laws.law import (
    COEFFICIENT_BOUNDS,
    EXPONENT_BOUNDS,
    SCALE_BOUNDS,
    Axis,
    Law,
    Term,
    axis_of,
    stacked,
)

PARAMS = ("E", "K", "kappa", "kappa_after", "X", "width")
WIDTH_BOUNDS = (0.05, 5.0)


def broken(axis: Axis) -> Law:
    """Return the law with one break along `axis`."""

    def parts(theta: Array, x: Array) -> tuple[Array, ...]:
        e, k, kappa, after, turn, width = (theta[..., index, None] for index in range(len(PARAMS)))
        beyond = (np.log(x) - np.log(turn)) / width
        soft = np.logaddexp(0.0, beyond)  # ln(1 + e^beyond) without overflow far above the break
        fall = k * np.exp(-kappa * np.log(x) - (after - kappa) * width * soft)
        return e, k, after - kappa, turn, width, beyond, soft, fall

    def value(theta: Array, n: Array, d: Array, c: Array, _: Array) -> Array:
        e, *_rest, fall = parts(theta, axis_of(axis, n, d, c))
        return np.asarray(e + fall)

    def jacobian(theta: Array, n: Array, d: Array, c: Array, _: Array) -> Array:
        x = axis_of(axis, n, d, c)
        _e, k, change, turn, width, beyond, soft, fall = parts(theta, x)
        past = np.exp(beyond - soft)
        columns = (
            np.ones_like(fall),
            fall / k,
            fall * (width * soft - np.log(x)),
            -fall * width * soft,
            fall * change * past / turn,
            fall * change * (past * beyond - soft),
        )
        return stacked(columns)

    bounds = {
        "E": (0.0, np.inf),
        "K": COEFFICIENT_BOUNDS,
        "kappa": EXPONENT_BOUNDS,
        "kappa_after": EXPONENT_BOUNDS,
        "X": SCALE_BOUNDS,
        "width": WIDTH_BOUNDS,
    }
    symbol = axis.upper()
    formula = f"E + K·{symbol}^-kappa·(1 + ({symbol}/X)^(1/width))^((kappa - kappa_after)·width)"
    return Law(
        f"broken_{axis}",
        formula,
        PARAMS,
        bounds,
        (Term("K", "kappa", axis),),
        value,
        jacobian,
        scales={"X": axis, "width": None},
    )


LAWS = tuple(broken(axis) for axis in ("n", "d", "c"))
