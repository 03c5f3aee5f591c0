"""The additive law under repetition, L = E + A·N'^-alpha + B·D'^-beta with effective size N' and tokens D'.

Of D tokens U are unique. D' = U·(1 + R_D·(1 - exp(-(D/U - 1)/R_D))): repeated tokens count less and less,
at most R_D times the unique ones. N' follows from N and U_N by the same formula with the limit R_N. U_N is
the size that is compute-optimal for U tokens; N' = N below it. Without repetition and excess size this is
the additive law.

References: Muennighoff et al. 2023, arXiv:2305.16264, equations 5 and 6 and section 3.1, who found
R_D = 15.4 and R_N = 5.3.
"""

from __future__ import annotations

import numpy as np

from analysis.arrays import Array
from analysis.laws.law import COEFFICIENT_BOUNDS, EXPONENT_BOUNDS, SIZE_AND_DATA, Law, stacked

PARAMS = ("E", "A", "B", "alpha", "beta", "R_D", "R_N")
LIMIT_BOUNDS = (0.1, 1e3)
FARTHEST = 60.0  # e-folds between N and U_N: beyond it numbers overflow and N' is at its limit anyway


def _effective(total: Array, unique: Array, limit: Array) -> tuple[Array, Array, Array]:
    """Return the effective amount, and the slopes of its logarithm by log `unique` and by `limit`."""
    excess = total / unique - 1
    kept = np.exp(-excess / limit)
    factor = 1 + limit * (1 - kept)
    by_log_unique = 1 - kept * (1 + excess) / factor
    by_limit = (1 - kept - kept * excess / limit) / factor
    return unique * factor, by_log_unique, by_limit


def _parts(theta: Array, n: Array, d: Array, u: Array) -> dict[str, Array]:
    named = {name: theta[..., index, None] for index, name in enumerate(PARAMS)}
    alpha, beta = named["alpha"], named["beta"]
    balance = np.log(alpha * named["A"]) - np.log(beta * named["B"])
    best = (balance + beta * np.log(u)) / alpha  # ln N where alpha·A·N^-alpha = beta·B·U^-beta
    kept = best < np.log(n)
    size, slope, by_r_n = _effective(n, n * np.exp(np.clip(best - np.log(n), -FARTHEST, 0.0)), named["R_N"])
    data, _, by_r_d = _effective(d, np.minimum(u, d), named["R_D"])
    return named | {
        "log_n": np.log(size),
        "log_d": np.log(data),
        "s": named["A"] * size**-alpha,
        "t": named["B"] * data**-beta,
        "slope": np.where(kept, slope, 0.0),
        "best": best,
        "by_r_n": by_r_n,
        "by_r_d": by_r_d,
    }


def value(theta: Array, n: Array, d: Array, _: Array, u: Array) -> Array:
    """Return the loss [..., rows]."""
    p = _parts(theta, n, d, u)
    return np.asarray(p["E"] + p["s"] + p["t"])


def jacobian(theta: Array, n: Array, d: Array, _: Array, u: Array) -> Array:
    """Return the derivative by every parameter; A, B, alpha and beta also move U_N."""
    p = _parts(theta, n, d, u)
    s, t, alpha, beta = p["s"], p["t"], p["alpha"], p["beta"]
    pull = -alpha * s * p["slope"]  # dL by ln U_N
    columns = (
        np.ones_like(s + t),
        s / p["A"] + pull / (alpha * p["A"]),
        t / p["B"] - pull / (alpha * p["B"]),
        -s * p["log_n"] + pull * (1 / alpha - p["best"]) / alpha,
        -t * p["log_d"] + pull * (np.log(u) - 1 / beta) / alpha,
        -beta * t * p["by_r_d"],
        -alpha * s * p["by_r_n"],
    )
    return stacked(columns)


BOUNDS = {
    "E": (0.0, np.inf),
    "A": COEFFICIENT_BOUNDS,
    "B": COEFFICIENT_BOUNDS,
    "alpha": EXPONENT_BOUNDS,
    "beta": EXPONENT_BOUNDS,
    "R_D": LIMIT_BOUNDS,
    "R_N": LIMIT_BOUNDS,
}

LAWS = (
    Law(
        "data_constrained",
        "E + A·N'^-alpha + B·D'^-beta, N' and D' effective under repetition",
        PARAMS,
        BOUNDS,
        SIZE_AND_DATA,
        value,
        jacobian,
        scales={"R_D": None, "R_N": None},
    ),
)
