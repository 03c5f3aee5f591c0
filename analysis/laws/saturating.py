"""The saturating law: additive where losses are low, held down by what a model knows without size or data.

L = E + (a + b) / (1 + a/(U − E) + b/(V − E)) with a = A·N^-alpha and b = B·D^-beta. Without size (a → ∞) the
loss is U, that of a unigram model: all that can be learned without parameters for context.
Without data (b → ∞) it is V, the logarithm of the vocabulary: the uniform guess. Both are known beforehand,
so the law has the five parameters of the additive law, L = E + a + b (Hoffmann et al., arXiv:2203.15556,
equation 2), and becomes that law where a and b are small against U − E. Small models and short runs are not
there: their losses bend towards U and V, which a power gamma < 1 of the sum imitates over a short range.

A law of this kind belongs to one corpus; its name carries U and V in nats: `saturating(5.3012,6.2383)`.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from analysis.laws.law import COEFFICIENT_BOUNDS, EXPONENT_BOUNDS, SIZE_AND_DATA, Law
from harness.records import InputError

Array = NDArray[np.float64]

FAMILY = "saturating"
PARAMS = ("E", "A", "B", "alpha", "beta")
E_SHARE = 0.95  # E stays below this share of the lower limit
NAME = re.compile(rf"{FAMILY}\(([0-9.]+),\s*([0-9.]+)\)")


def name_of(no_size: float, no_data: float) -> str:
    """The name of the law with limits `no_size` (U) and `no_data` (V), nats per token."""
    return f"{FAMILY}({no_size:.4f},{no_data:.4f})"


def parse(name: str) -> Law | None:
    """The law of a name made by `name_of`; None for names of other laws.

    Raises:
        InputError: limits that are not 0 < U ≤ V.
    """
    found = NAME.fullmatch(name.strip())
    if found is None:
        return None
    no_size, no_data = (float(text) for text in found.groups())
    if not 0 < no_size <= no_data:
        raise InputError(
            f"{name} has limits {no_size:g} and {no_data:g}: expected {FAMILY}(U,V) with the loss U of a "
            "unigram model and the logarithm V of the vocabulary, both in nats per token, 0 < U ≤ V"
        )
    return saturating(no_size, no_data)


def saturating(no_size: float, no_data: float) -> Law:
    """The saturating law with limits U = `no_size` and V = `no_data`, nats per token."""

    def parts(theta: Array, n: Array, d: Array) -> tuple[Array, ...]:
        e, a, b, alpha, beta = (theta[..., index, None] for index in range(len(PARAMS)))
        size, data = np.exp(-alpha * np.log(n)), np.exp(-beta * np.log(d))
        room_n, room_d = no_size - e, no_data - e
        return e, size, data, a * size, b * data, room_n, room_d

    def value(theta: Array, n: Array, d: Array, _: Array) -> Array:
        e, *_powers, a, b, room_n, room_d = parts(theta, n, d)
        return np.asarray(e + (a + b) / (1 + a / room_n + b / room_d))

    def jacobian(theta: Array, n: Array, d: Array, _: Array) -> Array:
        size, data, a, b, room_n, room_d = parts(theta, n, d)[1:]
        held = 1 + a / room_n + b / room_d
        by_e = 1 - (a + b) * (a / room_n**2 + b / room_d**2) / held**2
        by_a = (held - (a + b) / room_n) / held**2
        by_b = (held - (a + b) / room_d) / held**2
        columns = (by_e, by_a * size, by_b * data, -by_a * a * np.log(n), -by_b * b * np.log(d))
        return np.stack(np.broadcast_arrays(*columns), axis=-1)

    bounds = {
        "E": (0.0, E_SHARE * no_size),
        "A": COEFFICIENT_BOUNDS,
        "B": COEFFICIENT_BOUNDS,
        "alpha": EXPONENT_BOUNDS,
        "beta": EXPONENT_BOUNDS,
    }
    formula = (
        f"E + (a + b)/(1 + a/({no_size:.4g} - E) + b/({no_data:.4g} - E)), a = A·N^-alpha, b = B·D^-beta"
    )
    return Law(name_of(no_size, no_data), formula, PARAMS, bounds, SIZE_AND_DATA, value, jacobian)
