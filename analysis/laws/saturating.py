"""The saturating law: additive at low losses, bounded by the loss of a model without size or without data.

L = E + (s + t) / (1 + s/(U − E) + t/(V − E)) with s = A·N^-alpha and t = B·D^-beta. Without size (s → ∞) the
loss is U, the loss of a unigram model: no parameter is left for context. Without data (t → ∞) the loss is V,
the logarithm of the vocabulary: the uniform guess.

U and V are known beforehand, so the law has the five parameters of the additive law L = E + s + t. For s and
t small against U − E it becomes that law. Small models and short runs are not in that range: their losses
bend, which a power gamma < 1 of the sum imitates over a short range.

Whether the two limits are these is an assumption; the contest of laws shows whether it serves. A saturating
law belongs to one corpus; its name carries U and V in nats: `saturating(5.3012,6.2383)`. Its frontier is
searched numerically, because the loss does not depend on s + t alone.

References: Hoffmann et al. 2022, arXiv:2203.15556, section 3.3, equation 2, for the additive law.
"""

from __future__ import annotations

import re

import numpy as np

from analysis.arrays import Array
from analysis.laws.law import COEFFICIENT_BOUNDS, EXPONENT_BOUNDS, SIZE_AND_DATA, Law, Remembered, stacked
from harness.records.errors import InputError

FAMILY = "saturating"
PARAMS = ("E", "A", "B", "alpha", "beta")
E_SHARE = 0.95  # E stays below this share of the lower limit
FORM = (
    f"{FAMILY}(U,V) with the loss U of a unigram model and the logarithm V of the vocabulary in nats per "
    f"token, 0 < U ≤ V, for example {FAMILY}(5.30,6.24)"
)
NAME = re.compile(rf"{FAMILY}\(\s*(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)\s*\)")


def name_of(no_size: float, no_data: float) -> str:
    """Return the name of the law with limits `no_size` (U) and `no_data` (V), nats per token."""
    return f"{FAMILY}({no_size:.4f},{no_data:.4f})"


def parse(name: str) -> Law | None:
    """Return the law of a name such as `saturating(5.3,6.24)`; None for names of other laws.

    Raises:
        InputError: limits that are missing, no numbers or not 0 < U ≤ V.
    """
    if name.split("(")[0].strip() != FAMILY:
        return None
    found = NAME.fullmatch(name.strip())
    if found is None:
        raise InputError(f"the law {name!r} lacks its limits, two numbers: type {FORM}")
    no_size, no_data = (float(text) for text in found.groups())
    if not 0 < no_size <= no_data:
        raise InputError(f"the law {name!r} has U = {no_size:g} and V = {no_data:g}: type {FORM}")
    return saturating(no_size, no_data)


def check_limits(name: str, lowest: float) -> None:
    """Raise InputError if the limit U of a saturating law is not above the lowest loss of a table.

    Args:
        name: name of any law; others have no such limit.
        lowest: lowest loss, nats per token.
    """
    found = NAME.match(name)  # limits of parameters may follow in brackets
    if found and float(found[1]) <= lowest:
        raise InputError(
            f"the law {name!r} has no loss above U = {float(found[1]):g}, and the lowest loss of the table "
            f"is {lowest:.4g}: type {FORM}"
        )


def saturating(no_size: float, no_data: float) -> Law:
    """Return the saturating law with limits U = `no_size` and V = `no_data`, nats per token."""

    @Remembered
    def parts(theta: Array, n: Array, d: Array) -> tuple[Array, ...]:
        e, a, b, alpha, beta = (theta[..., index, None] for index in range(len(PARAMS)))
        size, data = np.exp(-alpha * np.log(n)), np.exp(-beta * np.log(d))
        room_n, room_d = no_size - e, no_data - e
        return e, size, data, a * size, b * data, room_n, room_d

    def value(theta: Array, n: Array, d: Array, _c: Array, _u: Array) -> Array:
        e, *_powers, s, t, room_n, room_d = parts(theta, n, d)
        return np.asarray(e + (s + t) / (1 + s / room_n + t / room_d))

    def jacobian(theta: Array, n: Array, d: Array, _c: Array, _u: Array) -> Array:
        size, data, s, t, room_n, room_d = parts(theta, n, d)[1:]
        damping = 1 + s / room_n + t / room_d
        by_e = 1 - (s + t) * (s / room_n**2 + t / room_d**2) / damping**2
        by_s = (damping - (s + t) / room_n) / damping**2
        by_t = (damping - (s + t) / room_d) / damping**2
        columns = (by_e, by_s * size, by_t * data, -by_s * s * np.log(n), -by_t * t * np.log(d))
        return stacked(columns)

    bounds = {
        "E": (0.0, E_SHARE * no_size),
        "A": COEFFICIENT_BOUNDS,
        "B": COEFFICIENT_BOUNDS,
        "alpha": EXPONENT_BOUNDS,
        "beta": EXPONENT_BOUNDS,
    }
    formula = (
        f"E + (s + t)/(1 + s/({no_size:.4g} - E) + t/({no_data:.4g} - E)), s = A·N^-alpha, t = B·D^-beta"
    )
    name = name_of(no_size, no_data)
    return Law(
        name, formula, PARAMS, bounds, SIZE_AND_DATA, value, jacobian, rises_with_sum=no_size == no_data
    )
